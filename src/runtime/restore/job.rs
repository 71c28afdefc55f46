//! One task on its way: its state is opened, its changelogs are read to their ends, each into its store.
//!
//! ```text
//!  closed ─▶ open: each changelog  asked ─▶ waiting ─▶ reading ─▶ done ─▶ restored
//!    ▲                               └──────────┴─────────┤
//!    └─ locked, unfit, failed: later ◀────────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::error::{FatalError, TaskError};
use crate::kafka::{Bounds, ChangelogFetcher, Records, open_transaction};
use crate::position::{Offset, TaskId, TopicPartition};
use crate::store::{StateDirectory, StoreError, StoreIndex, StoreSpec, TaskState};
use crate::topology::Topology;

use super::super::options::Options;
use super::super::tasks::Changelog;
use super::meter::Meter;
use super::opening::close;
use super::{Order, Restored};

/// How long a task's directory may stay locked by its last owner on this machine.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries to lock it.
const LOCK_LOOK: Duration = Duration::from_millis(50);
/// Bytes that are applied before it is looked whether a batch is full.
const CHUNK_BYTES: usize = 256 << 10;

/// What all jobs of a thread use.
pub(super) struct Means {
    pub(super) topology: Topology,
    pub(super) options: Options,
    pub(super) directory: Arc<StateDirectory>,
    /// Bytes that one store's restore writes at once.
    pub(super) batch_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// What there is was asked for.
    Asked,
    /// It has its turn later.
    Waiting,
    Reading,
    Done,
}

/// One changelog on its way into its store.
pub(super) struct Read {
    pub(super) store: StoreIndex,
    pub(super) at: TopicPartition,
    pub(super) phase: Phase,
    pub(super) from: Offset,
    pub(super) meter: Meter,
}

/// Why a job does not go on as it was.
pub(super) enum Trouble {
    /// The state is no copy of its changelog (rule R-19).
    Unfit,
    Store(StoreError),
    Fatal(FatalError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Trouble::Store(error)
    }
}

/// A task on its way.
pub(super) struct Job {
    pub(super) id: TaskId,
    stop: Arc<AtomicBool>,
    changelogs: Vec<Changelog>,
    /// `None` while it is closed.
    pub(super) state: Option<TaskState>,
    pub(super) reads: Vec<Read>,
    begun: Instant,
    /// Since when somebody else has had the directory.
    locked_since: Option<Instant>,
    /// States that were set aside.
    quarantined: u32,
    failures: u32,
    not_before: Option<Instant>,
}

