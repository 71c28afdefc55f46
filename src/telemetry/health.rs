//! Health: whether the process moves (`/healthz`), may be given work (`/readyz`), and what keeps it from that.
//!
//! Liveness is a heartbeat of each stream thread, so that a hung loop is restarted; readiness is a list of reasons with
//! their start, so that "why not, and since when?" needs no log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::restore::RestoreProgress;
use crate::position::TaskId;

/// Something that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What: a dependency, a task, a thread, a step.
    pub what: String,
    /// Why, without payload.
    pub why: String,
    /// Since when; RFC 3339.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

/// State of a task, as `headrace_task_state` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Assigned, not yet opened.
    Created = 0,
    /// Its stores are being restored.
    Restoring = 1,
    /// It processes.
    Running = 2,
    /// A dependency is away, or a buffer is full.
    Paused = 3,
    /// It is being closed.
    Closing = 4,
    /// It has given up.
    Failed = 5,
    /// Another instance processes it; its stores are kept warm here (rule R-24).
    Standby = 6,
}

impl TaskState {
    /// As it is called in logs and on the status page.
    pub fn name(self) -> &'static str {
        match self {
            TaskState::Created => "created",
            TaskState::Restoring => "restoring",
            TaskState::Running => "running",
            TaskState::Paused => "paused",
            TaskState::Closing => "closing",
            TaskState::Failed => "failed",
            TaskState::Standby => "standby",
        }
    }
}

/// A task on the status page.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    /// Which.
    pub task: TaskId,
    /// Its state.
    pub state: TaskState,
    /// Since when.
    pub since: SystemTime,
    /// How far its restore has come, while it is being restored.
    pub restore: Option<RestoreProgress>,
}

/// A dependency on the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyView {
    /// Its name.
    pub name: String,
    /// Why it is away; `None` if it isn't.
    pub away: Option<String>,
    /// Since when it is so.
    pub since: SystemTime,
}

/// Shared state; clones are the same.
#[derive(Debug, Clone)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begun: Instant,
    stalled_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    started: bool,
    threads: BTreeMap<String, Thread>,
    blocks: BTreeMap<String, Reason>,
    tasks: BTreeMap<TaskId, TaskView>,
    dependencies: BTreeMap<String, DependencyView>,
}

#[derive(Debug, Clone)]
struct Thread {
    /// Milliseconds from `begun` to the last beat.
    last: Arc<AtomicU64>,
    /// Set when it ended without saying so.
    died: Option<SystemTime>,
}

/// A stream thread's sign of life. Dropped without [`stop`](Heartbeat::stop), as by a panic, it makes the process not
/// live.
#[derive(Debug)]
pub struct Heartbeat {
    health: Health,
    thread: String,
    last: Arc<AtomicU64>,
    stopped: bool,
}

impl Heartbeat {
    /// The thread has come round once more. Costs a clock reading and a store.
    pub fn beat(&self) {
        self.last.store(self.health.millis(Instant::now()), Ordering::Relaxed);
    }

    /// The thread ends as it should.
    pub fn stop(mut self) {
        self.stopped = true;
        self.health.lock().threads.remove(&self.thread);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if !self.stopped
            && let Some(thread) = self.health.lock().threads.get_mut(&self.thread)
        {
            thread.died = Some(SystemTime::now());
        }
    }
}

