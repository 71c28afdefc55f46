//! Restores: tasks are opened and brought up to their changelogs on a thread beside the stream thread (rule R-15).
//!
//! ```text
//!  stream thread                                     restore thread, one for each stream thread
//!
//!  assigned, paused ─▶ unopened ─▶ begin(task) ────▶ open the state ─▶ what has the changelog? ─▶ read, apply, to its end
//!  polls, processes and commits                         │ locked: again       │ does not fit: set aside, again (R-19)
//!  its other tasks meanwhile                            ▼                     ▼
//!  take_restored ◀───────────────────────────────── the state, moved back;  a broker or a disk that fails: again, later
//!    └─▶ Task, resumed
//!  revoked, lost, stopped ─▶ stop(task) ────────────▶ what was collected is written, the state closed
//! ```
//!
//! Nothing is wiped that is usable (rule R-18): the local state says up to where it holds the changelog, and only the rest is
//! read, so that an interrupted restore goes on from where it was. A state belongs to one thread at a time; it is moved, and
//! nothing is locked.
//!
//! After an abort the tasks that are open lack, at most, the transactions of which this thread did not hear the outcome: two,
//! of `processing.max-staged` bytes each. They are read on the stream thread itself ([`reconcile`]): its input has to rest
//! until they are there in any case.

mod fetchers;
mod following;
mod job;
mod meter;
mod opening;
mod parts;
mod reconcile;
mod takeover;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};

use crate::error::FatalError;
use crate::position::{Offset, TaskId, TopicPartition};
use crate::store::{StateDirectory, TaskState};
use crate::topology::Topology;

use super::options::Options;
use super::queries::Queries;
use super::standby::Standbys;
use super::tasks::Changelog;
use fetchers::Fetchers;
use worker::Worker;

pub(super) use reconcile::CaughtUp;

/// What a task is restored for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// To be processed here.
    Active,
    /// To be at hand (rule R-24).
    Standby,
}

/// A task to be opened and restored.
pub(super) struct Order {
    pub(super) id: TaskId,
    pub(super) changelogs: Vec<Changelog>,
    /// Set when it is not wanted any more.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) role: Role,
}

/// What the restore thread is told.
pub(super) enum Command {
    Restore(Order),
    End,
}

/// What became of an order of a stream thread; each has one.
struct Report {
    id: TaskId,
    outcome: Outcome,
}

enum Outcome {
    /// It holds all that was committed.
    Restored(Box<Restored>),
    /// It was stopped; the state is closed, and keeps what was read.
    Stopped,
    /// A human has to change something.
    Failed(FatalError),
}

struct Restored {
    state: TaskState,
    changelogs: Vec<Changelog>,
    /// Changelog records that were applied.
    records: u64,
    took: Duration,
}

/// The stream thread's end.
pub(super) struct Restorer {
    /// Bounded by the number of tasks, as the reports are: each has one order of either role at most.
    commands: Sender<Command>,
    reports: Receiver<Report>,
    /// Orders without a report.
    busy: BTreeMap<TaskId, Arc<AtomicBool>>,
    thread: Option<JoinHandle<()>>,
    /// Does the thread's work within the stream thread's turns, where the loop is simulated: two threads would not do the same
    /// in the same order twice.
    in_step: Option<Worker>,
    /// Inputs that were made anew while their task was not open: where they begin.
    pub(super) begun_anew: Vec<(TopicPartition, Offset)>,
    /// Whose copies this process holds, and the number by which they know this thread.
    standbys: Standbys,
    index: usize,
}

impl Restorer {
    /// Starts the thread.
    pub(super) fn start(
        topology: &Topology,
        options: &Options,
        directory: &Arc<StateDirectory>,
        thread_index: usize,
    ) -> Result<Self, FatalError> {
        let (commands, taken) = unbounded();
        let (told, reports) = unbounded();
        let bytes = options.restore_bytes / options.stream_threads.max(1);
        let fetchers = Fetchers::start(options, thread_index, bytes / 2)?;
        let standbys = options.queries.as_ref().map(Queries::standbys).unwrap_or_default();
        standbys.register(thread_index, commands.clone());
        let worker =
            Worker::new(topology.clone(), options.clone(), Arc::clone(directory), fetchers, bytes / 2, (taken, told));
        let (busy, begun_anew, index) = (BTreeMap::new(), Vec::new(), thread_index);
        let mut restorer =
            Restorer { commands, reports, busy, thread: None, in_step: None, begun_anew, standbys, index };
        if options.simulated.is_some() {
            restorer.in_step = Some(worker);
            return Ok(restorer);
        }
        let started = std::thread::Builder::new().name(format!("restore-{thread_index}")).spawn(move || worker.run());
        let thread =
            started.map_err(|error| FatalError::Other { context: "starting a thread".into(), source: error.into() })?;
        restorer.thread = Some(thread);
        Ok(restorer)
    }

    /// Whether an order of this task has no report yet.
    fn is_busy_with(&self, id: TaskId) -> bool {
        self.busy.contains_key(&id)
    }

    fn begin(&mut self, id: TaskId, changelogs: Vec<Changelog>) {
        let stop = Arc::new(AtomicBool::new(false));
        self.busy.insert(id, Arc::clone(&stop));
        self.standbys.assigned(id, self.index);
        // If the thread is gone, the look for its reports says so.
        _ = self.commands.send(Command::Restore(Order { id, changelogs, stop, role: Role::Active }));
    }

    /// The task has gone, and others may have it: from now on there may be a copy of it here.
    pub(super) fn released(&self, id: TaskId) {
        self.standbys.released(id);
    }

    /// The task is not wanted any more. Does not wait for the state to be closed; its report says so.
    pub(super) fn stop(&self, id: TaskId) {
        if let Some(stop) = self.busy.get(&id) {
            stop.store(true, Ordering::Release);
        }
    }

    pub(super) fn stop_all(&self) {
        self.busy.values().for_each(|stop| stop.store(true, Ordering::Release));
    }

    /// A report and whether its task was still wanted.
    fn next(&mut self) -> Result<Option<(Report, bool)>, FatalError> {
        if let Some(worker) = &mut self.in_step {
            worker.step();
        }
        match self.reports.try_recv() {
            Ok(report) => {
                let stop = self.busy.remove(&report.id);
                let wanted = stop.is_some_and(|stop| !stop.load(Ordering::Acquire));
                Ok(Some((report, wanted)))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                let source = "the restore thread has ended; this is a defect in Headrace".into();
                Err(FatalError::Other { context: "restoring".into(), source })
            }
        }
    }
}

impl Drop for Restorer {
    /// Waits until all states are closed. Their bound is that of whoever drops it.
    fn drop(&mut self) {
        self.stop_all();
        _ = self.commands.send(Command::End);
        if let Some(worker) = &mut self.in_step {
            worker.close();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(target: "headrace::runtime", "the restore thread panicked");
        }
    }
}
