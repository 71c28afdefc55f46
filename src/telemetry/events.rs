//! Events: one function for each, which logs it, counts it and keeps the health up to date.
//!
//! Fields are named as in the metrics' labels. Events that can flood are throttled in the log and exact in the metrics.
//! No event holds a payload (rule O5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, error, info, warn};

use super::health::{Health, TaskState};
use super::metrics::Metrics;
use super::throttle::Throttle;
use crate::error::{Dependency, FatalError, RecordError, TaskError};
use crate::position::{Offset, Position, TaskId, TopicPartition};
use crate::record::Timestamp;

/// One line about the same thing in so many seconds.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Why a transaction was aborted; a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortReason {
    /// Another producer or generation has taken over.
    Fenced,
    /// The partitions were lost before the commit.
    Lost,
    /// The broker or the client says that it must be.
    Broker,
    /// A record error with the disposition "fail", or a processor's own.
    Processing,
    /// An external sink refused.
    External,
    /// Its deadline has passed.
    Deadline,
    /// A state store failed.
    Store,
    /// The process stops.
    Shutdown,
}

impl AbortReason {
    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            AbortReason::Fenced => "fenced",
            AbortReason::Lost => "lost",
            AbortReason::Broker => "broker",
            AbortReason::Processing => "processing",
            AbortReason::External => "external",
            AbortReason::Deadline => "deadline",
            AbortReason::Store => "store",
            AbortReason::Shutdown => "shutdown",
        }
    }
}

/// Why a producer was replaced; a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecycleReason {
    /// The client says that it can't go on.
    Fatal,
    /// Fenced.
    Fenced,
    /// A commit whose outcome is in doubt (rules R-11 and N-7).
    Suspicious,
    /// A call that didn't return (rule R-12).
    Watchdog,
}

impl RecycleReason {
    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            RecycleReason::Fatal => "fatal",
            RecycleReason::Fenced => "fenced",
            RecycleReason::Suspicious => "suspicious",
            RecycleReason::Watchdog => "watchdog",
        }
    }
}

/// Metrics, health and log of a process; clones are the same.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// The metrics, for handles of the hot path.
    pub metrics: Arc<Metrics>,
    /// The health, for heartbeats.
    pub health: Health,
    throttle: Arc<Throttle>,
}

impl Telemetry {
    /// Puts them together.
    pub fn new(metrics: Metrics, health: Health) -> Self {
        Telemetry { metrics: Arc::new(metrics), health, throttle: Arc::new(Throttle::new(LOG_INTERVAL)) }
    }

    /// `Some(lines held back)` if this line may be written.
    pub(super) fn admit(&self, event: &'static str, key: &str) -> Option<u64> {
        let admitted = self.throttle.admit(&format!("{event} {key}"), Instant::now());
        if admitted.is_none() {
            self.metrics.log_suppressed.with([event]).inc();
        }
        admitted
    }

    /// The process starts.
    pub fn starting(&self, topology: &str, version: &str, application_id: &str, instance_id: &str) {
        self.metrics.build_info.with([topology, version]).set(1);
        info!(event = "starting", topology, version, application_id, instance_id, "starting");
    }

    /// The process will need this dependency: it isn't ready before the first answer. Without a log line.
    pub fn dependency_expected(&self, dependency: &Dependency) {
        let name = dependency.to_string();
        self.metrics.dependency_up.with([&name]).set(0);
        self.health.dependency(&name, Some("has not answered yet".to_owned()));
    }

    /// A dependency answers, for the first time maybe. Call it at each success: it logs only a change.
    pub fn dependency_back(&self, dependency: &Dependency) {
        let name = dependency.to_string();
        self.metrics.dependency_up.with([&name]).set(1);
        self.metrics.dependency_away.with([&name]).stop();
        if let Some(away) = self.health.dependency(&name, None) {
            info!(event = "dependency-back", dependency = name, away_seconds = away.as_secs_f64(), "{name} is back");
        }
    }

    /// A dependency doesn't answer. Call it at each failure: `since` is the first.
    pub fn dependency_away(&self, dependency: &Dependency, reason: &str) {
        let name = dependency.to_string();
        self.metrics.dependency_up.with([&name]).set(0);
        self.metrics.dependency_away.with([&name]).start();
        self.health.dependency(&name, Some(reason.to_owned()));
        if let Some(held_back) = self.admit("dependency-away", &name) {
            warn!(event = "dependency-away", dependency = name, reason, held_back, "{name} is away: {reason}");
        }
    }

