//! Opens tasks and brings their stores up to their changelogs.
//!
//! Nothing is wiped that is usable (rule R-18): the local store says up to where it holds the changelog, the rest is read
//! and applied. Only what is proven unusable is set aside (rule R-19), and then rebuilt from the changelog.

use std::time::{Duration, Instant};

use crate::error::FatalError;
use crate::kafka::{Bounds, Event, KafkaFailure};
use crate::position::{Offset, TaskId};
use crate::store::{StoreError, StoreSpec, TaskState};
use crate::task::{Limits, Task};
use crate::telemetry::AbortReason;

use super::stream_thread::{Halt, StreamThread};
use super::tasks::{Changelog, OwnedTask};

/// Bytes of one restore batch (rule R-23).
const BATCH_BYTES: usize = 4 << 20;
/// How long a task's directory may stay locked by its last owner on this machine.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

enum RestoreError {
    Kafka(KafkaFailure),
    Store(StoreError),
}

impl From<KafkaFailure> for RestoreError {
    fn from(error: KafkaFailure) -> Self {
        RestoreError::Kafka(error)
    }
}

impl From<RestoreError> for Halt {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Kafka(error) => Halt::Recover(AbortReason::Broker, error.to_string()),
            RestoreError::Store(error) => Halt::Recover(AbortReason::Store, error.to_string()),
        }
    }
}

impl StreamThread {
    /// Opens a task's state and restores it.
    pub(super) fn open_task(&mut self, id: TaskId) -> Result<OwnedTask, Halt> {
        let changelogs = self.tasks.changelogs(&self.topology, &self.options.kafka.application_id, id);
        let started = Instant::now();
        self.options.telemetry.task_created(id);
        let mut state = self.open_state(id)?;
        if !self.catch_up(id, &mut state, &changelogs)? {
            state = self.set_state_aside(id, state, "it does not fit its changelog")?;
            self.catch_up(id, &mut state, &changelogs)?;
        }
        let names = self.store_names(id);
        self.options.telemetry.task_restored(id, &names, 0, started.elapsed());
        let limits = Limits { max_output_bytes: self.options.kafka.max_record_bytes };
        let task = Task::new(&self.topology, &self.options.kafka.application_id, id, state, limits);
        Ok(OwnedTask { task, inputs: Vec::new(), changelogs, rest: None })
    }

    /// Brings a task that is open already up to its changelogs; false when its state can't be used any more.
    pub(super) fn reconcile(&mut self, owned: &mut OwnedTask, suspect: bool) -> Result<bool, Halt> {
        let changelogs = owned.changelogs.clone();
        if suspect {
            return Ok(false);
        }
        self.catch_up(owned.task.id(), owned.task.state(), &changelogs)
    }

    /// Closes and opens a task again, keeping its inputs.
    pub(super) fn reopen(&mut self, owned: OwnedTask) -> Result<(), Halt> {
        let id = owned.task.id();
        if let Err(error) = owned.task.into_state().close() {
            tracing::warn!(target: "headrace::runtime", task = %id, %error, "closing the store failed");
        }
        let mut opened = self.open_task(id)?;
        opened.inputs = owned.inputs;
        self.tasks.insert(opened);
        Ok(())
    }

    /// Names of a task's stores.
    pub(super) fn store_names(&self, id: TaskId) -> Vec<&str> {
        let own = self.topology.stores().iter().filter(|store| store.sub_topology == id.sub_topology);
        own.map(|store| store.spec.name.as_str()).collect()
    }

    fn open_state(&mut self, id: TaskId) -> Result<TaskState, Halt> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        let specs: Vec<StoreSpec> = self.topology.stores().iter().map(|store| store.spec.clone()).collect();
        loop {
            match self.directory.open_task(id, &specs, self.topology.state_id(), &self.options.stores) {
                Ok(state) => return Ok(state),
                Err(StoreError::Locked { .. }) if Instant::now() < deadline && !self.shutdown.is_cancelled() => {
                    self.keep_membership(Duration::from_millis(50))?;
                }
                Err(error @ StoreError::Locked { .. }) => {
                    return Err(Halt::Fatal(FatalError::Environment(format!(
                        "state.directory: task {id}: {error}; give each instance a directory of its own"
                    ))));
                }
                Err(error @ (StoreError::Format { .. } | StoreError::Corrupt { .. })) => {
                    self.quarantine(id, &error.to_string())?;
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

    fn quarantine(&mut self, id: TaskId, reason: &str) -> Result<(), Halt> {
        self.options.telemetry.store_quarantined(id, reason);
        self.directory.quarantine(id, reason).map(drop).map_err(|error| {
            Halt::Fatal(FatalError::Other {
                context: format!("state of task {id} can't be set aside"),
                source: error.into(),
            })
        })
    }

    fn set_state_aside(&mut self, id: TaskId, state: TaskState, reason: &str) -> Result<TaskState, Halt> {
        if let Err(error) = state.close() {
            tracing::warn!(target: "headrace::runtime", task = %id, %error, "closing the store failed");
        }
        self.quarantine(id, reason)?;
        self.open_state(id)
    }

    /// Applies each changelog from where the state stands to its end; false when the state does not fit (rule R-19).
    fn catch_up(&mut self, id: TaskId, state: &mut TaskState, changelogs: &[Changelog]) -> Result<bool, Halt> {
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

    fn settled_bounds(&mut self, changelog: &Changelog) -> Result<Bounds, Halt> {
        let deadline = Instant::now() + 2 * self.options.kafka.transaction_timeout;
        let consumer = std::sync::Arc::clone(&self.consumer);
        let pending = &mut self.pending;
        let heartbeat = &self.heartbeat;
        let bounds = self.reader.settled_bounds(&changelog.at, deadline, |wait| {
            heartbeat.beat();
            if let Event::Rebalance(rebalance) = consumer.poll(wait) {
                pending.push_back(rebalance);
            }
        });
        bounds.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))
    }

    fn read_changelog(
        &mut self,
        id: TaskId,
        state: &mut TaskState,
        changelog: &Changelog,
        from: Offset,
        bounds: Bounds,
    ) -> Result<(), Halt> {
        let started = Instant::now();
        let consumer = std::sync::Arc::clone(&self.consumer);
        let (pending, heartbeat, telemetry) = (&mut self.pending, &self.heartbeat, &self.options.telemetry);
        let store = self.topology.stores()[changelog.store.0].spec.name.as_str();
        let mut batch: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        let (mut bytes, mut records) = (0, 0_u64);
        let bulk = state.changelog_next(changelog.store).is_none();
        if bulk {
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
            |wait| {
                heartbeat.beat();
                if let Event::Rebalance(rebalance) = consumer.poll(wait) {
                    pending.push_back(rebalance);
                }
            },
        );
        // The end lies behind the last record: control records follow it.
        let next = result?.max(bounds.end);
        let pairs = batch.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        state.restore(changelog.store, pairs, next).map_err(RestoreError::Store)?;
        if bulk {
            state.end_bulk(changelog.store).map_err(RestoreError::Store)?;
        }
        telemetry.metrics.restore_records.with([]).inc_by(batch.len() as u64);
        tracing::info!(
            target: "headrace::runtime", task = %id, store, records, seconds = started.elapsed().as_secs_f64(),
            "read {records} changelog records"
        );
        Ok(())
    }
}
