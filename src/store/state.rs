//! The state of one task: its stores, the staged writes of up to two transactions above them, and the meta data.
//!
//! ```text
//!  read  ─▶ table: of each key the newest value ─▶ RocksDB │ memory
//!             ▲
//!  write ─────┴─▶ current journal (transaction n+2; the record in hand, and all of it, can be taken back from its end)
//!  seal:    current ─▶ sealed journal (n+1, on the wire)                      drop_staged: current and sealed go
//!  commit:  oldest journal (n) + positions ─▶ writer thread ─▶ ONE WriteBatch; then its values may leave the table
//! ```
//!
//! Kafka is the arbiter: nothing of a transaction touches the base before Kafka has committed it (rule R-17).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::error::StoreError;
use super::journal::{Journal, StagedWrite};
use super::lock::TaskLock;
use super::meta::{Commit, Meta};
use super::options::StoreResources;
use super::range::{Base, Bounds, RangeScan, after_prefix};
use super::restore::Restore;
use super::rocks::Rocks;
use super::shares::Share;
use super::spec::{StoreIndex, StoreKind, StoreSpec};
use super::table::Table;
use super::view::View;
use super::writer::{Batch, Done, Writer};
use crate::position::{Offset, TopicPartition};
use crate::record::Timestamp;

/// What a buffer of a journal keeps for the next transaction at most.
const KEPT_BYTES: usize = 4 << 20;

/// A store in memory.
pub(super) type MemoryStore = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// One of the task's stores.
pub(super) struct Slot {
    pub(super) spec: StoreSpec,
    /// The data of a store in memory; `None` if it is in RocksDB.
    pub(super) memory: Option<MemoryStore>,
    /// A restore under way.
    pub(super) restore: Option<Restore>,
}

/// A committed transaction on its way into the database.
struct Applying {
    journal: Arc<Journal>,
    done: Done,
}

/// The state of one task. Single-threaded; can be moved to another thread between two records.
pub struct TaskState {
    /// By store number; `None` for stores of other sub-topologies.
    pub(super) slots: Vec<Option<Slot>>,
    pub(super) rocks: Option<Arc<Rocks>>,
    /// Column families by store number; `None` for a store that is not in the database.
    families: Arc<[Option<String>]>,
    writer: Option<Writer>,
    pub(super) meta: Meta,
    /// Above the database and the stores in memory.
    pub(super) table: Table,
    current: Journal,
    /// The transaction on the wire, below `current`.
    sealed: Option<Journal>,
    /// The last committed transaction, until it is in the database.
    applying: Option<Applying>,
    /// Journals whose transaction is over, kept for their memory.
    spare: Vec<Journal>,
    /// Stores whose bulk restore is over but not yet compacted.
    pub(super) settling: Vec<StoreIndex>,
    /// Its part of the memory for copies; `None` without a database.
    share: Option<Share>,
    /// What readers on other threads have.
    pub(super) view: Option<View>,
    /// Buffers of the typed layer.
    pub(super) scratch: (Vec<u8>, Vec<u8>),
    /// Declared last: released after the database is closed.
    _lock: Option<TaskLock>,
}

impl fmt::Debug for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.slots.iter().flatten().map(|slot| &slot.spec.name).collect();
        f.debug_struct("TaskState").field("stores", &names).field("staged_bytes", &self.staged_bytes()).finish()
    }
}

impl TaskState {
    /// A state without a directory: every store is in memory, whatever its kind. For the test driver.
    pub fn in_memory(specs: &[StoreSpec]) -> Self {
        let specs: Vec<_> = specs.iter().map(|spec| StoreSpec { kind: StoreKind::Memory, ..spec.clone() }).collect();
        let count = specs.iter().map(|spec| spec.index.0 + 1).max().unwrap_or(0);
        let meta = Meta { changelog_next: vec![None; count], ..Meta::default() };
        Self::assemble(&specs, None, meta, None)
    }

    pub(super) fn assemble(
        specs: &[StoreSpec],
        rocks: Option<(Rocks, &StoreResources)>,
        meta: Meta,
        lock: Option<TaskLock>,
    ) -> Self {
        let share = rocks.as_ref().map(|(_, resources)| resources.shares.take());
        let writer = rocks.as_ref().map(|(_, resources)| resources.writer.clone());
        let count = meta.changelog_next.len();
        let mut slots: Vec<Option<Slot>> = (0..count).map(|_| None).collect();
        for spec in specs {
            let memory = (spec.kind == StoreKind::Memory).then(MemoryStore::new);
            slots[spec.index.0] = Some(Slot { spec: spec.clone(), memory, restore: None });
        }
        let on_disk = |slot: &Option<Slot>| Some(slot.as_ref().filter(|slot| slot.memory.is_none())?.spec.name.clone());
        TaskState {
            families: slots.iter().map(on_disk).collect(),
            slots,
            rocks: rocks.map(|(rocks, _)| {
                let rocks = Arc::new(rocks);
                rocks.join();
                rocks
            }),
            writer,
            meta,
            table: Table::new(share.as_ref().map_or(0, Share::table_bytes)),
            current: Journal::new(count),
            sealed: None,
            applying: None,
            spare: Vec::new(),
            settling: Vec::new(),
            share,
            view: None,
            scratch: Default::default(),
            _lock: lock,
        }
    }

