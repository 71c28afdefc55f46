//! Committed transactions on their way into RocksDB, off the stream thread.
//!
//! ```text
//!  TaskState::commit ─▶ Batch { journal n, positions } ─▶ writer thread ─▶ sort ─▶ ONE WriteBatch
//!        └─ its values stay in the table until the write is done
//! ```
//!
//! Kafka has committed what comes here, so a crash before the write costs no more than its replay from the changelog
//! (rule R-18). A task has one batch under way at most; its next commit waits for it.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rocksdb::WriteBatch;

use super::error::StoreError;
use super::journal::{Journal, Order};
use super::meta::META;
use super::rocks::Rocks;

/// What a batch's entry weighs beside its key and value; only sizes the allocation.
const BATCH_ENTRY_BYTES: usize = 16;

/// What one commit writes.
pub(super) struct Batch {
    pub(super) rocks: Arc<Rocks>,
    pub(super) journal: Arc<Journal>,
    /// Column families by store number; `None` for a store that is not in the database.
    pub(super) families: Arc<[Option<String>]>,
    /// Keys and values that go with the data.
    pub(super) meta: Vec<(Vec<u8>, [u8; 8])>,
}

impl Batch {
    fn write(&self, order: &mut Order) -> Result<(), StoreError> {
        let rocks = &self.rocks;
        let family = |name: &Option<String>| name.as_deref().map(|name| rocks.family(name)).transpose();
        let families = self.families.iter().map(family).collect::<Result<Vec<_>, _>>()?;
        let mut batch = WriteBatch::with_capacity_bytes(self.journal.staged_bytes() + BATCH_ENTRY_BYTES);
        for write in self.journal.sorted_writes(order) {
            match (families[write.store.0], write.value) {
                (Some(family), Some(value)) => batch.put_cf(family, write.key, value),
                (Some(family), None) => batch.delete_cf(family, write.key),
                (None, _) => {}
            }
        }
        let family = rocks.family(META)?;
        for (key, value) in &self.meta {
            batch.put_cf(family, key, value);
        }
        if batch.is_empty() { Ok(()) } else { rocks.write(batch) }
    }
}

/// The end of one batch's write.
pub(super) type Done = Receiver<Result<(), StoreError>>;

type Job = (Batch, Sender<Result<(), StoreError>>);

/// The thread that writes. It ends with the last handle.
#[derive(Clone)]
pub(super) struct Writer {
    /// Without a thread the batches are written where they are handed over.
    jobs: Option<Sender<Job>>,
}

impl Writer {
    pub(super) fn start() -> Self {
        // Bounded by the number of tasks: each has one batch under way at most.
        let (sender, jobs) = unbounded::<Job>();
        let started = thread::Builder::new().name("store-writer".to_owned()).spawn(move || run(&jobs));
        if let Err(error) = &started {
            tracing::warn!(target: "headrace::store", %error, "no thread for the store's writer: it writes on the stream thread");
        }
        Writer { jobs: started.ok().map(|_| sender) }
    }

    /// A writer that writes where it is asked to.
    pub(super) fn without_thread() -> Self {
        Writer { jobs: None }
    }

    /// Writes a batch; the result comes when it is done, and by then nobody else holds the journal.
    pub(super) fn write(&self, batch: Batch) -> Done {
        let (done, end) = bounded(1);
        match &self.jobs {
            Some(jobs) => {
                // The thread lives as long as this sender; should it have panicked, the end is never told, which is told.
                _ = jobs.send((batch, done));
            }
            None => finish(batch, &done, &mut Order::new()),
        }
        end
    }
}

fn run(jobs: &Receiver<Job>) {
    let mut order = Order::new();
    for (batch, done) in jobs {
        finish(batch, &done, &mut order);
    }
}

fn finish(batch: Batch, done: &Sender<Result<(), StoreError>>, order: &mut Order) {
    let result = batch.write(order);
    drop(batch);
    // Nobody waits for it if the task was dropped.
    _ = done.send(result);
}

#[cfg(test)]
impl Writer {
    /// A writer whose batches the test writes, or drops.
    pub(super) fn held() -> (Self, HeldJobs) {
        let (sender, jobs) = unbounded();
        (Writer { jobs: Some(sender) }, HeldJobs(jobs))
    }
}

#[cfg(test)]
pub(super) struct HeldJobs(Receiver<Job>);

#[cfg(test)]
impl HeldJobs {
    pub(super) fn write_next(&self) {
        if let Ok((batch, done)) = self.0.try_recv() {
            finish(batch, &done, &mut Order::new());
        }
    }

    /// As a writer that panics over it.
    pub(super) fn lose_next(&self) {
        drop(self.0.try_recv());
    }
}
