//! How large a store is, as RocksDB estimates it, and the orderly end of a task's state.
//!
//! The figures are read when metrics are scraped, never per record.

use rocksdb::properties;

use super::error::StoreError;
use super::meta::META;
use super::spec::StoreIndex;
use super::state::TaskState;

/// Sizes of one store (rule R-30).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreSizes {
    /// Keys; an estimate for a store on disk.
    pub keys: u64,
    /// Keys and values in memory: memtables, or the whole of a store in memory.
    pub memory_bytes: u64,
    /// Files on disk.
    pub disk_bytes: u64,
    /// What compaction still has to rewrite.
    pub pending_compaction_bytes: u64,
}

impl TaskState {
    /// Sizes of one store.
    ///
    /// # Errors
    /// The database refused.
    pub fn sizes(&self, store: StoreIndex) -> Result<StoreSizes, StoreError> {
        let slot = self.slot(store);
        if let Some(memory) = &slot.memory {
            let bytes: usize = memory.iter().map(|(key, value)| key.len() + value.len()).sum();
            return Ok(StoreSizes { keys: memory.len() as u64, memory_bytes: bytes as u64, ..StoreSizes::default() });
        }
        let Some(rocks) = &self.rocks else { return Ok(StoreSizes::default()) };
        let property = |name| rocks.property(&slot.spec.name, name);
        Ok(StoreSizes {
            keys: property(properties::ESTIMATE_NUM_KEYS)?,
            memory_bytes: property(properties::CUR_SIZE_ALL_MEM_TABLES)?,
            disk_bytes: property(properties::TOTAL_SST_FILES_SIZE)?,
            pending_compaction_bytes: property(properties::ESTIMATE_PENDING_COMPACTION_BYTES)?,
        })
    }

    /// Closes the task: staged writes are dropped, committed ones go to files, so that the next open replays nothing.
    /// Dropping the state is safe too, only the next open is slower.
    ///
    /// # Errors
    /// The database refused; nothing committed is lost by it.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.drop_staged();
        self.finish_applying()?;
        let Some(rocks) = &self.rocks else { return Ok(()) };
        let on_disk = self.slots.iter().flatten().filter(|slot| slot.memory.is_none());
        let mut families: Vec<_> = on_disk.map(|slot| slot.spec.name.as_str()).collect();
        families.push(META);
        rocks.flush(&families)
    }
}
