//! How far restores have come: metrics each second, a log line once in a while, the status page, a bar on a terminal.

use std::io::{IsTerminal, Write};
use std::ops::Add;
use std::time::Duration;

use tracing::{info, warn};

use super::events::Telemetry;
use super::health::TaskState;
use crate::position::{TaskId, TopicPartition};

/// Cells of the bar.
const CELLS: usize = 20;
/// Times that are longer are of no use to anybody.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How far a restore has come, of one store or of several together (rule R-23).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RestoreProgress {
    /// Changelog offsets from its start that are there.
    pub done: u64,
    /// All of them.
    pub total: u64,
    /// Of late; each record has an offset, and compaction leaves gaps.
    pub offsets_per_second: f64,
    /// Records applied, of late.
    pub records_per_second: f64,
    /// Keys and values of them.
    pub bytes_per_second: f64,
}

impl RestoreProgress {
    /// Offsets to go: an upper bound of the records.
    pub fn remaining(&self) -> u64 {
        self.total.saturating_sub(self.done)
    }

    /// (offset − start) / (end − start); 1 of an empty changelog.
    pub fn ratio(&self) -> f64 {
        if self.total == 0 { 1.0 } else { self.done as f64 / self.total as f64 }
    }

    /// The time left at the present rate; none while nothing moves.
    pub fn eta(&self) -> Option<Duration> {
        let seconds = self.remaining() as f64 / self.offsets_per_second;
        Duration::try_from_secs_f64(seconds).ok().filter(|eta| *eta <= LONGEST)
    }

    /// For people: percent, rate, time left.
    pub(super) fn text(&self) -> String {
        let left = self.eta().map_or("?".to_owned(), |eta| {
            humantime::format_duration(Duration::from_secs(eta.as_secs_f64().ceil() as u64)).to_string()
        });
        let (percent, rate) = (self.ratio() * 100.0, self.records_per_second / 1000.0);
        let bytes = self.bytes_per_second / f64::from(1 << 20);
        format!("{percent:.0} %, {rate:.0} k records/s, {bytes:.0} MiB/s, {left} left")
    }

    fn bar(&self, tasks: usize) -> String {
        let filled = ((self.ratio() * CELLS as f64) as usize).min(CELLS);
        let noun = if tasks == 1 { "task" } else { "tasks" };
        format!("restoring {tasks} {noun} [{}{}] {}", "=".repeat(filled), " ".repeat(CELLS - filled), self.text())
    }
}

impl Add for RestoreProgress {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        RestoreProgress {
            done: self.done + other.done,
            total: self.total + other.total,
            offsets_per_second: self.offsets_per_second + other.offsets_per_second,
            records_per_second: self.records_per_second + other.records_per_second,
            bytes_per_second: self.bytes_per_second + other.bytes_per_second,
        }
    }
}

impl Telemetry {
    /// A store is being restored: records and bytes since the last call, and how far it is.
    pub fn restore_progress(&self, task: TaskId, store: &str, restored: (u64, u64), progress: RestoreProgress) {
        let name = task.to_string();
        let labels = [name.as_str(), store];
        let whole = |rate: f64| rate.round() as i64;
        self.metrics.restore_records.with([]).inc_by(restored.0);
        self.metrics.restore_bytes.with([]).inc_by(restored.1);
        self.metrics.restore_remaining.with(labels).set(i64::try_from(progress.remaining()).unwrap_or(i64::MAX));
        self.metrics.restore_progress.with(labels).set(progress.ratio());
        self.metrics.restore_rate_records.with(labels).set(whole(progress.records_per_second));
        self.metrics.restore_rate_bytes.with(labels).set(whole(progress.bytes_per_second));
        match progress.eta() {
            Some(eta) => self.metrics.restore_eta.with(labels).set(eta.as_secs_f64()),
            // No figure is better than a wrong one.
            None => self.metrics.restore_eta.remove(labels),
        }
        if progress.remaining() > 0
            && let Some(held_back) = self.admit("restore-progress", &format!("{name} {store}"))
        {
            let (remaining, ratio) = (progress.remaining(), progress.ratio());
            let records_per_second = progress.records_per_second.round();
            let eta_seconds = progress.eta().map(|eta| eta.as_secs_f64().ceil());
            info!(
                event = "restore-progress", %task, store, remaining, ratio, records_per_second, eta_seconds, held_back,
                "restoring {store} of task {task}: {}", progress.text()
            );
        }
    }

    /// A task is being restored, all of its stores together; it keeps the process from being ready (rule R-30).
    pub fn task_restoring(&self, task: TaskId, progress: RestoreProgress) {
        self.metrics.task_state.with([&task.to_string()]).set(TaskState::Restoring as i64);
        self.health.restoring(task, progress);
    }

