//! Filling a store from its changelog, in order of offsets, with the position in the same write (rules ).
//!
//! A restore is idempotent: a batch applied twice gives the same state, so whatever was interrupted is just read again.

use rocksdb::WriteBatch;

use super::error::StoreError;
use super::meta::{self, META};
use super::spec::StoreIndex;
use super::state::{TaskState, apply};
use crate::position::Offset;

/// A bulk restore writes no less at once (rule R-23).
const BULK_BATCH_BYTES: usize = 4 << 20;
/// While a bulk restore runs, nothing is compacted, and files may pile up.
const BULK_OPTIONS: [(&str, &str); 3] = [
    ("disable_auto_compactions", "true"),
    ("level0_slowdown_writes_trigger", "1000000"),
    ("level0_stop_writes_trigger", "1000000"),
];
/// RocksDB's defaults for the same.
const NORMAL_OPTIONS: [(&str, &str); 3] = [
    ("level0_slowdown_writes_trigger", "20"),
    ("level0_stop_writes_trigger", "36"),
    ("disable_auto_compactions", "false"),
];

/// A bulk restore under way: what is collected for the next write.
#[derive(Default)]
pub(super) struct Bulk {
    batch: WriteBatch,
    next: Option<Offset>,
}

impl TaskState {
    /// Applies changelog records, in order of their offsets; `next` is the offset after the last one.
    ///
    /// # Errors
    /// The database refused; nothing of the batch was applied.
    ///
    /// # Panics
    /// If writes are staged: a restore comes before processing.
    pub fn restore<'b>(
        &mut self,
        store: StoreIndex,
        records: impl IntoIterator<Item = (&'b [u8], Option<&'b [u8]>)>,
        next: Offset,
    ) -> Result<(), StoreError> {
        assert!(self.is_clean(), "a restore under staged writes");
        let (Some(Some(slot)), rocks) = (self.slots.get_mut(store.0), &self.rocks) else {
            panic!("store {} is not one of this task's", store.0)
        };
        match (&mut slot.memory, rocks) {
            (Some(memory), _) => {
                records.into_iter().for_each(|(key, value)| apply(memory, key, value));
                self.meta.changelog_next[store.0] = Some(next);
                return Ok(());
            }
            (None, None) => return Ok(()),
            (None, Some(rocks)) => {
                let family = rocks.family(&slot.spec.name)?;
                let mut alone = WriteBatch::default();
                let batch = slot.bulk.as_mut().map_or(&mut alone, |bulk| &mut bulk.batch);
                for (key, value) in records {
                    match value {
                        Some(value) => batch.put_cf(family, key, value),
                        None => batch.delete_cf(family, key),
                    }
                }
                self.cache.clear();
                match &mut slot.bulk {
                    Some(bulk) => bulk.next = Some(next),
                    None => return self.write_restored(store, alone, next),
                }
            }
        }
        self.write_bulk(store, BULK_BATCH_BYTES)
    }

    fn write_restored(&mut self, store: StoreIndex, mut batch: WriteBatch, next: Offset) -> Result<(), StoreError> {
        let Some(rocks) = &self.rocks else { return Ok(()) };
        let key = meta::changelog_key(&self.slot(store).spec.name);
        batch.put_cf(rocks.family(META)?, key, meta::encode(next.0));
        rocks.write(batch)?;
        self.meta.changelog_next[store.0] = Some(next);
        Ok(())
    }

    /// Writes what a bulk restore has collected, if it is enough.
    fn write_bulk(&mut self, store: StoreIndex, enough: usize) -> Result<(), StoreError> {
        let Some(Some(slot)) = self.slots.get_mut(store.0) else { return Ok(()) };
        let Some(bulk) = slot.bulk.as_mut().filter(|bulk| bulk.batch.size_in_bytes() >= enough) else { return Ok(()) };
        let Some(next) = bulk.next.take() else { return Ok(()) };
        let batch = std::mem::replace(&mut bulk.batch, WriteBatch::with_capacity_bytes(BULK_BATCH_BYTES));
        self.write_restored(store, batch, next)
    }

    /// Prepares a store for a long restore if it is empty: large writes, no compaction until
    /// [`end_bulk`](Self::end_bulk). Says whether it did. What is interrupted goes on from the last write.
    ///
    /// # Errors
    /// The database refused.
    pub fn begin_bulk(&mut self, store: StoreIndex) -> Result<bool, StoreError> {
        let name = self.slot(store).spec.name.clone();
        let on_disk = self.slot(store).memory.is_none();
        let Some(rocks) = self.rocks.as_ref().filter(|_| on_disk) else { return Ok(false) };
        if !rocks.is_empty(&name)? {
            return Ok(false);
        }
        rocks.set_options(&name, &BULK_OPTIONS)?;
        if let Some(Some(slot)) = self.slots.get_mut(store.0) {
            slot.bulk = Some(Bulk::default());
        }
        Ok(true)
    }

    /// Ends a bulk restore: writes the rest, compacts, and lets compactions run again. Nothing to do if none is under way.
    ///
    /// # Errors
    /// The database refused.
    pub fn end_bulk(&mut self, store: StoreIndex) -> Result<(), StoreError> {
        if self.slot(store).bulk.is_none() {
            return Ok(());
        }
        self.write_bulk(store, 0)?;
        let Some(Some(slot)) = self.slots.get_mut(store.0) else { return Ok(()) };
        slot.bulk = None;
        let Some(rocks) = &self.rocks else { return Ok(()) };
        rocks.compact(&slot.spec.name)?;
        rocks.set_options(&slot.spec.name, &NORMAL_OPTIONS)
    }
}