impl Job {
    pub(super) fn new(order: Order, now: Instant) -> Self {
        Job {
            id: order.id,
            stop: order.stop,
            changelogs: order.changelogs,
            state: None,
            reads: Vec::new(),
            begun: now,
            locked_since: None,
            quarantined: 0,
            failures: 0,
            not_before: None,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn is_restored(&self) -> bool {
        self.state.is_some() && self.reads.iter().all(|read| read.phase == Phase::Done)
    }

    /// Opens the state, if it is time to, and asks what its changelogs have.
    pub(super) fn open(
        &mut self,
        means: &Means,
        fetcher: &mut ChangelogFetcher,
        now: Instant,
    ) -> Result<(), FatalError> {
        if self.state.is_some() || self.not_before.is_some_and(|time| time > now) {
            return Ok(());
        }
        let own = means.topology.stores().iter().filter(|store| store.sub_topology == self.id.sub_topology);
        let specs: Vec<StoreSpec> = own.map(|store| store.spec.clone()).collect();
        match means.directory.open_task(self.id, &specs, means.topology.state_id(), &means.options.stores) {
            Ok(state) => {
                self.locked_since = None;
                self.state = Some(state);
                for Changelog { store, at, .. } in &self.changelogs {
                    fetcher.begin(at);
                    let (zero, meter) = (Offset(0), Meter::new(now));
                    self.reads.push(Read { store: *store, at: at.clone(), phase: Phase::Asked, from: zero, meter });
                }
                Ok(())
            }
            Err(error @ StoreError::Locked { .. }) => self.locked(&error, now),
            // Once: a directory in which even a fresh state is unusable won't get better.
            Err(error) if error.is_unusable() && self.quarantined == 0 => self.quarantine(means, &error.to_string()),
            Err(error) => Err(FatalError::Other {
                context: format!("state.directory: task {} can't be opened", self.id),
                source: error.into(),
            }),
        }
    }

    fn locked(&mut self, error: &StoreError, now: Instant) -> Result<(), FatalError> {
        self.not_before = Some(now + LOCK_LOOK);
        if *self.locked_since.get_or_insert(now) + LOCK_PATIENCE > now {
            return Ok(());
        }
        Err(FatalError::Environment(format!(
            "state.directory: task {}: {error}; give each instance a directory of its own",
            self.id
        )))
    }

    fn quarantine(&mut self, means: &Means, reason: &str) -> Result<(), FatalError> {
        self.quarantined += 1;
        means.options.telemetry.store_quarantined(self.id, reason);
        means.directory.quarantine(self.id, reason).map(drop).map_err(|error| FatalError::Other {
            context: format!("state of task {} can't be set aside", self.id),
            source: error.into(),
        })
    }

    /// What there is of a changelog: says where it is read from.
    pub(super) fn bounded(&mut self, at: &TopicPartition, bounds: Bounds, now: Instant) -> Result<(), Trouble> {
        let (Some(state), Some(read)) = (&self.state, self.reads.iter_mut().find(|read| read.at == *at)) else {
            return Ok(());
        };
        let known = state.changelog_next(read.store);
        // A changelog that lost its beginning may have lost the deletes of keys that the state still holds. Whether it ends
        // before this offset is seen when it is read from there: what is committed may not be stable yet.
        if known.is_some_and(|known| known < bounds.start) {
            return Err(Trouble::Unfit);
        }
        read.from = known.unwrap_or(bounds.start);
        read.meter.begin(bounds.start, read.from, bounds.end.max(read.from), now);
        read.phase = Phase::Waiting;
        Ok(())
    }

    /// The next changelog's turn has come.
    pub(super) fn read(&mut self, number: usize, means: &Means, fetcher: &mut ChangelogFetcher) -> Result<(), Trouble> {
        let (Some(state), Some(read)) = (&mut self.state, self.reads.get_mut(number)) else { return Ok(()) };
        state.begin_restore(read.store, read.meter.remaining(), means.batch_bytes)?;
        read.phase = Phase::Reading;
        fetcher.read(&read.at, read.from);
        Ok(())
    }

    /// Applies what has come of a changelog.
    pub(super) fn apply(&mut self, records: &mut Records<'_>) -> Result<(), Trouble> {
        let mut reads = self.reads.iter_mut();
        let found = reads.find(|read| read.at == *records.at() && read.phase == Phase::Reading);
        let (Some(state), Some(read)) = (&mut self.state, found) else { return Ok(()) };
        let mut unlooked = 0;
        while let Some(record) = records.next_record() {
            let (key, value) = record.map_err(Trouble::Fatal)?;
            if let Some(key) = key {
                let bytes = key.len() + value.map_or(0, <[u8]>::len);
                read.meter.count(bytes);
                unlooked += bytes;
                state.restore_record(read.store, key, value)?;
            }
            if unlooked >= CHUNK_BYTES {
                unlooked = 0;
                state.restored_to(read.store, records.next())?;
            }
        }
        read.meter.reached(records.next());
        state.restored_to(read.store, records.next())?;
        Ok(())
    }

    /// All that a committed reader can see was applied. Gives what it waits for, if there is more.
    pub(super) fn ended(
        &mut self,
        at: &TopicPartition,
        next: Offset,
        high: Offset,
        fetcher: &mut ChangelogFetcher,
    ) -> Result<Option<String>, Trouble> {
        let found = self.reads.iter_mut().find(|read| read.at == *at && read.phase == Phase::Reading);
        let (Some(state), Some(read)) = (&mut self.state, found) else { return Ok(None) };
        if next < high {
            // Of an owner that is dead, or not heard of yet: what it leaves is committed or aborted soon (rule R-22).
            return Ok(Some(open_transaction(at, next, high)));
        }
        let shrunk = read.meter.remaining_from(next) > 0;
        read.meter.reached(next);
        state.restored_to(read.store, next)?;
        state.end_restore(read.store)?;
        fetcher.stop(at);
        read.phase = if shrunk { Phase::Asked } else { Phase::Done };
        if shrunk {
            // It had more: a leader that does not know all yet, or has lost some. Which of the two, it is asked.
            fetcher.begin(at);
        }
        Ok(None)
    }

    /// Begins again, later if the trouble may pass by itself.
    pub(super) fn again(
        &mut self,
        trouble: Trouble,
        means: &Means,
        fetcher: &mut ChangelogFetcher,
        now: Instant,
    ) -> Result<(), FatalError> {
        let later = now + Backoff::RESTART.delay(self.failures, fastrand::f64());
        match trouble {
            Trouble::Fatal(error) => return Err(error),
            Trouble::Unfit => {
                self.close(fetcher);
                // A fresh state that does not fit: the changelog changes under us.
                self.not_before = (self.quarantined > 0).then_some(later);
                self.quarantine(means, "it does not fit its changelog")?;
            }
            Trouble::Store(error) => {
                let reason = error.to_string();
                let unusable = error.is_unusable();
                means.options.telemetry.task_failed(self.id, &TaskError::from(error));
                self.close(fetcher);
                if unusable {
                    self.quarantine(means, &reason)?;
                }
                self.not_before = Some(later);
            }
        }
        self.failures += 1;
        Ok(())
    }

    /// Closes the state, which keeps what was read.
    pub(super) fn close(&mut self, fetcher: &mut ChangelogFetcher) {
        for read in &self.reads {
            if read.phase != Phase::Done {
                fetcher.stop(&read.at);
            }
        }
        let Some(mut state) = self.state.take() else { return };
        for read in std::mem::take(&mut self.reads) {
            // What it refuses is read again.
            if let Err(error) = state.end_restore(read.store) {
                tracing::warn!(target: "headrace::runtime", task = %self.id, %error, "interrupting a restore");
            }
        }
        close(self.id, state);
    }

    /// The state moves on, with all that belongs to it.
    pub(super) fn into_restored(self, now: Instant) -> Option<Restored> {
        let records = self.reads.iter().map(|read| read.meter.records).sum();
        let took = now.saturating_duration_since(self.begun);
        Some(Restored { state: self.state?, changelogs: self.changelogs, records, took })
    }
}