    /// A record was set aside.
    pub fn dead_letter(&self, position: &Position, task: TaskId, error: &RecordError) {
        let (stage, class) = (error.stage.name(), error.class);
        self.metrics.dead_letters.with([stage, class]).inc();
        if let Some(held_back) = self.admit("dead-letter", &format!("{} {stage} {class}", position.topic)) {
            let (topic, partition, offset) = (&*position.topic, position.partition.0, position.offset.0);
            let reason = &error.reason;
            warn!(
                event = "dead-letter", task = %task, topic, partition, offset, stage, class, reason, held_back,
                "set {position} aside: {reason}"
            );
        }
    }

    /// A punctuator's tick failed; a dead letter says so.
    pub fn tick_set_aside(&self, task: TaskId, punctuator: &str, at: Timestamp, error: &RecordError) {
        let (stage, class) = (error.stage.name(), error.class);
        self.metrics.dead_letters.with([stage, class]).inc();
        if let Some(held_back) = self.admit("tick-set-aside", &format!("{punctuator} {stage} {class}")) {
            let (tick, reason) = (at.0, &error.reason);
            warn!(
                event = "tick-set-aside", %task, punctuator, tick, stage, class, reason, held_back,
                "tick {tick} of punctuator {punctuator} failed in task {task}: {reason}"
            );
        }
    }

    /// A request to an external sink is sent again.
    pub fn external_retried(&self, sink: &str, attempt: u32, reason: &str) {
        self.metrics.external_retries.with([sink]).inc();
        if let Some(held_back) = self.admit("external-retried", sink) {
            info!(event = "external-retried", sink, attempt, reason, held_back, "ask {sink} again: {reason}");
        }
    }

    /// A transaction was aborted; its input is read again.
    pub fn transaction_aborted(&self, thread: &str, reason: AbortReason, detail: &str) {
        self.metrics.aborts.with([reason.name()]).inc();
        self.metrics.transaction_open.with([thread]).stop();
        if let Some(held_back) = self.admit("transaction-aborted", reason.name()) {
            let reason = reason.name();
            warn!(
                event = "transaction-aborted",
                thread, reason, detail, held_back, "aborted the transaction: {detail}"
            );
        }
    }

    /// A producer was replaced.
    pub fn producer_recycled(&self, thread: &str, reason: RecycleReason, detail: &str) {
        let reason = reason.name();
        self.metrics.producer_recycles.with([reason]).inc();
        if let Some(held_back) = self.admit("producer-recycled", reason) {
            warn!(event = "producer-recycled", thread, reason, detail, held_back, "took a new producer: {detail}");
        }
    }

    /// Another producer or generation has taken over.
    pub fn fenced(&self, thread: &str, detail: &str) {
        self.metrics.fenced.with([]).inc();
        if let Some(held_back) = self.admit("fenced", thread) {
            warn!(event = "fenced", thread, detail, held_back, "fenced: {detail}");
        }
    }

    /// A rebalance ended while a commit was on its way; its positions were sent again in the new generation (rule N-4).
    pub fn commit_renewed(&self, thread: &str, refused: i32, generation: i32) {
        self.metrics.commit_renewals.with([]).inc();
        debug!(event = "commit-renewed", thread, refused, generation, "commit again in generation {generation}");
    }

    /// A position was not in the log any more (retention, DeleteRecords), or beyond its end; the partition goes on elsewhere.
    pub fn out_of_range(&self, at: &TopicPartition, position: Offset, resumed: Offset) {
        self.metrics.out_of_range.with([]).inc();
        let (topic, partition) = (&at.topic, at.partition.0);
        error!(
            event = "out-of-range",
            %topic,
            partition,
            position = position.0,
            resumed = resumed.0,
            "{at}: offset {position} is not in the log; what was there is lost to this application, which goes on at {resumed}"
        );
    }

    /// A call of the Kafka client didn't return; the process is about to exit with 70 (rule R-12).
    pub fn watchdog_fired(&self, call: &str, after: Duration) {
        self.metrics.watchdog_fired.with([]).inc();
        let after_seconds = after.as_secs_f64();
        error!(event = "watchdog-fired", call, after_seconds, "{call} has not returned for {after_seconds:.1} s");
    }

    /// A task is here.
    pub fn task_created(&self, task: TaskId) {
        self.task_state(task, TaskState::Created);
        info!(event = "task-created", %task, "created task {task}");
    }

    /// A task has come to another state, which its other events don't say.
    pub fn task_state(&self, task: TaskId, state: TaskState) {
        self.metrics.task_state.with([&task.to_string()]).set(state as i64);
        self.health.task(task, state);
        debug!(event = "task-state", %task, state = state.name(), "task {task} is {}", state.name());
    }