    pub(super) fn slot(&self, store: StoreIndex) -> &Slot {
        match self.slots.get(store.0) {
            Some(Some(slot)) => slot,
            // The topology checks at build time that a processor's stores are its task's.
            _ => panic!("store {} is not one of this task's", store.0),
        }
    }

    /// The task's stores.
    pub fn specs(&self) -> impl Iterator<Item = &StoreSpec> {
        self.slots.iter().flatten().map(|slot| &slot.spec)
    }

    /// Looks a key up and shows its bytes without copying them: staged writes first, newest first, then committed data.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn read_with<R>(
        &mut self,
        store: StoreIndex,
        key: &[u8],
        show: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<R, StoreError> {
        if let Some(place) = self.table.find(store, key) {
            return Ok(show(self.table.value(place)));
        }
        let slot = match self.slots.get(store.0) {
            Some(Some(slot)) => slot,
            _ => panic!("store {} is not one of this task's", store.0),
        };
        if let Some(memory) = &slot.memory {
            return Ok(show(memory.get(key).map(|value| &**value)));
        }
        let Some(rocks) = &self.rocks else { return Ok(show(None)) };
        let value = rocks.read(&slot.spec.name, key)?;
        self.table.keep(store, key, value.as_deref(), staged_heap_bytes(&self.current, &self.sealed, &self.applying));
        Ok(show(value.as_deref()))
    }

