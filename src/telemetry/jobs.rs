//! What workers tell of their jobs.

use std::time::Duration;

use tracing::{info, warn};

use super::events::Telemetry;
use super::family::IntGauge;
use crate::error::RecordError;
use crate::position::Position;

/// How the work on a record has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// What came of it is at the brokers; the record is accepted.
    Done,
    /// What the worker gives in place of a dead letter is at the brokers; the record is accepted.
    GivenUp,
    /// The record is released, to be delivered again.
    Released,
    /// The record is rejected; its dead letter is at the brokers, if there is a topic for it.
    SetAside,
}

impl JobEnd {
    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            JobEnd::Done => "done",
            JobEnd::GivenUp => "given-up",
            JobEnd::Released => "released",
            JobEnd::SetAside => "set-aside",
        }
    }
}

/// The label of a delivery. Few are beyond the brokers' own limit, which is five by default.
fn which(delivery: u16) -> &'static str {
    match delivery {
        0 | 1 => "1",
        2 => "2",
        3 => "3",
        4 => "4",
        _ => "5+",
    }
}

/// A job that is counted as running until this is dropped.
#[derive(Debug)]
pub struct Running(IntGauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Telemetry {
    /// Work on a record begins, so long after it was fetched. `delivery`: which of the record's deliveries this is, from 1.
    pub fn job_begun(&self, workers: &str, delivery: u16, waited: Duration) -> Running {
        self.metrics.job_deliveries.with([workers, which(delivery)]).inc();
        self.metrics.job_delay.with([workers]).observe(waited.as_secs_f64());
        let running = self.metrics.jobs_running.with([workers]);
        running.inc();
        Running(running)
    }

    /// It has ended.
    pub fn job_ended(&self, workers: &str, end: JobEnd, took: Duration) {
        self.metrics.jobs.with([workers, end.name()]).inc();
        self.metrics.job.with([workers]).observe(took.as_secs_f64());
    }

    /// It was given up, because the record is somebody else's.
    pub fn job_lost(&self, workers: &str, at: &Position, reason: &str) {
        self.metrics.jobs.with([workers, "lost"]).inc();
        if let Some(held_back) = self.admit("job-lost", workers) {
            let (topic, partition, offset) = (&*at.topic, at.partition.0, at.offset.0);
            warn!(
                event = "job-lost",
                workers,
                topic,
                partition,
                offset,
                reason,
                held_back,
                "{workers} gave up {at}, which somebody else is handed: {reason}"
            );
        }
    }

    /// How far their share group is behind in a topic, in records; none takes the figure away, since a stale one lies.
    pub fn share_lag(&self, workers: &str, topic: &str, records: Option<i64>) {
        match records {
            Some(records) => self.metrics.share_lag_records.with([workers, topic]).set(records),
            None => self.metrics.share_lag_records.remove([workers, topic]),
        }
    }

    /// How far it is behind could not be asked. Call it at the first failure of a row.
    pub fn share_lag_unknown(&self, workers: &str, reason: &str) {
        if let Some(held_back) = self.admit("share-lag-unknown", workers) {
            warn!(
                event = "share-lag-unknown",
                workers, reason, held_back, "how far the share group of {workers} is behind is not known: {reason}"
            );
        }
    }

    /// A stop could not wait any longer for those that are still under way: their records are given back.
    pub fn jobs_cut_short(&self, workers: &str, after: Duration) {
        let running = self.metrics.jobs_running.with([workers]).get();
        let after_seconds = after.as_secs_f64();
        warn!(
            event = "jobs-cut-short",
            workers,
            running,
            after_seconds,
            "{workers} stops with {running} records under way, which are given back: raise shutdown.deadline"
        );
    }

    /// It failed, and is tried again.
    pub fn job_failed(&self, workers: &str, at: &Position, attempt: u16, reason: &str) {
        if let Some(held_back) = self.admit("job-failed", workers) {
            let (topic, partition, offset) = (&*at.topic, at.partition.0, at.offset.0);
            info!(
                event = "job-failed",
                workers,
                topic,
                partition,
                offset,
                attempt,
                reason,
                held_back,
                "attempt {attempt} of {workers} at {at} failed: {reason}"
            );
        }
    }

    /// It failed for good, and its worker gives something else.
    pub fn job_given_up(&self, workers: &str, at: &Position, error: &RecordError) {
        if let Some(held_back) = self.admit("job-given-up", &format!("{workers} {}", error.class)) {
            let (topic, partition, offset) = (&*at.topic, at.partition.0, at.offset.0);
            let (class, reason) = (error.class, &error.reason);
            info!(
                event = "job-given-up",
                workers, topic, partition, offset, class, reason, held_back, "{workers} gave up {at}: {reason}"
            );
        }
    }

    /// It failed for good.
    pub fn job_set_aside(&self, workers: &str, at: &Position, error: &RecordError) {
        let (stage, class) = (error.stage.name(), error.class);
        self.metrics.dead_letters.with([stage, class]).inc();
        if let Some(held_back) = self.admit("job-set-aside", &format!("{workers} {stage} {class}")) {
            let (topic, partition, offset) = (&*at.topic, at.partition.0, at.offset.0);
            let reason = &error.reason;
            warn!(
                event = "job-set-aside",
                workers,
                topic,
                partition,
                offset,
                stage,
                class,
                reason,
                held_back,
                "{workers} set {at} aside: {reason}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Health, Metrics};

    #[test]
    fn deliveries_have_few_labels_however_many_there_are() {
        assert_eq!([1, 2, 4, 5, 6, u16::MAX].map(which), ["1", "2", "4", "5+", "5+", "5+"]);
    }

    #[test]
    fn a_lag_that_is_not_known_any_more_has_no_series() {
        let telemetry = Telemetry::new(Metrics::new(true).unwrap(), Health::new(Duration::from_secs(30)));
        telemetry.share_lag("mail", "high", Some(3));
        telemetry.share_lag("mail", "low", Some(0));
        telemetry.share_lag("mail", "high", None);
        telemetry.share_lag("mail", "never", None);
        let page = telemetry.metrics.render().unwrap();
        let series: Vec<_> = page.lines().filter(|line| line.starts_with("headrace_share_lag_records{")).collect();
        assert_eq!(series, ["headrace_share_lag_records{topic=\"low\",workers=\"mail\"} 0"]);
    }
}