    /// A task's input rests for a reason of its own, or goes on (`None`).
    pub fn task_rests(&self, task: TaskId, reason: Option<&str>) {
        let what = format!("task-{task}");
        match reason {
            Some(reason) => {
                self.task_state(task, TaskState::Paused);
                self.health.block(&what, reason);
                warn!(event = "task-rests", %task, reason, "the input of task {task} rests: {reason}");
            }
            None => {
                self.task_state(task, TaskState::Running);
                self.health.unblock(&what);
                info!(event = "task-goes-on", %task, "the input of task {task} goes on");
            }
        }
    }

    /// A subscribed topic does not exist; it is joined once it does.
    pub fn topic_missing(&self, reason: &str) {
        if let Some(held_back) = self.admit("topic-missing", reason) {
            warn!(event = "topic-missing", reason, held_back, "{reason}");
        }
    }

    /// The consumer was not polled for too long and has left the group; it joins again.
    pub fn poll_overdue(&self, thread: &str) {
        warn!(event = "poll-overdue", thread, "the consumer was not polled for too long and has left the group");
    }

    /// The group rests, and nobody in it owns these partitions: this thread joins it again.
    pub fn unowned(&self, thread: &str, partitions: &[TopicPartition]) {
        let partitions = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        warn!(event = "unowned", thread, partitions, "nobody owns {partitions}: joining the group again");
    }

    /// A task has given up and will be opened again, or moves.
    pub fn task_failed(&self, task: TaskId, error: &TaskError) {
        self.task_state(task, TaskState::Failed);
        if let Some(held_back) = self.admit("task-failed", &task.to_string()) {
            let cause = std::error::Error::source(error).map(|source| source.to_string());
            error!(event = "task-failed", %task, %error, cause, held_back, "task {task} failed: {error}");
        }
    }

    /// A task is gone. `clean`: its position and its stores are committed.
    pub fn task_closed(&self, task: TaskId, stores: &[&str], clean: bool) {
        self.metrics.task_state.remove([&task.to_string()]);
        self.forget_restore(task, stores);
        self.health.task_gone(task);
        info!(event = "task-closed", %task, clean, "closed task {task}");
    }

    /// A rebalance is over for this process, which now owns `owned` partitions.
    pub fn rebalanced(
        &self,
        assigned: usize,
        revoked: usize,
        lost: usize,
        owned: usize,
        revoke: Duration,
        assign: Duration,
    ) {
        self.metrics.rebalances.with([]).inc();
        self.metrics.rebalance.with(["revoke"]).observe(revoke.as_secs_f64());
        self.metrics.rebalance.with(["assign"]).observe(assign.as_secs_f64());
        self.metrics.assigned_partitions.with([]).set(i64::try_from(owned).unwrap_or(i64::MAX));
        self.health.assigned();
        let seconds = (revoke + assign).as_secs_f64();
        info!(event = "rebalanced", assigned, revoked, lost, owned, seconds, "rebalanced: {owned} partitions");
    }

    /// Store files were found unusable and put into quarantine (rule R-19).
    pub fn store_quarantined(&self, task: TaskId, reason: &str) {
        warn!(event = "store-quarantined", %task, reason, "put the stores of task {task} into quarantine: {reason}");
    }

    /// The process was asked to stop.
    pub fn shutdown_requested(&self, by: &str, deadline: Duration) {
        self.health.block("shutdown", format!("asked to stop by {by}"));
        let deadline_seconds = deadline.as_secs_f64();
        info!(event = "shutdown-requested", by, deadline_seconds, "stopping, asked by {by}");
    }

    /// Everything is committed and closed.
    pub fn shutdown_done(&self, after: Duration) {
        info!(event = "shutdown-done", seconds = after.as_secs_f64(), "stopped");
    }

    /// The deadline has passed: what is left is dropped, which is safe, and replayed by the next owner.
    pub fn shutdown_overdue(&self, waiting_for: &str, after: Duration) {
        let seconds = after.as_secs_f64();
        warn!(event = "shutdown-overdue", waiting_for, seconds, "gave up waiting for {waiting_for}, and exit");
    }

    /// Nothing can go on.
    pub fn fatal(&self, error: &FatalError) {
        self.health.block("fatal", error.to_string());
        error!(event = "fatal", %error, exit_code = error.exit_code(), "{error}");
    }

