//! Global tables: what compacted topics have by key, all partitions of them, once per process and read by all its tasks.
//!
//! ```text
//!  one thread per table ─▶ apply: data + position, one WriteBatch ─▶ RocksDB, <root>/<application id>/global ◀─ read ─ tasks
//! ```
//!
//! It is no part of any task: nothing of a transaction touches it, and a reader sees the newest that has come.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rocksdb::WriteBatch;

use super::changes::{Changes, Listeners};
use super::error::{ReadError, StoreError};
use super::handle::{Entries, Store};
use super::lock::TaskLock;
use super::meta::{self, META};
use super::range::{Base, Bounds, RangeScan};
use super::rocks::Rocks;
use super::state::{MemoryStore, apply};
use crate::position::{Offset, TopicPartition};

/// A key's bytes and those of its value; `None` deletes.
pub type Written = (Vec<u8>, Option<Vec<u8>>);

/// The global tables of a process. Read from any thread.
pub struct GlobalState {
    base: Tables,
    positions: Mutex<BTreeMap<TopicPartition, Offset>>,
    listeners: Listeners,
    /// Declared behind the database: released after it is closed.
    _lock: Option<TaskLock>,
    /// Declared last: who waits hears of its end when all else is gone.
    _end: Option<Sender<Infallible>>,
}

/// The end of a [`GlobalState`], for one who waits for it.
#[derive(Debug)]
pub struct GlobalEnd(Receiver<Infallible>);

impl GlobalEnd {
    /// Waits for it; false if it does not come in time.
    pub fn wait(&self, patience: Duration) -> bool {
        // Nothing is ever sent: the channel closes.
        self.0.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

enum Tables {
    Rocks(Arc<Rocks>),
    /// By name.
    Memory(RwLock<BTreeMap<String, MemoryStore>>),
}

impl Default for GlobalState {
    /// Without a directory: in memory, for the test driver, and where there are none.
    fn default() -> Self {
        GlobalState {
            base: Tables::Memory(RwLock::default()),
            positions: Mutex::default(),
            listeners: Listeners::default(),
            _lock: None,
            _end: None,
        }
    }
}

impl fmt::Debug for GlobalState {
    /// Without the records (rule O5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalState").finish_non_exhaustive()
    }
}

impl GlobalState {
    pub(super) fn on_disk(rocks: Rocks, positions: BTreeMap<TopicPartition, Offset>, lock: TaskLock) -> Self {
        let rocks = Arc::new(rocks);
        rocks.join();
        GlobalState {
            base: Tables::Rocks(rocks),
            positions: Mutex::new(positions),
            listeners: Listeners::default(),
            _lock: Some(lock),
            _end: None,
        }
    }

    /// Ends when the last who has it has let go of it: its database is closed then, and its lock released.
    pub fn end(&mut self) -> GlobalEnd {
        let (end, heard) = bounded(0);
        self._end = Some(end);
        GlobalEnd(heard)
    }

