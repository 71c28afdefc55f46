//! The commit cycle (rule R-6), its pipeline (rule N-5), and its at-least-once form (rule R-29).
//!
//! ```text
//!            seal                                        outcome
//!  external settled ─▶ acknowledged ─▶ positions ─▶ end ─▶ one WriteBatch per task
//!                      └──── on the wire, while the next transaction is processed ────┘
//! ```
//!
//! The next transaction's writes lie in a journal above those of the sealed one. If the sealed one fails, both are dropped.
//! Whatever moves a partition, closes a store or ends the thread drains the pipeline first.

use std::time::Duration;

use crate::clock::Instant;
use crate::error::{RecordError, Stage};
use crate::kafka::Committed;
use crate::position::{Offset, Origin, TaskId, TopicPartition};
use crate::record::Timestamp;
use crate::store::{Commit, StoreIndex};
use crate::telemetry::AbortReason;

use super::halt::Halt;
use super::options::Guarantee;
use super::stream_thread::{StreamThread, now};
use super::tally::Tally;
use super::tasks::Changelog;

/// How long one look for an outcome lasts while there is nothing else to do.
const LOOK: Duration = Duration::from_millis(5);

/// The part of the staged bytes' bound at which a transaction is committed before its time, if none is on the wire: small
/// ones keep the memory near the core that uses it, and what a commit costs is next to nothing beside so many records.
const EARLY_PART: usize = 16;

/// Whether what is open has to be committed.
pub(super) enum Due {
    NotYet,
    /// As soon as nothing else is on the wire.
    Soon,
    /// Before anything else is processed: it takes too much memory.
    Now,
}

/// A transaction on the wire, and what is to be written when it has committed.
pub(super) struct Sealed {
    since: Instant,
    tasks: Vec<SealedTask>,
    /// Timestamps of some of its records, to observe their latency.
    latencies: Vec<i64>,
    tally: Tally,
}

struct SealedTask {
    id: TaskId,
    positions: Vec<(TopicPartition, Offset)>,
    stream_time: Option<Timestamp>,
}

impl StreamThread {
    pub(super) fn commit_due(&mut self) -> Due {
        let Some(since) = self.open_since else { return Due::NotYet };
        let staged = self.staged_bytes();
        self.metrics.staged_bytes.set(i64::try_from(staged).unwrap_or(i64::MAX));
        let limit = self.options.max_staged_bytes;
        if staged >= limit {
            Due::Now
        } else if since.elapsed() >= self.options.commit_interval || self.filling_bytes() >= limit / EARLY_PART {
            Due::Soon
        } else {
            Due::NotYet
        }
    }

    pub(super) fn staged_bytes(&mut self) -> usize {
        self.tasks.iter_mut().map(|owned| owned.task.state().staged_bytes()).sum()
    }

    fn filling_bytes(&mut self) -> usize {
        self.tasks.iter_mut().map(|owned| owned.task.state().filling_bytes()).sum()
    }

    /// Commits all that is open and waits for it. The external sinks must have settled.
    pub(super) fn commit(&mut self) -> Result<(), Halt> {
        self.drain()?;
        self.seal()?;
        self.drain()
    }

    fn drain(&mut self) -> Result<(), Halt> {
        while !self.look_at_sealed(LOOK)? {
            self.heartbeat.beat();
        }
        Ok(())
    }

    /// Whether a transaction is being filled or on the wire.
    pub(super) fn has_uncommitted(&self) -> bool {
        self.open_since.is_some() || self.sealed.is_some()
    }

    /// Puts what is open on the wire. Nothing else may be there, and the external sinks must have settled.
    pub(super) fn seal(&mut self) -> Result<(), Halt> {
        self.take_refusals()?;
        if self.open_since.take().is_none() {
            return Ok(());
        }
        let membership = match self.options.guarantee {
            Guarantee::AtLeastOnce => None,
            Guarantee::ExactlyOnce => {
                let membership = self.membership()?;
                Some(membership.ok_or_else(|| Halt::Recover(AbortReason::Fenced, "no group membership".into()))?)
            }
        };
        let seal = |owned: &mut super::tasks::OwnedTask| {
            owned.task.state().seal();
            let stream_time = Some(owned.task.stream_time()).filter(|time| *time != Timestamp::NONE);
            SealedTask { id: owned.task.id(), positions: owned.task.positions(), stream_time }
        };
        let tasks: Vec<_> = self.tasks.iter_mut().map(seal).collect();
        let positions: Vec<_> = tasks.iter().flat_map(|task| task.positions.iter().cloned()).collect();
        let (latencies, tally) = (std::mem::take(&mut self.latencies), std::mem::take(&mut self.tally));
        self.sealed = Some(Sealed { since: Instant::now(), tasks, latencies, tally });
        self.metrics.transaction_open.stop();
        Ok(self.producer.seal(&positions, membership.as_ref())?)
    }

