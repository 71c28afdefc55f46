//! The bound on what all tasks' memtables take together.
//!
//! RocksDB's write buffer manager flushes the database that writes. One that has stopped writing keeps what it has, so with
//! many tasks the sum went to nearly twice the bound: each had been restored, had written a little, and was idle. So
//! whoever writes looks at the sum, and above half of the bound the *largest* memtables of all tasks go to files, whoever's
//! they are. The other half is for those that are on their way there; if the disk can't keep up, writers wait for it.

use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};

use rocksdb::WriteBufferManager;

use super::rocks::Rocks;

/// Above this part of the bound the largest memtables are flushed.
const FULL_PART: usize = 2;
/// Above this part, in quarters, whoever writes waits for them.
const WAIT_QUARTERS: usize = 3;
/// A task with less than this part of its even share is left alone: a file for each few records is worse.
const LEAST_PART: usize = 4;

/// The memtables of all open databases. Clones are the same.
#[derive(Clone)]
pub(super) struct Memtables {
    bytes: usize,
    pub(super) manager: WriteBufferManager,
    open: Arc<Mutex<Vec<Weak<Rocks>>>>,
}

impl Memtables {
    pub(super) fn new(bytes: usize) -> Self {
        // Not charged to the cache: two bounds that add up are easier to reason about than one that squeezes the cache
        // whenever writes come in. Without stalls: a writer would wait for the memtables of databases that nobody writes to.
        let manager = WriteBufferManager::new_write_buffer_manager(bytes, false);
        Memtables { bytes, manager, open: Arc::default() }
    }

    /// One more open database.
    pub(super) fn add(&self, rocks: &Arc<Rocks>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|rocks| rocks.strong_count() > 0);
        open.push(Arc::downgrade(rocks));
    }

    /// A database that is about to be closed: once this returns, nobody here has it any more. It must not outlive its task's
    /// lock on the directory.
    pub(super) fn remove(&self, rocks: &Arc<Rocks>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(rocks)));
    }

    /// To be called after a write.
    pub(super) fn relieve(&self) {
        let usage = self.manager.get_usage();
        if usage <= self.bytes / FULL_PART {
            return;
        }
        let waits = usage > self.bytes / 4 * WAIT_QUARTERS;
        let open = match self.open.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody else is at it.
            Err(TryLockError::WouldBlock) => return,
        };
        // The lock is held until the flush is begun, or done: see `remove`.
        let databases: Vec<Arc<Rocks>> = open.iter().filter_map(Weak::upgrade).collect();
        let least = self.bytes / FULL_PART / LEAST_PART / databases.len().max(1);
        let largest =
            databases.iter().map(|rocks| (rocks.active_memtable_bytes(), rocks)).max_by_key(|(size, _)| *size);
        if let Some((_, rocks)) = largest.filter(|(size, _)| *size >= least)
            && let Err(error) = rocks.flush_all(waits)
        {
            // Whoever owns it will meet the same error at its next write.
            tracing::warn!(target: "headrace::store", %error, "flushing the largest memtables failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::position::{Offset, Partition, TaskId, TopicPartition};
    use crate::store::{
        Commit, StateDirectory, StoreIndex, StoreKind, StoreOptions, StoreResources, StoreSpec, TaskState,
    };

    const STORE: StoreIndex = StoreIndex(0);
    const BOUND: usize = 2 << 20;
    const TASKS: i32 = 32;
    const VALUE: [u8; 1000] = [7; 1000];

    fn write(state: &mut TaskState, from: u32, records: u32) {
        for number in from..from + records {
            state.write(STORE, &number.to_be_bytes(), Some(&VALUE));
        }
        let published: Result<(), std::convert::Infallible> = state.publish_changelog(|_| Ok(()));
        assert!(published.is_ok());
        state.commit(&Commit::default()).unwrap();
        state.finish_applying().unwrap();
    }

    /// Each task writes a little and is idle then: no write of its own would ever flush it.
    fn most_in_memtables(bound: usize) -> usize {
        let root = tempfile::tempdir().unwrap();
        let options = StoreOptions { write_buffer_bytes: bound, ..StoreOptions::default() };
        let resources = StoreResources::new(options);
        let spec = StoreSpec { index: STORE, name: "values".to_owned(), kind: StoreKind::Rocks, changelog: true };
        let directory = StateDirectory::open(root.path(), "app").unwrap();
        let open = |partition| {
            let id = TaskId { sub_topology: 0, partition: Partition(partition) };
            directory.open_task(id, std::slice::from_ref(&spec), 1, &resources).unwrap()
        };
        let mut states: Vec<TaskState> = (0..TASKS).map(open).collect();
        let mut most = 0;
        for state in &mut states {
            for part in 0..10 {
                write(state, part * 25, 25);
                most = most.max(resources.write_buffer_bytes());
            }
        }
        for (state, number) in states.iter_mut().zip(0..) {
            assert_eq!(state.read(STORE, &(number % 250_u32).to_be_bytes()).unwrap().as_deref(), Some(&VALUE[..]));
        }
        most
    }

    #[test]
    fn r25_memtables_of_idle_tasks_give_way() {
        // 32 tasks × 250 kB are 8 MB, four times the bound.
        let most = most_in_memtables(BOUND);
        assert!(most <= BOUND, "{most} bytes in memtables of {BOUND}");
    }

    /// A global table that has been filled writes little afterwards, and is of no task.
    #[test]
    fn r25_memtables_of_an_idle_global_table_give_way() {
        let root = tempfile::tempdir().unwrap();
        let resources = StoreResources::new(StoreOptions { write_buffer_bytes: BOUND, ..StoreOptions::default() });
        let directory = StateDirectory::open(root.path(), "app").unwrap();
        let global = directory.open_global(&["prices"], &resources).unwrap();
        let at = TopicPartition { topic: "prices".into(), partition: Partition(0) };
        for number in 0..700_u32 {
            let entry = [(number.to_be_bytes().to_vec(), Some(VALUE.to_vec()))];
            global.apply("prices", &entry, &[(at.clone(), Offset(i64::from(number) + 1))]).unwrap();
        }
        let filled = resources.write_buffer_bytes();
        assert!(filled > BOUND / 4 && filled <= BOUND / 2, "{filled}");
        let spec = StoreSpec { index: STORE, name: "values".to_owned(), kind: StoreKind::Rocks, changelog: true };
        let id = TaskId { sub_topology: 0, partition: Partition(0) };
        let mut state = directory.open_task(id, std::slice::from_ref(&spec), 1, &resources).unwrap();
        for part in 0..16 {
            write(&mut state, part * 25, 25);
            assert!(resources.write_buffer_bytes() <= BOUND);
        }
        // Of the two, the table's was the larger: it is in a file by now.
        let left = global.memtable_bytes();
        assert!(left < filled / 4, "{left} of {filled} bytes are still in the table's memtables");
    }

    /// The control: without a bound that small, they have it all.
    #[test]
    fn idle_tasks_keep_what_a_wide_bound_lets_them() {
        let most = most_in_memtables(16 * BOUND);
        assert!(most > 3 * BOUND, "{most} bytes in memtables");
    }
}
