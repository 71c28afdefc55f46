//! Filling a store from its changelog, in order of offsets, with the position in the same write (rules R-21 to R-23).
//!
//! ```text
//!  begin_restore ─▶ restore_record … restored_to ─▶ …   ─▶ end_restore
//!                        │               └─ enough collected? written, and the position with it or after it
//!      few records: ─────┴─▶ one WriteBatch: data + position
//!      many:        ─────┴─▶ sorted, as a file past log and memtable; then the position; nothing is compacted meanwhile
//! ```
//!
//! A restore is idempotent: a batch applied twice gives the same state, so whatever was interrupted is just read again. The
//! position never says more than what is there: it is written with the data, or after a file that is on disk.

use std::fmt;

use rocksdb::WriteBatch;

use super::error::StoreError;
use super::journal::{Journal, Transaction};
use super::meta::{self, META};
use super::rocks::Rocks;
use super::spec::StoreIndex;
use super::state::{TaskState, apply};
use crate::position::Offset;

/// From so many records on a restore is a bulk restore: files and a compaction afterwards are worth their while.
const BULK_RECORDS: u64 = 50_000;
/// While a bulk restore runs, nothing is compacted, and files may pile up.
const BULK_OPTIONS: [(&str, &str); 3] = [
    ("disable_auto_compactions", "true"),
    ("level0_slowdown_writes_trigger", "1000000"),
    ("level0_stop_writes_trigger", "1000000"),
];
/// Afterwards the pile is compacted in the background, without slowing the first commits down.
const SETTLING_OPTIONS: [(&str, &str); 3] = [("disable_auto_compactions", "false"), BULK_OPTIONS[1], BULK_OPTIONS[2]];
/// Once it is gone: RocksDB's defaults, by which writes wait for compactions.
const SETTLED_OPTIONS: [(&str, &str); 2] =
    [("level0_slowdown_writes_trigger", "20"), ("level0_stop_writes_trigger", "36")];
/// Files at level 0 below which the pile is gone: half the number at which writes are slowed down.
const SETTLED_FILES: u64 = 10;

/// What is collected for the next write of a store on disk.
enum Collected {
    /// Of each key the last write, for a file.
    Sorted(Box<Journal>),
    /// As it came, for the log and the memtable.
    InOrder(WriteBatch),
}

/// A restore under way.
pub(super) struct Restore {
    collected: Collected,
    /// The offset after what is collected; `None` if nothing is.
    next: Option<Offset>,
    /// Bytes that are written at once.
    batch_bytes: usize,
}

impl fmt::Debug for Restore {
    /// Without the records (rule O5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restore").field("bulk", &self.is_bulk()).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Restore {
    fn is_bulk(&self) -> bool {
        matches!(self.collected, Collected::Sorted(_))
    }

    fn bytes(&self) -> usize {
        match &self.collected {
            Collected::Sorted(journal) => journal.staged_bytes(),
            Collected::InOrder(batch) => batch.size_in_bytes(),
        }
    }

    /// Writes what is collected, with the position.
    fn write(&mut self, rocks: &Rocks, name: &str, next: Offset) -> Result<(), StoreError> {
        let mut batch = match &mut self.collected {
            Collected::Sorted(journal) => {
                rocks.ingest(name, journal.sorted_writes(&mut Vec::new()))?;
                journal.restart(Transaction::FIRST, self.batch_bytes);
                WriteBatch::default()
            }
            Collected::InOrder(batch) => std::mem::take(batch),
        };
        batch.put_cf(rocks.family(META)?, meta::changelog_key(name), meta::encode(next.0));
        rocks.write(batch)
    }
}

impl TaskState {
    /// Begins to fill a store. `remaining`: records to come, about; many are written as sorted files, without compaction
    /// until [`end_restore`](Self::end_restore) (rule R-23). Says whether it is so. `batch_bytes`: how much is written at
    /// once. Until `end_restore` the store must be neither read nor written.
    ///
    /// # Errors
    /// The database refused.
    ///
    /// # Panics
    /// If writes are staged: a restore comes before processing.
    pub fn begin_restore(&mut self, store: StoreIndex, remaining: u64, batch_bytes: usize) -> Result<bool, StoreError> {
        assert!(self.is_clean(), "a restore under staged writes");
        // From here on data is ahead of the input positions beside it.
        self.withdraw();
        self.finish_applying()?;
        self.table.clear();
        let name = self.slot(store).spec.name.clone();
        let on_disk = self.slot(store).memory.is_none();
        let Some(rocks) = self.rocks.as_ref().filter(|_| on_disk) else { return Ok(false) };
        let bulk = remaining >= BULK_RECORDS;
        if bulk {
            rocks.set_options(&name, &BULK_OPTIONS)?;
        } else if rocks.files_at_level_0(&name)? >= SETTLED_FILES && !self.settling.contains(&store) {
            // What a kill after a bulk restore leaves: by RocksDB's defaults the first write would wait for its compaction.
            rocks.set_options(&name, &SETTLING_OPTIONS)?;
            self.settling.push(store);
        }
        let stores = self.slots.len();
        let collected = match bulk {
            true => Collected::Sorted(Box::new(Journal::new(stores))),
            false => Collected::InOrder(WriteBatch::default()),
        };
        if let Some(Some(slot)) = self.slots.get_mut(store.0) {
            slot.restore = Some(Restore { collected, next: None, batch_bytes });
        }
        Ok(bulk)
    }