impl Health {
    /// Not ready until the first assignment. `stalled_after`: how old a heartbeat may be.
    pub fn new(stalled_after: Duration) -> Self {
        let health = Health(Arc::new(Shared { begun: Instant::now(), stalled_after, state: Mutex::default() }));
        health.block("assignment", "no partitions were assigned yet");
        health
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.0.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// Registers a thread that must come round.
    pub fn heartbeat(&self, thread: &str) -> Heartbeat {
        let last = Arc::new(AtomicU64::new(self.millis(Instant::now())));
        self.lock().threads.insert(thread.to_owned(), Thread { last: Arc::clone(&last), died: None });
        Heartbeat { health: self.clone(), thread: thread.to_owned(), last, stopped: false }
    }

    /// Something keeps the process from being ready. Said again it may change the why, not the since.
    pub fn block(&self, what: &str, why: impl Into<String>) {
        let why = why.into();
        let fresh = || Reason { what: what.to_owned(), why: String::new(), since: SystemTime::now() };
        self.lock().blocks.entry(what.to_owned()).or_insert_with(fresh).why = why;
    }

    /// It no longer does.
    pub fn unblock(&self, what: &str) {
        self.lock().blocks.remove(what);
    }

    /// The group has given this process its partitions, maybe none: it has started.
    pub fn assigned(&self) {
        let mut state = self.lock();
        state.started = true;
        state.blocks.remove("assignment");
    }

    /// A task has come to a state.
    pub fn task(&self, task: TaskId, state: TaskState) {
        self.view(task, state, None);
    }

    /// A task is being restored, and so far.
    pub fn restoring(&self, task: TaskId, progress: RestoreProgress) {
        self.view(task, TaskState::Restoring, Some(progress));
    }

    fn view(&self, task: TaskId, state: TaskState, restore: Option<RestoreProgress>) {
        let mut shared = self.lock();
        let fresh = TaskView { task, state, since: SystemTime::now(), restore };
        let view = shared.tasks.entry(task).or_insert_with(|| fresh.clone());
        let since = if view.state == state { view.since } else { fresh.since };
        *view = TaskView { since, ..fresh };
    }

    /// A task was closed or moved away.
    pub fn task_gone(&self, task: TaskId) {
        self.lock().tasks.remove(&task);
    }

    /// A dependency's state: `Some(why)` if it is away. Gives how long it was away, if it has come back.
    pub fn dependency(&self, name: &str, away: Option<String>) -> Option<Duration> {
        let now = SystemTime::now();
        let mut state = self.lock();
        let fresh = || DependencyView { name: name.to_owned(), away: None, since: now };
        let view = state.dependencies.entry(name.to_owned()).or_insert_with(fresh);
        let was_away = view.away.is_some();
        let back = (was_away && away.is_none()).then(|| now.duration_since(view.since).unwrap_or_default());
        if was_away != away.is_some() {
            view.since = now;
        }
        view.away = away;
        back
    }

    /// Whether startup is over.
    pub fn is_started(&self) -> bool {
        self.lock().started
    }

    /// What keeps the process from being live: a stalled or dead thread. Empty is good.
    pub fn not_live(&self) -> Vec<Reason> {
        self.not_live_at(Instant::now())
    }

    fn not_live_at(&self, now: Instant) -> Vec<Reason> {
        let state = self.lock();
        let now_millis = self.millis(now);
        let reason = |(name, thread): (&String, &Thread)| {
            let age = Duration::from_millis(now_millis.saturating_sub(thread.last.load(Ordering::Relaxed)));
            let (why, since) = match thread.died {
                Some(since) => ("ended unexpectedly".to_owned(), since),
                None if age > self.0.stalled_after => {
                    let seconds = age.as_secs_f64();
                    let since = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
                    (format!("has not come round for {seconds:.1} s"), since)
                }
                None => return None,
            };
            Some(Reason { what: format!("thread {name}"), why, since })
        };
        state.threads.iter().filter_map(reason).collect()
    }

    /// What keeps the process from being ready. Empty is good.
    pub fn not_ready(&self) -> Vec<Reason> {
        let state = self.lock();
        let mut reasons: Vec<Reason> = state.blocks.values().cloned().collect();
        let away = |view: &DependencyView| {
            let why = view.away.clone()?;
            Some(Reason { what: view.name.clone(), why, since: view.since })
        };
        reasons.extend(state.dependencies.values().filter_map(away));
        let waiting = |view: &TaskView| {
            let why = match view.state {
                TaskState::Created => "is not opened yet".to_owned(),
                TaskState::Restoring => format!("is being restored: {}", view.restore.unwrap_or_default().text()),
                TaskState::Failed => "has given up".to_owned(),
                // A paused task waits for a dependency, which has a reason of its own.
                TaskState::Running | TaskState::Paused | TaskState::Closing | TaskState::Standby => return None,
            };
            Some(Reason { what: format!("task {}", view.task), why, since: view.since })
        };
        reasons.extend(state.tasks.values().filter_map(waiting));
        reasons
    }

    /// Every task.
    pub fn tasks(&self) -> Vec<TaskView> {
        self.lock().tasks.values().cloned().collect()
    }

    /// Every dependency that was heard of.
    pub fn dependencies(&self) -> Vec<DependencyView> {
        self.lock().dependencies.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Partition;

    const TASK: TaskId = TaskId { sub_topology: 0, partition: Partition(3) };

    fn whats(reasons: &[Reason]) -> Vec<&str> {
        reasons.iter().map(|reason| reason.what.as_str()).collect()
    }

    #[test]
    fn ready_needs_assignment_restored_tasks_and_every_dependency() {
        let health = Health::new(Duration::from_secs(1));
        assert!(!health.is_started());
        health.dependency("redis", Some("connection refused".into()));
        health.restoring(TASK, RestoreProgress { done: 83, total: 100, ..RestoreProgress::default() });
        assert_eq!(whats(&health.not_ready()), ["assignment", "redis", "task 0_3"]);
        assert!(health.not_ready()[2].why.contains("83 %"));
        health.assigned();
        health.dependency("redis", None);
        assert_eq!(whats(&health.not_ready()), ["task 0_3"]);
        health.task(TASK, TaskState::Running);
        assert!(health.not_ready().is_empty() && health.is_started());
    }

    #[test]
    fn a_reason_keeps_its_start_while_its_why_changes() {
        let health = Health::new(Duration::from_secs(1));
        health.dependency("redis", Some("refused".into()));
        let first = health.dependencies()[0].since;
        health.dependency("redis", Some("timed out".into()));
        assert_eq!(health.dependencies()[0].since, first);
        assert_eq!(health.not_ready()[1].why, "timed out");
        assert!(health.dependency("redis", None).is_some());
        assert!(health.dependency("redis", None).is_none());
    }

    #[test]
    fn a_stalled_thread_is_not_live_and_a_stopped_one_is_forgotten() {
        let health = Health::new(Duration::from_secs(10));
        let beat = health.heartbeat("stream-1");
        beat.beat();
        assert!(health.not_live().is_empty());
        let later = Instant::now() + Duration::from_secs(11);
        let reasons = health.not_live_at(later);
        assert_eq!(whats(&reasons), ["thread stream-1"]);
        assert!(reasons[0].why.contains("has not come round"));
        beat.stop();
        assert!(health.not_live_at(later).is_empty());
    }

    #[test]
    fn a_thread_that_panics_is_not_live() {
        let health = Health::new(Duration::from_secs(10));
        let beat = health.heartbeat("stream-1");
        let joined = std::thread::spawn(move || {
            beat.beat();
            panic!("expected by the test");
        })
        .join();
        assert!(joined.is_err());
        assert_eq!(health.not_live()[0].why, "ended unexpectedly");
    }
}
