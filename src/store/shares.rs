//! What all open tasks of a process may keep together of what they have read and written, split evenly.
//!
//! A fixed size per task grows with the partitions: 8 MiB each are 512 MiB with 64 of them. So there is one number (rule
//! R-25), and a task learns at its next commit that others have come or gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The part of a task's share that each of its journals' two buffers keeps for the next transaction. A task has four
/// journals at most: being filled, on the wire, on its way into the database, and spare.
const JOURNAL_PART: usize = 16;

/// What there is to share, and among how many.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    bytes: usize,
    tasks: Arc<AtomicUsize>,
}

impl Shares {
    pub(super) fn new(bytes: usize) -> Self {
        Shares { bytes, tasks: Arc::new(AtomicUsize::new(0)) }
    }

    /// One more task's share, until it is dropped.
    pub(super) fn take(&self) -> Share {
        self.tasks.fetch_add(1, Ordering::Relaxed);
        Share(self.clone())
    }
}

/// The share of one open task.
#[derive(Debug)]
pub(super) struct Share(Shares);

impl Share {
    /// Bytes of copies of what the database has.
    pub(super) fn table_bytes(&self) -> usize {
        self.0.bytes / self.0.tasks.load(Ordering::Relaxed).max(1)
    }

    /// Bytes that a buffer of a journal keeps.
    pub(super) fn journal_bytes(&self) -> usize {
        self.table_bytes() / JOURNAL_PART
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_smaller_with_each_task_and_larger_again_when_one_has_gone() {
        let shares = Shares::new(32 << 20);
        let first = shares.take();
        assert_eq!(first.table_bytes(), 32 << 20);
        let others: Vec<Share> = (0..63).map(|_| shares.take()).collect();
        assert_eq!(first.table_bytes(), 512 << 10);
        // Four journals of two buffers each: half of what the tables take, as the budget reckons.
        assert_eq!(64 * 8 * first.journal_bytes(), 16 << 20);
        drop(others);
        assert_eq!(first.table_bytes(), 32 << 20);
    }
}
