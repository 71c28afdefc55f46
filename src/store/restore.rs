//! Filling a store from its changelog, in order of offsets, with the position in the same write (rules ).
//!
//! A restore is idempotent: a batch applied twice gives the same state, so whatever was interrupted is just read again.

use rocksdb::WriteBatch;

use super::error::StoreError;
use super::journal::{Journal, Transaction};
use super::meta::{self, META};
use super::spec::StoreIndex;
use super::state::{TaskState, apply};
use crate::position::Offset;

/// A bulk restore writes so much at once (rule R-23 asks for 4 MiB at least): the more, the fewer files to merge.
const BULK_BYTES: usize = 16 << 20;
/// While a bulk restore runs, nothing is compacted, and files may pile up.
const BULK_OPTIONS: [(&str, &str); 3] = [
    ("disable_auto_compactions", "true"),
    ("level0_slowdown_writes_trigger", "1000000"),
    ("level0_stop_writes_trigger", "1000000"),
];
/// Afterwards the pile is compacted in the background, without slowing the first commits down.
const SETTLING_OPTIONS: [(&str, &str); 1] = [("disable_auto_compactions", "false")];
/// Once it is gone: RocksDB's defaults, by which writes wait for compactions.
const SETTLED_OPTIONS: [(&str, &str); 2] =
    [("level0_slowdown_writes_trigger", "20"), ("level0_stop_writes_trigger", "36")];
/// Files at level 0 below which the pile is gone: half the number at which writes are slowed down.
const SETTLED_FILES: u64 = 10;

/// A bulk restore under way: what is collected for the next file, of each key the last write.
#[derive(Debug)]
pub(super) struct Bulk {
    collected: Journal,
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
        // From here on data is ahead of the input positions beside it.
        self.withdraw();
        self.finish_applying()?;
        self.table.clear();
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
                if let Some(bulk) = &mut slot.bulk {
                    for (key, value) in records {
                        bulk.collected.push(store, key, value, None);
                    }
                    bulk.next = Some(next);
                } else {
                    let family = rocks.family(&slot.spec.name)?;
                    let mut batch = WriteBatch::default();
                    for (key, value) in records {
                        match value {
                            Some(value) => batch.put_cf(family, key, value),
                            None => batch.delete_cf(family, key),
                        }
                    }
                    return self.write_restored(store, batch, next);
                }
            }
        }
        self.write_bulk(store, BULK_BYTES)
    }

    fn write_restored(&mut self, store: StoreIndex, mut batch: WriteBatch, next: Offset) -> Result<(), StoreError> {
        let Some(rocks) = &self.rocks else { return Ok(()) };
        let key = meta::changelog_key(&self.slot(store).spec.name);
        batch.put_cf(rocks.family(META)?, key, meta::encode(next.0));
        rocks.write(batch)?;
        self.meta.changelog_next[store.0] = Some(next);
        Ok(())
    }

    /// Hands what a bulk restore has collected to the database as a file, if it is enough. The position follows the data:
    /// a crash between the two repeats a batch, which changes nothing.
    fn write_bulk(&mut self, store: StoreIndex, enough: usize) -> Result<(), StoreError> {
        let (Some(Some(slot)), Some(rocks)) = (self.slots.get_mut(store.0), &self.rocks) else { return Ok(()) };
        let Some(bulk) = slot.bulk.as_mut().filter(|bulk| bulk.collected.staged_bytes() >= enough) else {
            return Ok(());
        };
        let Some(next) = bulk.next.take() else { return Ok(()) };
        rocks.ingest(&slot.spec.name, bulk.collected.sorted_writes(&mut Vec::new()))?;
        bulk.collected.restart(Transaction::FIRST);
        self.write_restored(store, WriteBatch::default(), next)
    }

    /// Prepares a store for a long restore if it is empty: large writes, no compaction until
    /// [`end_bulk`](Self::end_bulk). Says whether it did. What is interrupted goes on from the last write.
    /// Until `end_bulk` the store must not be read.
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
        let stores = self.slots.len();
        if let Some(Some(slot)) = self.slots.get_mut(store.0) {
            slot.bulk = Some(Bulk { collected: Journal::new(stores), next: None });
        }
        Ok(true)
    }

    /// Ends a bulk restore: writes the rest and lets compactions run again, in the background. Nothing to do if none is
    /// under way.
    ///
    /// # Errors
    /// The database refused.
    pub fn end_bulk(&mut self, store: StoreIndex) -> Result<(), StoreError> {
        if self.slot(store).bulk.is_none() {
            return Ok(());
        }
        self.write_bulk(store, 0)?;
        let (Some(Some(slot)), Some(rocks)) = (self.slots.get_mut(store.0), &self.rocks) else { return Ok(()) };
        slot.bulk = None;
        rocks.set_options(&slot.spec.name, &SETTLING_OPTIONS)?;
        self.settling.push(store);
        self.settle()
    }

    /// Bounds the files at level 0 again where the compaction after a bulk restore is done.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        let Some(rocks) = &self.rocks else { return Ok(()) };
        for at in (0..self.settling.len()).rev() {
            let Some(Some(slot)) = self.slots.get(self.settling[at].0) else { continue };
            if rocks.files_at_level_0(&slot.spec.name)? < SETTLED_FILES {
                rocks.set_options(&slot.spec.name, &SETTLED_OPTIONS)?;
                self.settling.swap_remove(at);
            }
        }
        Ok(())
    }
}
