//! One task on its way: its state is opened, its changelogs are read to their ends, each into its store.
//!
//! ```text
//!  closed ─▶ open: each changelog  asked ─▶ waiting ─▶ reading ─▶ done ─▶ restored
//!    ▲                               └──────────┴─────────┤
//!    └─ locked, unfit, failed: later ◀────────────────────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Instant;
use crate::error::{FatalError, TaskError};
use crate::kafka::{Bounds, Records, open_transaction};
use crate::position::{Offset, TaskId, TopicPartition};
use crate::store::{StateDirectory, StoreError, StoreIndex, StoreSpec, TaskState};
use crate::topology::Topology;

use super::super::options::Options;
use super::super::tasks::Changelog;
use super::fetchers::Fetchers;
use super::meter::Meter;
use super::opening::{close, quarantine};
use super::parts::Parts;
use super::{Order, Restored, Role};

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
    /// How many changelogs are read at a time, and what each collects before it writes.
    pub(super) parts: Parts,
}

impl Means {
    /// Nothing is left of a standby.
    pub(super) fn standby_ended(&self, id: TaskId) {
        let own = self.topology.stores_of(id.sub_topology);
        let stores: Vec<&str> = own.map(|(_, store)| store.spec.name.as_str()).collect();
        self.options.telemetry.standby_ended(id, &stores);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// What there is was asked for.
    Asked,
    /// It has its turn later.
    Waiting,
    Reading,
    Done,
    /// Of a standby: read for ever.
    Following,
}

/// One changelog on its way into its store.
pub(super) struct Read {
    pub(super) store: StoreIndex,
    /// Whether others write it, and may always have a transaction open.
    is_table: bool,
    pub(super) at: TopicPartition,
    pub(super) phase: Phase,
    pub(super) from: Offset,
    pub(super) meter: Meter,
    /// Whether it goes with those that have a few records to read, which is said when it begins.
    pub(super) is_small: bool,
    /// The offset at which an open transaction is in the way, and since when.
    pub(super) blocked: Option<(Offset, Instant)>,
    /// Since when a changelog that is followed has had more than was read.
    pub(super) behind_since: Option<Instant>,
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
    pub(super) role: Role,
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
            role: order.role,
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