    /// Looks a key up and copies its bytes.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn read(&mut self, store: StoreIndex, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_with(store, key, |value| value.map(<[u8]>::to_vec))
    }

    /// Stages a write; `None` deletes.
    pub fn write(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        debug_assert!(self.slot(store).restore.is_none(), "a store that is being restored can't be written");
        let place = self.table.find_again(store, key);
        let write = self.current.next_id();
        self.current.push(store, key, value, place.and_then(|place| self.table.staged(place)));
        self.table.put(place, store, key, value, write);
    }

    /// The keys within bounds in order of their bytes, staged writes included.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn range(&mut self, store: StoreIndex, bounds: Bounds<'_>) -> Result<RangeScan<'_>, StoreError> {
        // A scan has two journals above the database, not three.
        self.finish_applying()?;
        for journal in [Some(&mut self.current), self.sealed.as_mut()].into_iter().flatten() {
            journal.order(store);
        }
        let slot = self.slot(store);
        let base = match (&slot.memory, &self.rocks) {
            _ if bounds.is_empty() => Base::Empty,
            (Some(memory), _) => Base::memory(memory.range::<[u8], _>(bounds)),
            (None, Some(rocks)) => rocks.scan(&slot.spec.name, bounds)?,
            (None, None) => Base::Empty,
        };
        let journals = [Some(&self.current), self.sealed.as_ref()].into_iter().flatten();
        Ok(RangeScan::new(journals.map(|journal| journal.scan(store, bounds)), base))
    }

    /// The keys that start with `prefix` in order of their bytes, staged writes included.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn prefix(&mut self, store: StoreIndex, prefix: &[u8]) -> Result<RangeScan<'_>, StoreError> {
        use std::ops::Bound;
        let after = after_prefix(prefix);
        let end = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.range(store, Bounds { start: Bound::Included(prefix), end })
    }

    /// Writes from here on belong to one record, until [`commit_record`](Self::commit_record) or
    /// [`rollback_record`](Self::rollback_record).
    pub fn begin_record(&mut self) {
        self.current.begin_record();
    }

    /// The record's writes stand, within the transaction.
    pub fn commit_record(&mut self) {
        self.current.commit_record();
    }

    /// Bytes of the largest changelog record, key and value together, that the record in hand has caused.
    pub fn largest_record_write(&self) -> usize {
        self.current.largest_record_write(|store| has_changelog(&self.slots, store))
    }

    /// Whether the record in hand has written anything.
    pub fn has_record_writes(&self) -> bool {
        self.current.has_record_writes()
    }

    /// The record's writes are taken back.
    pub fn rollback_record(&mut self) {
        for _ in 0..self.current.abandon_record() {
            let below = [self.sealed.as_ref(), self.applying.as_ref().map(|applying| &*applying.journal)];
            undo_last(&mut self.table, &mut self.current, below);
        }
    }

    /// Hands over the writes of the current transaction that were not yet, to be produced to the changelogs in the same
    /// transaction: only stores with a changelog, of each key the last write since the last call, in order.
    ///
    /// # Errors
    /// Those of `visit`; the write that it refused comes again at the next call.
    ///
    /// # Panics
    /// While a record is in hand: its writes may still be taken back.
    pub fn publish_changelog<E>(&mut self, mut visit: impl FnMut(StagedWrite<'_>) -> Result<(), E>) -> Result<(), E> {
        let slots = &self.slots;
        self.current.publish(|write| if has_changelog(slots, write.store) { visit(write) } else { Ok(()) })
    }

    /// Bytes that writes take which are not in the database yet (rule R-8).
    pub fn staged_bytes(&self) -> usize {
        journals(&self.current, &self.sealed, &self.applying).map(Journal::staged_bytes).sum()
    }

    /// The part of [`staged_bytes`](Self::staged_bytes) that is the transaction being filled.
    pub fn filling_bytes(&self) -> usize {
        self.current.staged_bytes()
    }

    /// Whether nothing is staged.
    pub fn is_clean(&self) -> bool {
        self.current.is_empty() && self.sealed.as_ref().is_none_or(Journal::is_empty)
    }

    /// Whether a sealed transaction waits for its [`commit`](Self::commit).
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Closes the current transaction; the writes of the next one lie above it (rule N-5).
    ///
    /// # Panics
    /// If one is sealed already, a record is in hand, or changelog writes have not been published: each would tear the
    /// transaction.
    pub fn seal(&mut self) {
        assert!(self.sealed.is_none(), "a transaction is on the wire already");
        self.assert_complete();
        self.sealed = Some(self.take_current());
    }

    fn take_current(&mut self) -> Journal {
        let mut next = self.spare.pop().unwrap_or_else(|| Journal::new(self.slots.len()));
        next.restart(self.current.transaction().next(), self.kept_bytes());
        std::mem::replace(&mut self.current, next)
    }

    /// Bytes that a journal's buffers keep each.
    fn kept_bytes(&self) -> usize {
        self.share.as_ref().map_or(KEPT_BYTES, |share| share.journal_bytes().min(KEPT_BYTES))
    }

    fn assert_complete(&self) {
        assert!(!self.current.in_record(), "a record is in hand");
        let unpublished = self.current.has_unpublished(|store| has_changelog(&self.slots, store));
        assert!(!unpublished, "changelog writes were not published");
    }

    /// Makes the oldest transaction durable after Kafka has committed it: the sealed one, or else the current one. Data
    /// and meta data are one write (rules R-17 and R-20), which is under way when this returns; see
    /// [`check`](Self::check).
    ///
    /// # Errors
    /// The database refused the transaction before; the task has to be closed and reconciled from the changelog.
    ///
    /// # Panics
    /// As [`seal`](Self::seal).
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<(), StoreError> {
        self.finish_applying()?;
        let journal = match self.sealed.take() {
            Some(sealed) => sealed,
            None => {
                self.assert_complete();
                self.take_current()
            }
        };
        if self.slots.iter().flatten().any(|slot| slot.memory.is_some()) {
            for write in journal.writes() {
                let memory = self.slots[write.store.0].as_mut().and_then(|slot| slot.memory.as_mut());
                memory.into_iter().for_each(|memory| apply(memory, write.key, write.value));
            }
        }
        self.meta.apply(commit);
        match (&self.rocks, &self.writer) {
            (Some(rocks), Some(writer)) => {
                let (rocks, journal) = (Arc::clone(rocks), Arc::new(journal));
                let meta = commit.entries(&self.families);
                let batch = Batch { rocks, journal: Arc::clone(&journal), families: Arc::clone(&self.families), meta };
                self.applying = Some(Applying { journal, done: writer.write(batch) });
            }
            _ => self.release(Arc::new(journal)),
        }
        self.settle()
    }

    /// The transaction is where it belongs: the table need not hold its values any more.
    fn release(&mut self, journal: Arc<Journal>) {
        let transaction = journal.transaction();
        // The writer's thread has dropped its own before it told the end.
        if let Ok(mut journal) = Arc::try_unwrap(journal) {
            journal.restart(transaction, self.kept_bytes());
            self.spare.push(journal);
        }
        if let Some(share) = &self.share {
            self.table.set_limit(share.table_bytes());
        }
        self.table.applied(transaction, staged_heap_bytes(&self.current, &self.sealed, &self.applying));
    }

    /// Looks, without waiting, whether the last commit has reached the database.
    ///
    /// # Errors
    /// The database refused; the task has to be closed and reconciled from the changelog.
    pub fn check(&mut self) -> Result<(), StoreError> {
        if self.applying.as_ref().is_some_and(|applying| !applying.done.is_empty()) {
            self.finish_applying()?;
        }
        Ok(())
    }

    /// Waits until the last commit is in the database.
    pub(super) fn finish_applying(&mut self) -> Result<(), StoreError> {
        let Some(Applying { journal, done }) = self.applying.take() else { return Ok(()) };
        let result = done.recv();
        self.release(journal);
        match (result, &self.rocks) {
            (Ok(result), _) => result,
            (Err(_), Some(rocks)) => Err(rocks.failed("the writer thread has ended")),
            (Err(_), None) => Ok(()),
        }
    }

    /// Forgets every staged write, sealed or not, as after an aborted transaction.
    pub fn drop_staged(&mut self) {
        let first = self.sealed.as_ref().unwrap_or(&self.current).transaction();
        while !self.current.is_empty() {
            let below = [self.sealed.as_ref(), self.applying.as_ref().map(|applying| &*applying.journal)];
            undo_last(&mut self.table, &mut self.current, below);
        }
        if let Some(mut sealed) = self.sealed.take() {
            while !sealed.is_empty() {
                undo_last(
                    &mut self.table,
                    &mut sealed,
                    [None, self.applying.as_ref().map(|applying| &*applying.journal)],
                );
            }
            sealed.restart(first, self.kept_bytes());
            self.spare.push(sealed);
        }
        self.current.restart(first, self.kept_bytes());
    }

    /// Next changelog offset of a store: where a restore has to go on. `None`: from the beginning.
    pub fn changelog_next(&self, store: StoreIndex) -> Option<Offset> {
        self.meta.changelog_next.get(store.0).copied().flatten()
    }

    /// Next input offset, as committed.
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.meta.positions.get(partition).copied()
    }

    /// Stream time, as committed.
    pub fn stream_time(&self) -> Option<Timestamp> {
        self.meta.stream_time
    }
}

