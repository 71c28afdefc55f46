//! Opens tasks and brings their stores up to their changelogs.
//!
//! Nothing is wiped that is usable (rule R-18): the local store says up to where it holds the changelog, the rest is read
//! and applied. Only what is proven unusable is set aside (rule R-19), and then rebuilt from the changelog. A restore is
//! interrupted by a rebalance or the shutdown, and goes on from where it was: the group never waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::FatalError;
use crate::kafka::{Bounds, ConsumerError, Event, GroupConsumer, KafkaFailure, Rebalance};
use crate::position::{Offset, TaskId, TopicPartition};
use crate::store::{StoreError, StoreSpec, TaskState};
use crate::task::{Limits, Task};
use crate::telemetry::{AbortReason, Heartbeat};

use super::halt::Halt;
use super::stream_thread::StreamThread;
use super::tasks::{Changelog, OwnedTask, Rest};

/// Bytes of one restore batch (rule R-23).
const BATCH_BYTES: usize = 4 << 20;
/// How long a task's directory may stay locked by its last owner on this machine.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// Patience with putting a record back.
const PUT_BACK: Duration = Duration::from_millis(500);

/// What became of the attempt to bring a state up to its changelogs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CaughtUp {
    /// It holds all that was committed.
    Yes,
    /// It can't be a copy of this changelog.
    Unfit,
    /// A rebalance or the shutdown goes first.
    Interrupted,
}

enum RestoreError {
    Kafka(KafkaFailure),
    Store(StoreError),
    Fenced(String),
    MadeAnew(String),
    Fatal(FatalError),
    Interrupted,
}

impl From<KafkaFailure> for RestoreError {
    fn from(error: KafkaFailure) -> Self {
        RestoreError::Kafka(error)
    }
}

/// What a stream thread goes on doing while it restores: it polls, so that the membership is kept.
struct Meanwhile<'a> {
    consumer: Arc<GroupConsumer>,
    pending: &'a mut VecDeque<Rebalance>,
    heartbeat: &'a Heartbeat,
    shutdown: &'a CancellationToken,
}

impl Meanwhile<'_> {
    fn look(&mut self, wait: Duration) -> Result<(), RestoreError> {
        self.heartbeat.beat();
        match self.consumer.poll(wait) {
            Event::Rebalance(rebalance) => self.pending.push_back(rebalance),
            // All input is paused; what was on its way all the same must not be lost.
            Event::Record(fetched) => {
                let raw = fetched.record();
                let at = TopicPartition { topic: raw.topic.into(), partition: raw.partition };
                self.consumer.seek(&[(at, raw.offset)], PUT_BACK)?;
            }
            Event::Error(ConsumerError::Fenced(reason)) => return Err(RestoreError::Fenced(reason)),
            Event::Error(ConsumerError::MadeAnew(topic)) => return Err(RestoreError::MadeAnew(topic)),
            Event::Error(ConsumerError::Fatal(error)) => return Err(RestoreError::Fatal(error)),
            // Natively fetched records go back by themselves.
            Event::Error(_) | Event::Records(_) | Event::End(_) | Event::Idle => {}
        }
        match self.pending.is_empty() && !self.shutdown.is_cancelled() {
            true => Ok(()),
            false => Err(RestoreError::Interrupted),
        }
    }
}

impl StreamThread {
    /// Opens a task's state and restores it; `None` if something more urgent has come up.
    pub(super) fn open_task(&mut self, id: TaskId) -> Result<Option<OwnedTask>, Halt> {
        let changelogs = self.tasks.changelogs(&self.topology, &self.options.kafka.application_id, id);
        let started = Instant::now();
        let Some(mut state) = self.open_state(id)? else { return Ok(None) };
        let mut caught_up = self.catch_up(id, &mut state, &changelogs)?;
        if caught_up == CaughtUp::Unfit {
            close(id, state);
            self.quarantine(id, "it does not fit its changelog")?;
            let Some(fresh) = self.open_state(id)? else { return Ok(None) };
            state = fresh;
            caught_up = self.catch_up(id, &mut state, &changelogs)?;
        }
        match caught_up {
            CaughtUp::Yes => {}
            CaughtUp::Interrupted => {
                close(id, state);
                return Ok(None);
            }
            CaughtUp::Unfit => return Err(Halt::Recover(AbortReason::Store, "the changelog changes under us".into())),
        }
        let names = self.store_names(id);
        self.options.telemetry.task_restored(id, &names, 0, started.elapsed());
        let limits = Limits { max_output_bytes: self.options.kafka.max_record_bytes };
        let mut task = Task::new(&self.topology, &self.options.kafka.application_id, id, state, limits);
        self.lowered.iter().for_each(|(topic, bytes)| task.lower_limit(topic, *bytes));
        Ok(Some(OwnedTask { task, inputs: Vec::new(), changelogs, rest: None }))
    }

    /// Brings a task that is open already up to its changelogs.
    pub(super) fn reconcile(&mut self, owned: &mut OwnedTask) -> Result<CaughtUp, Halt> {
        let changelogs = owned.changelogs.clone();
        self.catch_up(owned.task.id(), owned.task.state(), &changelogs)
    }

    /// Closes a task whose partitions stay; it is opened again, and restored, when the thread comes to it.
    pub(super) fn put_off(&mut self, owned: OwnedTask) {
        let id = owned.task.id();
        if let Some(Rest::Schema(_) | Rest::Breaker { .. }) = owned.rest {
            self.options.telemetry.task_rests(id, None);
        }
        self.unopened.extend(owned.inputs);
        self.options.telemetry.task_created(id);
        close(id, owned.task.into_state());
    }