    /// One changelog record, in order of offsets; `None` deletes.
    ///
    /// # Errors
    /// The store has no column family.
    pub fn restore_record(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let Some(Some(slot)) = self.slots.get_mut(store.0) else { return Ok(()) };
        match (&mut slot.memory, &mut slot.restore, &self.rocks) {
            (Some(memory), ..) => apply(memory, key, value),
            (None, Some(restore), Some(rocks)) => match (&mut restore.collected, value) {
                (Collected::Sorted(journal), value) => journal.push(store, key, value, None),
                (Collected::InOrder(batch), Some(value)) => batch.put_cf(rocks.family(&slot.spec.name)?, key, value),
                (Collected::InOrder(batch), None) => batch.delete_cf(rocks.family(&slot.spec.name)?, key),
            },
            // A state without a directory.
            (None, _, None) => {}
            (None, None, Some(_)) => debug_assert!(false, "a record without begin_restore"),
        }
        Ok(())
    }

    /// All before this offset was given to [`restore_record`](Self::restore_record). Writes what is collected, if it is
    /// enough.
    ///
    /// # Errors
    /// The database refused.
    pub fn restored_to(&mut self, store: StoreIndex, next: Offset) -> Result<(), StoreError> {
        let Some(Some(slot)) = self.slots.get_mut(store.0) else { return Ok(()) };
        let full = slot.restore.as_mut().is_some_and(|restore| {
            restore.next = Some(next);
            restore.bytes() >= restore.batch_bytes
        });
        match &slot.memory {
            Some(_) => self.meta.changelog_next[store.0] = Some(next),
            None if full => self.write_restored(store)?,
            None => {}
        }
        Ok(())
    }

    fn write_restored(&mut self, store: StoreIndex) -> Result<(), StoreError> {
        let (Some(Some(slot)), Some(rocks)) = (self.slots.get_mut(store.0), &self.rocks) else { return Ok(()) };
        let Some(restore) = &mut slot.restore else { return Ok(()) };
        let Some(next) = restore.next.take() else { return Ok(()) };
        restore.write(rocks, &slot.spec.name, next)?;
        self.meta.changelog_next[store.0] = Some(next);
        Ok(())
    }

    /// Ends a restore, at the changelog's end or before: writes the rest, and lets compactions run again, in the
    /// background. What was interrupted goes on from there. Nothing to do if none is under way.
    ///
    /// # Errors
    /// The database refused.
    pub fn end_restore(&mut self, store: StoreIndex) -> Result<(), StoreError> {
        self.write_restored(store)?;
        let (Some(Some(slot)), Some(rocks)) = (self.slots.get_mut(store.0), &self.rocks) else { return Ok(()) };
        if slot.restore.take().is_some_and(|restore| restore.is_bulk()) {
            rocks.set_options(&slot.spec.name, &SETTLING_OPTIONS)?;
            self.settling.retain(|settling| *settling != store);
            self.settling.push(store);
        }
        self.settle()
    }

    /// Applies a few changelog records, in order of their offsets; `next` is the offset after the last one.
    ///
    /// # Errors
    /// The database refused; nothing of the batch was applied.
    ///
    /// # Panics
    /// As [`begin_restore`](Self::begin_restore).
    pub fn restore<'b>(
        &mut self,
        store: StoreIndex,
        records: impl IntoIterator<Item = (&'b [u8], Option<&'b [u8]>)>,
        next: Offset,
    ) -> Result<(), StoreError> {
        self.begin_restore(store, 0, usize::MAX)?;
        for (key, value) in records {
            self.restore_record(store, key, value)?;
        }
        self.restored_to(store, next)?;
        self.end_restore(store)
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