    /// The offset after what a table has of a partition; `None` if it has nothing of it.
    pub fn position(&self, at: &TopicPartition) -> Option<Offset> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).get(at).copied()
    }

    /// Puts records into a table, with the positions after them.
    ///
    /// # Errors
    /// The database refused; nothing was written.
    pub fn apply(&self, table: &str, writes: &[Written], next: &[(TopicPartition, Offset)]) -> Result<(), StoreError> {
        match &self.base {
            Tables::Rocks(rocks) => {
                let mut batch = WriteBatch::default();
                let family = rocks.family(table)?;
                for (key, value) in writes {
                    match value {
                        Some(value) => batch.put_cf(family, key, value),
                        None => batch.delete_cf(family, key),
                    }
                }
                for (at, next) in next {
                    batch.put_cf(rocks.family(META)?, meta::position_key(at), meta::encode(next.0));
                }
                rocks.write(batch)?;
            }
            Tables::Memory(tables) => {
                let mut tables = tables.write().unwrap_or_else(PoisonError::into_inner);
                let own = tables.entry(table.to_owned()).or_default();
                writes.iter().for_each(|(key, value)| apply(own, key, value.as_deref()));
            }
        }
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).extend(next.iter().cloned());
        self.listeners.tell(table, writes.iter().map(|(key, _)| key.as_slice()));
        Ok(())
    }

    /// Tells of each write to a key from now on.
    pub fn changes(&self, table: &str, key: &[u8]) -> Changes {
        self.listeners.listen(table, key)
    }

    /// Empties a table, and forgets its positions: what it has is of no use.
    ///
    /// # Errors
    /// The database refused.
    pub fn clear(&self, table: &str, topic: &str) -> Result<(), StoreError> {
        let mut known = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.base {
            Tables::Rocks(rocks) => {
                let mut scan = self.range(table, Bounds::ALL)?;
                let mut batch = WriteBatch::default();
                let family = rocks.family(table)?;
                while let Some((key, _)) = scan.next()? {
                    batch.delete_cf(family, key);
                    if batch.size_in_bytes() > CLEARED_BYTES {
                        rocks.write(std::mem::take(&mut batch))?;
                    }
                }
                for at in known.keys().filter(|at| &*at.topic == topic) {
                    batch.delete_cf(rocks.family(META)?, meta::position_key(at));
                }
                rocks.write(batch)?;
            }
            Tables::Memory(tables) => {
                _ = tables.write().unwrap_or_else(PoisonError::into_inner).remove(table);
            }
        }
        known.retain(|at, _| &*at.topic != topic);
        self.listeners.tell_all(table);
        Ok(())
    }

    fn read_with<R>(&self, table: &str, key: &[u8], show: impl FnOnce(Option<&[u8]>) -> R) -> Result<R, StoreError> {
        match &self.base {
            Tables::Rocks(rocks) => Ok(show(rocks.read(table, key)?.as_deref())),
            Tables::Memory(tables) => {
                let tables = tables.read().unwrap_or_else(PoisonError::into_inner);
                Ok(show(tables.get(table).and_then(|own| own.get(key)).map(|value| &**value)))
            }
        }
    }

    fn range(&self, table: &str, bounds: Bounds<'_>) -> Result<RangeScan<'_>, StoreError> {
        let base = match &self.base {
            _ if bounds.is_empty() => Base::Empty,
            Tables::Rocks(rocks) => rocks.scan(table, bounds)?,
            Tables::Memory(tables) => {
                let tables = tables.read().unwrap_or_else(PoisonError::into_inner);
                let own = tables.get(table).into_iter().flat_map(|own| own.range::<[u8], _>(bounds));
                Base::owned(own.map(|(key, value)| (key.clone(), value.clone())).collect())
            }
        };
        Ok(RangeScan::new(std::iter::empty(), base))
    }
}

#[cfg(test)]
impl GlobalState {
    pub(super) fn memtable_bytes(&self) -> usize {
        match &self.base {
            Tables::Rocks(rocks) => rocks.active_memtable_bytes(),
            Tables::Memory(_) => 0,
        }
    }
}

impl Drop for GlobalState {
    /// The directory's lock is released when the database is closed.
    fn drop(&mut self) {
        if let Tables::Rocks(rocks) = &self.base {
            rocks.leave();
        }
    }
}

/// What one write of a clearing takes.
const CLEARED_BYTES: usize = 1 << 20;

/// A typed handle of a global table.
pub struct GlobalTable<K, V>(Store<K, V>);

impl<K, V> Clone for GlobalTable<K, V> {
    fn clone(&self) -> Self {
        GlobalTable(self.0.clone())
    }
}

impl<K, V> fmt::Debug for GlobalTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: 'static, V: 'static> GlobalTable<K, V> {
    /// A table by its name and codecs; the number of the handle inside means nothing.
    pub(crate) fn new(store: Store<K, V>) -> Self {
        GlobalTable(store)
    }

    /// The value of a key. `scratch` is for the key's bytes.
    ///
    /// # Errors
    /// The database failed, the key has no bytes, or what the topic has for it is no value (yet: `SchemaNotLoaded`).
    pub fn read(&self, state: &GlobalState, key: &K, scratch: &mut Vec<u8>) -> Result<Option<V>, ReadError> {
        scratch.clear();
        self.0.key_codec().encode(key, scratch)?;
        let decode = |value: Option<&[u8]>| value.map(|value| self.0.value_codec().decode(Some(value))).transpose();
        Ok(state.read_with(self.0.name(), scratch, decode)??)
    }

    /// Tells of each write to a key from now on.
    ///
    /// # Errors
    /// The key has no bytes.
    pub fn changes(&self, state: &GlobalState, key: &K) -> Result<Changes, ReadError> {
        let mut bytes = Vec::new();
        self.0.key_codec().encode(key, &mut bytes)?;
        Ok(state.changes(self.0.name(), &bytes))
    }

    /// The entries within bounds of the keys' *bytes*, in their order, as they are when the scan begins.
    ///
    /// # Errors
    /// The database failed.
    pub fn range<'a>(&'a self, state: &'a GlobalState, bounds: Bounds<'_>) -> Result<Entries<'a, K, V>, StoreError> {
        Ok(Entries::new(&self.0, state.range(self.0.name(), bounds)?))
    }
}