/// Takes the last write of a journal back: the table says again what it said before, as far as a journal knows it. What
/// none of them knows is in the database, or in memory.
fn undo_last(table: &mut Table, journal: &mut Journal, below: [Option<&Journal>; 2]) {
    let Some((undone, earlier)) = journal.last() else { return };
    let place = table.find(undone.store, undone.key);
    let journals = [below[0], below[1], Some(&*journal)].into_iter().flatten();
    let holder =
        |write: super::journal::WriteId| journals.into_iter().find(|known| known.transaction() == write.transaction);
    let known = earlier.and_then(|write| Some((write, holder(write)?)));
    match (place, known) {
        (Some(_), Some((write, known))) => table.put(place, undone.store, undone.key, known.value(write.number), write),
        (Some(place), None) => table.forget(place),
        (None, _) => debug_assert!(false, "a staged write had left the table"),
    }
    journal.undo_last();
}

/// The journals of writes that the database does not have.
fn journals<'a>(
    current: &'a Journal,
    sealed: &'a Option<Journal>,
    applying: &'a Option<Applying>,
) -> impl Iterator<Item = &'a Journal> {
    let applying = applying.as_ref().map(|applying| &*applying.journal);
    [Some(current), sealed.as_ref(), applying].into_iter().flatten()
}

fn staged_heap_bytes(current: &Journal, sealed: &Option<Journal>, applying: &Option<Applying>) -> usize {
    journals(current, sealed, applying).map(Journal::heap_bytes).sum()
}

fn has_changelog(slots: &[Option<Slot>], store: StoreIndex) -> bool {
    slots[store.0].as_ref().is_some_and(|slot| slot.spec.changelog)
}

pub(super) fn apply(memory: &mut MemoryStore, key: &[u8], value: Option<&[u8]>) {
    match value {
        None => _ = memory.remove(key),
        Some(value) => match memory.get_mut(key) {
            Some(known) if known.len() == value.len() => known.copy_from_slice(value),
            Some(known) => *known = value.into(),
            None => _ = memory.insert(key.into(), value.into()),
        },
    }
}

impl Drop for TaskState {
    /// The directory's lock is released when nothing is being written any more.
    fn drop(&mut self) {
        self.withdraw();
        if let Err(error) = self.finish_applying() {
            tracing::warn!(target: "headrace::store", %error, "the last commit of a dropped task: it will be replayed");
        }
        if let Some(rocks) = &self.rocks {
            rocks.leave();
        }
    }
}
