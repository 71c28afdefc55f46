//! The commit cycle (rule R-6), and its at-least-once form (rule R-29).
//!
//! ```text
//!  external settled ─▶ all records acknowledged ─▶ positions into the transaction ─▶ end ─▶ one WriteBatch per task
//! ```

use std::time::{Duration, Instant};

use prometheus::Histogram;

use crate::error::{RecordError, Stage};
use crate::position::{Offset, TaskId, TopicPartition};
use crate::record::Timestamp;
use crate::store::{Commit, StoreIndex};
use crate::telemetry::AbortReason;

use super::options::Guarantee;
use super::stream_thread::{Halt, StreamThread, now};

impl StreamThread {
    /// Commits what is open. The external sinks must have settled.
    pub(super) fn commit(&mut self) -> Result<(), Halt> {
        self.take_refusals()?;
        let Some(opened) = self.open_since else { return Ok(()) };
        let positions = self.positions();
        let mut clock = Phases::start();
        let patience = self.options.kafka.transaction_timeout;
        self.producer.flush(opened + patience.max(opened.elapsed() + Duration::from_secs(1)))?;
        clock.observe(&self.metrics.commit_flush);
        match self.options.guarantee {
            Guarantee::ExactlyOnce => {
                let membership = self.consumer.membership();
                let membership =
                    membership.ok_or_else(|| Halt::Recover(AbortReason::Fenced, "no group membership".into()))?;
                self.producer.offsets(&positions, &membership)?;
                clock.observe(&self.metrics.commit_offsets);
                self.producer.commit()?;
                clock.observe(&self.metrics.commit_end);
                self.apply()?;
                clock.observe(&self.metrics.commit_apply);
            }
            Guarantee::AtLeastOnce => {
                self.apply()?;
                clock.observe(&self.metrics.commit_apply);
                self.producer.commit()?;
                let committed = self.consumer.commit(&positions);
                committed.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
                clock.observe(&self.metrics.commit_offsets);
            }
        }
        self.committed();
        Ok(())
    }

    fn committed(&mut self) {
        self.open_since = None;
        self.failures = 0;
        self.metrics.transaction_open.stop();
        self.metrics.commits.inc();
        let now = now().0;
        for timestamp in self.latencies.drain(..) {
            self.metrics.record_latency.observe((now - timestamp).max(0) as f64 / 1000.0);
        }
        self.kafka_back();
    }

    /// A target refused a request for good: the transaction is aborted and the record set aside when it comes again.
    fn take_refusals(&mut self) -> Result<(), Halt> {
        let refusals = self.dispatcher.take_refusals();
        if refusals.is_empty() {
            return Ok(());
        }
        let count = refusals.len();
        for refusal in refusals {
            if let Some(owned) = self.tasks.find(&refusal.position.topic, refusal.position.partition) {
                let reason = format!("{}: {}", refusal.sink, refusal.reason);
                owned.task.refuse(refusal.position, RecordError::new(Stage::External, "refused", reason));
            }
        }
        Err(Halt::Recover(AbortReason::External, format!("{count} requests were refused for good")))
    }

    /// Next positions of all tasks.
    fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        self.tasks.iter().flat_map(|owned| owned.task.positions()).collect()
    }

    /// Applies the staged writes of every task together with changelog offsets and positions (rule R-17).
    fn apply(&mut self) -> Result<(), Halt> {
        let acknowledged: Vec<(TaskId, StoreIndex, Offset)> = self
            .producer
            .take_acknowledged()
            .into_iter()
            .filter_map(|(slot, next)| self.tasks.owner(slot).map(|(task, store)| (task, store, next)))
            .collect();
        let mut failed = None;
        for owned in self.tasks.iter_mut() {
            let id = owned.task.id();
            let own = acknowledged.iter().filter(|(task, _, _)| *task == id);
            let changelog_next: Vec<_> = own.map(|(_, store, next)| (*store, *next)).collect();
            let positions = owned.task.positions();
            let stream_time = Some(owned.task.stream_time()).filter(|time| *time != Timestamp::NONE);
            let commit = Commit { changelog_next: &changelog_next, positions: &positions, stream_time };
            if let Err(error) = owned.task.state().commit(&commit) {
                failed = Some((id, error));
                break;
            }
            owned.task.committed();
        }
        failed.map_or(Ok(()), |(id, error)| Err(self.store_failed(id, &error)))
    }
}

struct Phases {
    since: Instant,
}

impl Phases {
    fn start() -> Self {
        Phases { since: Instant::now() }
    }

    fn observe(&mut self, phase: &Histogram) {
        phase.observe(self.since.elapsed().as_secs_f64());
        self.since = Instant::now();
    }
}