    /// Names of a task's stores.
    pub(super) fn store_names(&self, id: TaskId) -> Vec<&str> {
        let own = self.topology.stores().iter().filter(|store| store.sub_topology == id.sub_topology);
        own.map(|store| store.spec.name.as_str()).collect()
    }

    fn open_state(&mut self, id: TaskId) -> Result<Option<TaskState>, Halt> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        let own = self.topology.stores().iter().filter(|store| store.sub_topology == id.sub_topology);
        let specs: Vec<StoreSpec> = own.map(|store| store.spec.clone()).collect();
        let mut quarantined = false;
        loop {
            match self.directory.open_task(id, &specs, self.topology.state_id(), &self.options.stores) {
                Ok(state) => return Ok(Some(state)),
                Err(StoreError::Locked { .. }) if Instant::now() < deadline => {
                    self.keep_membership(Duration::from_millis(50))?;
                    if !self.pending.is_empty() || self.shutdown.is_cancelled() {
                        return Ok(None);
                    }
                }
                Err(error @ StoreError::Locked { .. }) => {
                    return Err(Halt::Fatal(FatalError::Environment(format!(
                        "state.directory: task {id}: {error}; give each instance a directory of its own"
                    ))));
                }
                // Once: a directory in which even a fresh state is unusable won't get better.
                Err(error) if error.is_unusable() && !quarantined => {
                    self.quarantine(id, &error.to_string())?;
                    quarantined = true;
                }
                Err(error) => {
                    return Err(Halt::Fatal(FatalError::Other {
                        context: format!("state.directory: task {id} can't be opened"),
                        source: error.into(),
                    }));
                }
            }
        }
    }

    pub(super) fn quarantine(&mut self, id: TaskId, reason: &str) -> Result<(), Halt> {
        self.options.telemetry.store_quarantined(id, reason);
        self.directory.quarantine(id, reason).map(drop).map_err(|error| {
            Halt::Fatal(FatalError::Other {
                context: format!("state of task {id} can't be set aside"),
                source: error.into(),
            })
        })
    }

    /// Applies each changelog from where the state stands to its end.
    fn catch_up(&mut self, id: TaskId, state: &mut TaskState, changelogs: &[Changelog]) -> Result<CaughtUp, Halt> {
        match self.read_changelogs(id, state, changelogs) {
            Ok(fits) => Ok(if fits { CaughtUp::Yes } else { CaughtUp::Unfit }),
            Err(RestoreError::Interrupted) => Ok(CaughtUp::Interrupted),
            Err(RestoreError::Kafka(error)) => Err(Halt::Recover(AbortReason::Broker, error.to_string())),
            Err(RestoreError::Store(error)) => Err(self.store_failed(id, &error)),
            Err(RestoreError::Fenced(reason)) => Err(Halt::Rejoin(reason)),
            Err(RestoreError::MadeAnew(topic)) => Err(Halt::MadeAnew(topic)),
            Err(RestoreError::Fatal(error)) => Err(Halt::Fatal(error)),
        }
    }

    /// False when the state does not fit (rule R-19).
    fn read_changelogs(
        &mut self,
        id: TaskId,
        state: &mut TaskState,
        changelogs: &[Changelog],
    ) -> Result<bool, RestoreError> {
        for changelog in changelogs {
            let bounds = self.settled_bounds(changelog)?;
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

    fn settled_bounds(&mut self, changelog: &Changelog) -> Result<Bounds, RestoreError> {
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
    ) -> Result<(), RestoreError> {
        let started = Instant::now();
        let telemetry = &self.options.telemetry;
        let mut meanwhile = Meanwhile {
            consumer: Arc::clone(&self.consumer),
            pending: &mut self.pending,
            heartbeat: &self.heartbeat,
            shutdown: &self.shutdown,
        };
        let store = self.topology.stores()[changelog.store.0].spec.name.as_str();
        let mut batch: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        let (mut bytes, mut records) = (0, 0_u64);
        if state.changelog_next(changelog.store).is_none() {
            state.begin_bulk(changelog.store).map_err(RestoreError::Store)?;
        }
        let result = self.reader.read(
            &changelog.at,
            from,
            |key, value, next| {
                bytes += key.len() + value.map_or(0, <[u8]>::len);
                records += 1;
                batch.push((key.to_vec(), value.map(<[u8]>::to_vec)));
                if bytes >= BATCH_BYTES {
                    bytes = 0;
                    let remaining = u64::try_from(bounds.end.0 - next.0).unwrap_or(0);
                    telemetry.restore_progress(id, store, batch.len() as u64, remaining);
                    let pairs = batch.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
                    state.restore(changelog.store, pairs, next).map_err(RestoreError::Store)?;
                    batch.clear();
                }
                Ok::<(), RestoreError>(())
            },
            |wait| meanwhile.look(wait),
        );
        // The end lies behind the last record: control records follow it.
        let next = result?.max(bounds.end);
        let pairs = batch.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        state.restore(changelog.store, pairs, next).map_err(RestoreError::Store)?;
        state.end_bulk(changelog.store).map_err(RestoreError::Store)?;
        telemetry.metrics.restore_records.with([]).inc_by(batch.len() as u64);
        tracing::info!(
            target: "headrace::runtime", task = %id, store, records, seconds = started.elapsed().as_secs_f64(),
            "read {records} changelog records"
        );
        Ok(())
    }
}

fn close(id: TaskId, state: TaskState) {
    if let Err(error) = state.close() {
        tracing::warn!(target: "headrace::runtime", task = %id, %error, "closing the store failed");
    }
}
