//! After an abort: brings tasks that are open already up to their changelogs (rule R-18).
//!
//! What a task may lack is what this thread itself has written in the transactions whose outcome it did not hear: nobody else
//! writes to the changelogs of its partitions. So it is little, and read at once, while the group is kept. What a task knows
//! beside its state, such as which of its records were refused, stays with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Instant;
use crate::error::FatalError;
use crate::kafka::{Bounds, ConsumerError, Event, Intake, KafkaFailure, Rebalance};
use crate::position::{Offset, TaskId, TopicPartition};
use crate::store::{StoreError, TaskState};
use crate::telemetry::{AbortReason, Heartbeat};

use super::super::halt::Halt;
use super::super::stream_thread::StreamThread;
use super::super::tasks::{Changelog, OwnedTask};

/// Bytes that are written at once.
const BATCH_BYTES: usize = 4 << 20;
/// Patience with putting a record back.
const PUT_BACK: Duration = Duration::from_millis(500);

/// What became of the attempt to bring a state up to its changelogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum CaughtUp {
    /// It holds all that was committed.
    Yes,
    /// It can't be a copy of this changelog.
    Unfit,
    /// A rebalance or the shutdown goes first.
    Interrupted,
}

enum ReadError {
    Kafka(KafkaFailure),
    Store(StoreError),
    Fenced(String),
    FencedItself(String),
    MadeAnew(String),
    Fatal(FatalError),
    Interrupted,
}

impl From<KafkaFailure> for ReadError {
    fn from(error: KafkaFailure) -> Self {
        ReadError::Kafka(error)
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        ReadError::Store(error)
    }
}

/// What a stream thread goes on doing while it reads: it polls, so that the membership is kept.
struct Meanwhile<'a> {
    consumer: Arc<dyn Intake>,
    pending: &'a mut VecDeque<Rebalance>,
    heartbeat: &'a Heartbeat,
    shutdown: &'a CancellationToken,
}

impl Meanwhile<'_> {
    fn look(&mut self, wait: Duration) -> Result<(), ReadError> {
        self.heartbeat.beat();
        match self.consumer.poll(wait) {
            Event::Rebalance(rebalance) => self.pending.push_back(rebalance),
            // All input is paused; what was on its way all the same must not be lost.
            Event::Record(fetched) => {
                let raw = fetched.record();
                let at = TopicPartition { topic: raw.topic.into(), partition: raw.partition };
                self.consumer.seek(&[(at, raw.offset)], PUT_BACK)?;
            }
            Event::Error(ConsumerError::Fenced(reason)) => return Err(ReadError::Fenced(reason)),
            Event::Error(ConsumerError::FencedItself(reason)) => return Err(ReadError::FencedItself(reason)),
            Event::Error(ConsumerError::MadeAnew(topic)) => return Err(ReadError::MadeAnew(topic)),
            Event::Error(ConsumerError::Fatal(error)) => return Err(ReadError::Fatal(error)),
            // Natively fetched records go back by themselves.
            Event::Error(_) | Event::Records(_) | Event::End(_) | Event::Idle => {}
        }
        match self.pending.is_empty() && !self.shutdown.is_cancelled() {
            true => Ok(()),
            false => Err(ReadError::Interrupted),
        }
    }
}

impl StreamThread {
    /// Brings a task that is open already up to its changelogs.
    pub(in crate::runtime) fn reconcile(&mut self, owned: &mut OwnedTask) -> Result<CaughtUp, Halt> {
        let changelogs = owned.changelogs.clone();
        self.catch_up(owned.task.id(), owned.task.state(), &changelogs)
    }

    /// Applies each changelog from where the state stands to its end.
    fn catch_up(&mut self, id: TaskId, state: &mut TaskState, changelogs: &[Changelog]) -> Result<CaughtUp, Halt> {
        match self.read_changelogs(id, state, changelogs) {
            Ok(fits) => Ok(if fits { CaughtUp::Yes } else { CaughtUp::Unfit }),
            Err(ReadError::Interrupted) => Ok(CaughtUp::Interrupted),
            Err(ReadError::Kafka(error)) => Err(Halt::Recover(AbortReason::Broker, error.to_string())),
            Err(ReadError::Store(error)) => Err(self.store_failed(id, &error)),
            Err(ReadError::Fenced(reason)) => Err(Halt::Rejoin(reason)),
            Err(ReadError::FencedItself(reason)) => Err(Halt::Forgotten(reason)),
            Err(ReadError::MadeAnew(topic)) => Err(Halt::MadeAnew(topic)),
            Err(ReadError::Fatal(error)) => Err(Halt::Fatal(error)),
        }
    }

    /// False when the state does not fit (rule R-19).
    fn read_changelogs(
        &mut self,
        id: TaskId,
        state: &mut TaskState,
        changelogs: &[Changelog],
    ) -> Result<bool, ReadError> {
        for changelog in changelogs {
            let bounds = match changelog.is_table {
                // What is open there is not of this thread.
                true => self.reader.bounds(&changelog.at)?,
                false => self.settled_bounds(changelog)?,
            };
            let from = state.changelog_next(changelog.store);
            // A changelog that lost its beginning may have lost the deletes of keys that the state still holds.
            if from.is_some_and(|from| from < bounds.start || from > bounds.end) {
                return Ok(false);
            }
            let from = from.unwrap_or(bounds.start);
            if from < bounds.end {
                self.read_changelog(id, state, changelog, from, bounds)?;
            }
        }
        Ok(true)
    }

    fn settled_bounds(&mut self, changelog: &Changelog) -> Result<Bounds, ReadError> {
        let deadline = Instant::now() + 2 * self.options.kafka.transaction_timeout;
        let mut meanwhile = Meanwhile {
            consumer: Arc::clone(&self.consumer),
            pending: &mut self.pending,
            heartbeat: &self.heartbeat,
            shutdown: &self.shutdown,
        };
        self.reader.settled_bounds(&changelog.at, deadline, |wait| meanwhile.look(wait))
    }

    fn read_changelog(
        &mut self,
        id: TaskId,
        state: &mut TaskState,
        changelog: &Changelog,
        from: Offset,
        bounds: Bounds,
    ) -> Result<(), ReadError> {
        let mut meanwhile = Meanwhile {
            consumer: Arc::clone(&self.consumer),
            pending: &mut self.pending,
            heartbeat: &self.heartbeat,
            shutdown: &self.shutdown,
        };
        let (mut records, mut bytes) = (0_u64, 0);
        state.begin_restore(changelog.store, 0, BATCH_BYTES)?;
        let result = self.reader.read(
            &changelog.at,
            from,
            |key, value, next| {
                records += 1;
                bytes += key.len() + value.map_or(0, <[u8]>::len);
                state.restore_record(changelog.store, key, value)?;
                Ok::<(), ReadError>(state.restored_to(changelog.store, next)?)
            },
            |wait| meanwhile.look(wait),
        );
        // The end lies behind the last record: control records follow it.
        let reached = result.as_ref().ok().map(|next| (*next).max(bounds.end));
        if let Some(next) = reached {
            state.restored_to(changelog.store, next)?;
        }
        // What was interrupted keeps what it has.
        state.end_restore(changelog.store)?;
        let metrics = &self.options.telemetry.metrics;
        metrics.restore_records.with([]).inc_by(records);
        metrics.restore_bytes.with([]).inc_by(bytes as u64);
        tracing::info!(
            target: "headrace::runtime", task = %id, changelog = %changelog.at, records, "read {records} changelog records"
        );
        result.map(drop)
    }
}