    /// What `/metrics` answers.
    pub(super) fn exposition(&self) -> Result<String, FatalError> {
        self.metrics.ready.with([]).set(i64::from(self.health.not_ready().is_empty()));
        self.metrics.live.with([]).set(i64::from(self.health.not_live().is_empty()));
        self.metrics.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stage;
    use crate::position::{Offset, Partition};
    use crate::telemetry::RestoreProgress;

    const TASK: TaskId = TaskId { sub_topology: 0, partition: Partition(3) };

    fn telemetry() -> Telemetry {
        Telemetry::new(Metrics::new(true).unwrap(), Health::new(Duration::from_secs(30)))
    }

    #[test]
    fn a_dependency_that_goes_and_comes_is_seen_everywhere() {
        let telemetry = telemetry();
        let redis = Dependency::External("redis".into());
        telemetry.dependency_away(&redis, "connection refused");
        telemetry.dependency_away(&redis, "timed out");
        let text = telemetry.exposition().unwrap();
        assert!(text.contains("headrace_dependency_up{dependency=\"redis\"} 0"), "{text}");
        assert!(text.contains("headrace_ready 0"));
        assert!(text.contains("headrace_log_suppressed_total{event=\"dependency-away\"} 1"), "{text}");
        assert!(telemetry.health.not_ready().iter().any(|reason| reason.why == "timed out"));
        telemetry.dependency_back(&redis);
        let text = telemetry.exposition().unwrap();
        assert!(text.contains("headrace_dependency_up{dependency=\"redis\"} 1"));
        assert!(text.contains("headrace_dependency_away_seconds{dependency=\"redis\"} 0"));
        assert!(!telemetry.health.not_ready().iter().any(|reason| reason.what == "redis"));
    }

    #[test]
    fn an_expected_dependency_keeps_the_process_from_being_ready_until_it_answers() {
        let telemetry = telemetry();
        telemetry.health.assigned();
        telemetry.dependency_expected(&Dependency::SchemaRegistry);
        assert_eq!(telemetry.health.not_ready()[0].what, "schema-registry");
        telemetry.dependency_back(&Dependency::SchemaRegistry);
        assert!(telemetry.health.not_ready().is_empty());
    }

    #[test]
    fn a_flood_of_dead_letters_is_counted_exactly() {
        let telemetry = telemetry();
        let error = RecordError::new(Stage::Deserialize, "bad-magic", "magic byte is 7");
        for offset in 0..10_000 {
            let position = Position { topic: "t".into(), partition: Partition(0), offset: Offset(offset) };
            telemetry.dead_letter(&position, TASK, &error);
        }
        assert_eq!(telemetry.metrics.dead_letters.with(["deserialize", "bad-magic"]).get(), 10_000);
        assert_eq!(telemetry.metrics.log_suppressed.with(["dead-letter"]).get(), 9_999);
    }

    #[test]
    fn a_tasks_life_leaves_no_series_behind() {
        let telemetry = telemetry();
        telemetry.task_created(TASK);
        let progress =
            RestoreProgress { done: 100, total: 150, offsets_per_second: 25.0, ..RestoreProgress::default() };
        telemetry.restore_progress(TASK, "counts", (100, 2_000), progress);
        telemetry.task_restoring(TASK, progress);
        let text = telemetry.exposition().unwrap();
        for figure in ["remaining_records", "eta_seconds"].into_iter().zip([50, 2]) {
            let line = format!("headrace_restore_{}{{store=\"counts\",task=\"0_3\"}} {}\n", figure.0, figure.1);
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(text.contains("headrace_restore_bytes_total 2000\n"), "{text}");
        assert_eq!(telemetry.health.tasks()[0].restore, Some(progress));
        assert!(!telemetry.health.not_ready().is_empty());
        telemetry.task_restored(TASK, &["counts"], 150, Duration::from_secs(1));
        telemetry.rebalanced(1, 0, 0, 1, Duration::ZERO, Duration::from_millis(5));
        assert!(telemetry.health.not_ready().is_empty());
        assert!(telemetry.exposition().unwrap().contains("headrace_task_state{task=\"0_3\"} 2"));
        telemetry.task_closed(TASK, &["counts"], true);
        assert!(!telemetry.exposition().unwrap().contains("task=\"0_3\""));
        assert!(telemetry.health.tasks().is_empty());
    }

    #[test]
    fn an_abort_ends_the_open_transactions_age() {
        let telemetry = telemetry();
        telemetry.metrics.thread("t-0").transaction_open.start();
        telemetry.transaction_aborted("t-0", AbortReason::Lost, "partitions were lost");
        let text = telemetry.exposition().unwrap();
        assert!(text.contains("headrace_transaction_open_seconds{thread=\"t-0\"} 0\n"), "{text}");
        assert!(text.contains("headrace_aborts_total{reason=\"lost\"} 1"));
    }

    #[test]
    fn a_process_that_stops_is_not_ready_but_live() {
        let telemetry = telemetry();
        telemetry.health.assigned();
        telemetry.shutdown_requested("SIGTERM", Duration::from_secs(25));
        assert_eq!(telemetry.health.not_ready()[0].what, "shutdown");
        assert!(telemetry.health.not_live().is_empty());
    }
}