    /// Looks what has become of the transaction on the wire; true when none is there any more.
    pub(super) fn look_at_sealed(&mut self, wait: Duration) -> Result<bool, Halt> {
        let Some(since) = self.sealed.as_ref().map(|sealed| sealed.since) else { return Ok(true) };
        let patience = 2 * self.options.kafka.transaction_timeout;
        self.renew_membership()?;
        match self.producer.outcome(wait)? {
            Some(committed) => {
                if let Some(sealed) = self.sealed.take() {
                    self.committed(sealed, &committed)?;
                }
                self.replace_suspect()?;
                Ok(true)
            }
            None if since.elapsed() > patience => {
                Err(Halt::Recover(AbortReason::Deadline, format!("no outcome of a commit within {patience:?}")))
            }
            None => Ok(false),
        }
    }

    fn committed(&mut self, sealed: Sealed, committed: &Committed) -> Result<(), Halt> {
        let metrics = &self.metrics;
        metrics.commit_flush.observe(committed.flush.as_secs_f64());
        sealed.tally.tell(&self.options.telemetry.metrics);
        let started = Instant::now();
        self.apply(&sealed, committed)?;
        self.metrics.commit_apply.observe(started.elapsed().as_secs_f64());
        match self.options.guarantee {
            Guarantee::ExactlyOnce => {
                self.metrics.commit_offsets.observe(committed.offsets.as_secs_f64());
                self.metrics.commit_end.observe(committed.end.as_secs_f64());
            }
            Guarantee::AtLeastOnce => {
                let started = Instant::now();
                let positions: Vec<_> = sealed.tasks.iter().flat_map(|task| task.positions.iter().cloned()).collect();
                let told = self.consumer.commit(&positions);
                told.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
                self.metrics.commit_offsets.observe(started.elapsed().as_secs_f64());
            }
        }
        self.failures = 0;
        self.metrics.commits.inc();
        let now = now().0;
        for timestamp in sealed.latencies {
            self.metrics.record_latency.observe((now - timestamp).max(0) as f64 / 1000.0);
        }
        self.kafka_back();
        Ok(())
    }

    /// A target refused a request for good: the transaction is aborted and the record, or the
    /// tick, set aside when it comes again.
    fn take_refusals(&mut self) -> Result<(), Halt> {
        let refusals = self.dispatcher.take_refusals();
        if refusals.is_empty() {
            return Ok(());
        }
        let count = refusals.len();
        for refusal in refusals {
            let error = RecordError::new(Stage::External, "refused", format!("{}: {}", refusal.sink, refusal.reason));
            match refusal.origin {
                Origin::Record(position) => {
                    if let Some(owned) = self.tasks.find(&position.topic, position.partition) {
                        owned.task.refuse(position, error);
                    }
                }
                Origin::Punctuator { task, name } => {
                    if let Some(owned) = self.tasks.get_mut(task) {
                        owned.task.refuse_tick(&name, error);
                    }
                }
            }
        }
        Err(Halt::Recover(AbortReason::External, format!("{count} requests were refused for good")))
    }

    /// Applies the sealed writes of every task together with changelog offsets and positions (rule R-17).
    fn apply(&mut self, sealed: &Sealed, committed: &Committed) -> Result<(), Halt> {
        for SealedTask { id, positions, stream_time } in &sealed.tasks {
            let own = |(slot, next): &(_, Offset)| match self.tasks.owner(*slot) {
                Some((task, store)) if task == *id => Some((store, *next)),
                _ => None,
            };
            let mut changelog_next: Vec<(StoreIndex, Offset)> = committed.next_offsets.iter().filter_map(own).collect();
            let Some(owned) = self.tasks.get_mut(*id) else { continue };
            // The topic of a table is its store's changelog: what was read of it is what the store has.
            let tables = owned.changelogs.iter().filter(|changelog| changelog.is_table);
            let read = |table: &Changelog| positions.iter().find(|(at, _)| *at == table.at).map(|(_, next)| *next);
            changelog_next.extend(tables.filter_map(|table| Some((table.store, read(table)?))));
            let commit = Commit { changelog_next: &changelog_next, positions, stream_time: *stream_time };
            if let Err(error) = owned.task.state().commit(&commit) {
                return Err(self.store_failed(*id, &error));
            }
            owned.task.committed(positions);
        }
        Ok(())
    }
}