    /// A restore is at the end of what it may read, behind which a transaction is open.
    pub fn restore_waits(&self, task: TaskId, reason: &str) {
        if let Some(held_back) = self.admit("restore-waits", &task.to_string()) {
            warn!(event = "restore-waits", %task, reason, held_back, "the restore of task {task} waits: {reason}");
        }
    }

    /// A transaction that a dead owner had left open in a changelog was ended by taking its id over (rule R-31).
    pub fn taken_over(&self, changelog: &TopicPartition, transactional_id: &str) {
        self.metrics.takeovers.with([]).inc();
        info!(
            event = "taken-over", %changelog, transactional_id,
            "aborted what {transactional_id} had left open in {changelog}, without waiting for its time-out"
        );
    }

    /// A restore was given up with its task: nothing is left of it.
    pub fn restore_stopped(&self, task: TaskId, stores: &[&str]) {
        self.forget_restore(task, stores);
        self.metrics.task_state.remove([&task.to_string()]);
        self.health.task_gone(task);
        self.show_restores();
    }

    /// All stores of a task are restored: it runs.
    pub fn task_restored(&self, task: TaskId, stores: &[&str], records: u64, after: Duration) {
        self.forget_restore(task, stores);
        self.metrics.rebalance.with(["restore"]).observe(after.as_secs_f64());
        self.task_state(task, TaskState::Running);
        let seconds = after.as_secs_f64();
        info!(event = "task-restored", %task, records, seconds, "restored task {task}: {records} records");
        self.show_restores();
    }

    /// A standby has followed a store's changelog by so many records and bytes, and has been behind its end for so long.
    pub fn standby_progress(&self, task: TaskId, store: &str, followed: (u64, u64), behind: Duration) {
        let name = task.to_string();
        self.metrics.standby_records.with([]).inc_by(followed.0);
        self.metrics.standby_behind.with([name.as_str(), store]).set(behind.as_secs_f64());
        self.task_state(task, TaskState::Standby);
    }

    /// A standby is not held any more.
    pub fn standby_ended(&self, task: TaskId, stores: &[&str]) {
        let name = task.to_string();
        stores.iter().for_each(|store| self.metrics.standby_behind.remove([name.as_str(), store]));
        self.metrics.task_state.remove([&name]);
        self.health.task_gone(task);
    }

    pub(super) fn forget_restore(&self, task: TaskId, stores: &[&str]) {
        let name = task.to_string();
        for store in stores {
            let labels = [name.as_str(), store];
            self.metrics.restore_remaining.remove(labels);
            self.metrics.restore_progress.remove(labels);
            self.metrics.restore_eta.remove(labels);
            self.metrics.restore_rate_records.remove(labels);
            self.metrics.restore_rate_bytes.remove(labels);
            self.metrics.standby_behind.remove(labels);
        }
    }

    /// Draws a bar of all restores of the process, where somebody looks at it: a line on a terminal that is written anew each
    /// time. The cursor stays at its beginning, so that a log line writes over it.
    pub fn show_restores(&self) {
        let mut terminal = std::io::stderr();
        if !terminal.is_terminal() {
            return;
        }
        let restores: Vec<RestoreProgress> = self.health.tasks().iter().filter_map(|view| view.restore).collect();
        let all = restores.iter().fold(RestoreProgress::default(), |sum, one| sum + *one);
        let bar = if restores.is_empty() { String::new() } else { all.bar(restores.len()) };
        // A terminal that has gone misses nothing.
        _ = write!(terminal, "\r\x1b[K{bar}\r").and_then(|()| terminal.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: RestoreProgress = RestoreProgress {
        done: 500_000,
        total: 1_000_000,
        offsets_per_second: 100_000.0,
        records_per_second: 50_000.0,
        bytes_per_second: 10.0 * 1_048_576.0,
    };

    #[test]
    fn r23_a_bar_says_how_much_how_quick_and_how_long() {
        assert_eq!(HALF.bar(2), "restoring 2 tasks [==========          ] 50 %, 50 k records/s, 10 MiB/s, 5s left");
        assert!(
            RestoreProgress::default().bar(1).ends_with("[====================] 100 %, 0 k records/s, 0 MiB/s, ? left")
        );
    }

    #[test]
    fn r23_restores_add_up() {
        let both = HALF + RestoreProgress { done: 0, offsets_per_second: 0.0, ..HALF };
        assert_eq!((both.ratio(), both.eta()), (0.25, Some(Duration::from_secs(15))));
    }
}