    /// Another order of the same task takes this one's place.
    pub(super) fn ordered(&mut self, order: Order, now: Instant) {
        (self.role, self.stop, self.changelogs, self.begun) = (order.role, order.stop, order.changelogs, now);
        (self.not_before, self.locked_since) = (None, None);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn is_restored(&self) -> bool {
        let restored = self.state.is_some() && self.reads.iter().all(|read| read.phase == Phase::Done);
        restored && self.role == Role::Active
    }

    /// Opens the state, if it is time to, and asks what its changelogs have.
    pub(super) fn open(&mut self, means: &Means, fetchers: &mut Fetchers, now: Instant) -> Result<(), FatalError> {
        if self.state.is_some() || self.not_before.is_some_and(|time| time > now) {
            return Ok(());
        }
        let own = means.topology.stores_of(self.id.sub_topology);
        let specs: Vec<StoreSpec> = own.map(|(_, store)| store.spec.clone()).collect();
        match means.directory.open_task(self.id, &specs, means.topology.state_id(), &means.options.stores) {
            Ok(state) => {
                self.locked_since = None;
                self.state = Some(state);
                for Changelog { store, is_table, at, .. } in &self.changelogs {
                    fetchers.begin(at);
                    let (store, is_table, at) = (*store, *is_table, at.clone());
                    let (from, phase, meter) = (Offset(0), Phase::Asked, Meter::new(now));
                    let (blocked, behind_since) = (None, None);
                    let is_small = true;
                    self.reads.push(Read { store, is_table, at, phase, from, meter, is_small, blocked, behind_since });
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
        let patient = *self.locked_since.get_or_insert(now) + LOCK_PATIENCE > now;
        // A standby of what is being closed here waits for as long as that takes.
        if patient || self.role == Role::Standby {
            return Ok(());
        }
        Err(FatalError::Environment(format!(
            "state.directory: task {}: {error}; give each instance a directory of its own",
            self.id
        )))
    }

    fn quarantine(&mut self, means: &Means, reason: &str) -> Result<(), FatalError> {
        self.quarantined += 1;
        quarantine(&means.options.telemetry, &means.directory, self.id, reason)
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
    pub(super) fn read(&mut self, number: usize, means: &Means, fetchers: &mut Fetchers) -> Result<(), Trouble> {
        let (Some(state), Some(read)) = (&mut self.state, self.reads.get_mut(number)) else { return Ok(()) };
        let remaining = read.meter.remaining();
        read.is_small = Parts::is_small(remaining);
        state.begin_restore(read.store, remaining, means.parts.batch_bytes(read.is_small))?;
        read.phase = Phase::Reading;
        fetchers.read(&read.at, read.from);
        Ok(())
    }

    /// Applies what has come of a changelog.
    pub(super) fn apply(&mut self, records: &mut Records<'_>) -> Result<(), Trouble> {
        let mut reads = self.reads.iter_mut();
        let is_read = |phase| matches!(phase, Phase::Reading | Phase::Following);
        let found = reads.find(|read| read.at == *records.at() && is_read(read.phase));
        let (Some(state), Some(read)) = (&mut self.state, found) else { return Ok(()) };
        if read.phase == Phase::Following {
            read.behind_since.get_or_insert_with(Instant::now);
        }
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
        fetchers: &mut Fetchers,
    ) -> Result<Option<String>, Trouble> {
        let found = self.reads.iter_mut().find(|read| read.at == *at && read.phase == Phase::Reading);
        let (Some(state), Some(read)) = (&mut self.state, found) else { return Ok(None) };
        // A standby goes on for ever in any case, and a table is read on as an input.
        if next < high && self.role == Role::Active && !read.is_table {
            // Of an owner that is dead, or not heard of yet: what it leaves is committed or aborted soon (rule R-22).
            // Where others come and go, as those of an owner that lives do, nothing is in the way.
            read.blocked = read.blocked.filter(|(at, _)| *at == next).or_else(|| Some((next, Instant::now())));
            return Ok(Some(open_transaction(at, next, high)));
        }
        read.blocked = None;
        let shrunk = read.meter.remaining_from(next) > 0;
        read.meter.reached(next);
        state.restored_to(read.store, next)?;
        state.end_restore(read.store)?;
        fetchers.stop(at);
        read.phase = if shrunk { Phase::Asked } else { Phase::Done };
        if shrunk {
            // It had more: a leader that does not know all yet, or has lost some. Which of the two, it is asked.
            fetchers.begin(at);
        }
        Ok(None)
    }

    /// Begins again, later if the trouble may pass by itself.
    pub(super) fn again(
        &mut self,
        trouble: Trouble,
        means: &Means,
        fetchers: &mut Fetchers,
        now: Instant,
    ) -> Result<(), FatalError> {
        let later = now + Backoff::RESTART.delay(self.failures, fastrand::f64());
        match trouble {
            Trouble::Fatal(error) => return Err(error),
            Trouble::Unfit => {
                self.close(fetchers);
                // A fresh state that does not fit: the changelog changes under us.
                self.not_before = (self.quarantined > 0).then_some(later);
                self.quarantine(means, "it does not fit its changelog")?;
            }
            Trouble::Store(error) => {
                let reason = error.to_string();
                let unusable = error.is_unusable();
                means.options.telemetry.task_failed(self.id, &TaskError::from(error));
                self.close(fetchers);
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
    pub(super) fn close(&mut self, fetchers: &mut Fetchers) {
        for read in &self.reads {
            if read.phase != Phase::Done {
                fetchers.stop(&read.at);
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
