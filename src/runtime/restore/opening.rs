//! The stream thread's part of a restore: asks for it, and takes over what is restored.

use std::sync::Arc;

use crate::error::FatalError;
use crate::kafka::KafkaFailure;
use crate::position::{TaskId, TopicPartition};
use crate::record::RawRecord;
use crate::store::{self, StateDirectory};
use crate::task::{Limits, Task};
use crate::telemetry::{AbortReason, TaskState, Telemetry};

use super::super::halt::Halt;
use super::super::stream_thread::{GRACE, StreamThread};
use super::super::tasks::{OwnedTask, Rest};
use super::{Outcome, Restored};

impl StreamThread {
    /// Takes over the tasks that are restored, and has those restored whose partitions have come. Called in each turn:
    /// whatever a restore takes, the thread goes on with its other tasks (rule R-15).
    pub(in crate::runtime) fn take_restored(&mut self) -> Result<(), Halt> {
        while let Some((report, wanted)) = self.restorer.next()? {
            match report.outcome {
                Outcome::Restored(restored) if wanted => self.take_over(report.id, *restored)?,
                Outcome::Failed(error) if wanted => return Err(Halt::Fatal(error)),
                outcome => {
                    if let Outcome::Restored(restored) = outcome {
                        close(report.id, restored.state);
                    }
                    // It may have told its progress after the task was given up.
                    self.options.telemetry.restore_stopped(report.id, &self.store_names(report.id));
                }
            }
        }
        self.ask_for_restores()
    }

    fn ask_for_restores(&mut self) -> Result<(), Halt> {
        let mut given = Vec::new();
        for at in std::mem::take(&mut self.unopened) {
            let id = self.task_of(&at)?;
            if self.tasks.contains(id) {
                given.extend(self.give_input(id, vec![at])?);
                continue;
            }
            self.unopened.push(at);
            if !self.restorer.is_busy_with(id) {
                self.options.telemetry.task_state(id, TaskState::Created);
                let changelogs = self.tasks.changelogs(&self.topology, &self.options.kafka.application_id, id);
                self.restorer.begin(id, changelogs);
            }
        }
        self.resume(&given)
    }

    fn take_over(&mut self, id: TaskId, restored: Restored) -> Result<(), Halt> {
        let Restored { state, changelogs, records, took } = restored;
        let limits = Limits { max_output_bytes: self.options.kafka.max_record_bytes };
        let mut task = Task::new(&self.topology, &self.options.kafka.application_id, id, state, limits);
        task.look_up_in(Arc::clone(&self.options.globals));
        self.lowered.iter().for_each(|(topic, bytes)| task.lower_limit(topic, *bytes));
        self.tasks.insert(OwnedTask { task, inputs: Vec::new(), changelogs, rest: None });
        self.options.telemetry.task_restored(id, &self.store_names(id), records, took);
        let (tasks, topology) = (&mut self.tasks, &self.topology);
        let inputs = self.unopened.extract_if(.., |at| tasks.task_of(topology, at) == Some(id)).collect();
        let given = self.give_input(id, inputs)?;
        self.resume(&given)
    }

    /// Partitions go to a task that is open. Gives those that are to be read from now on.
    fn give_input(&mut self, id: TaskId, inputs: Vec<TopicPartition>) -> Result<Vec<TopicPartition>, Halt> {
        let Some(owned) = self.tasks.get_mut(id) else { return Ok(Vec::new()) };
        owned.inputs.extend(inputs.iter().cloned());
        let rests = self.resting || owned.rest.is_some();
        let anew: Vec<_> = self.restorer.begun_anew.extract_if(.., |(at, _)| inputs.contains(at)).collect();
        self.commit_beginnings(&anew);
        self.begin_tables(id, &inputs)?;
        Ok(if rests { Vec::new() } else { inputs })
    }

    fn resume(&self, inputs: &[TopicPartition]) -> Result<(), Halt> {
        if inputs.is_empty() {
            return Ok(());
        }
        self.consumer.resume(inputs).map_err(|error| broker(&error))
    }

    /// A record of a partition whose task is not open yet, fetched before the pause had reached the client: it comes again.
    /// False if the partition is not ours any more, and its new owner reads it.
    pub(in crate::runtime) fn put_back(&mut self, raw: &RawRecord<'_>) -> Result<bool, Halt> {
        let at = TopicPartition { topic: raw.topic.into(), partition: raw.partition };
        if !self.unopened.contains(&at) {
            return Ok(false);
        }
        self.consumer.seek(&[(at, raw.offset)], GRACE).map_err(|error| broker(&error))?;
        Ok(true)
    }

    /// Closes a task whose partitions stay; it is opened again, and restored, when the thread comes to it.
    pub(in crate::runtime) fn put_off(&mut self, owned: OwnedTask) {
        let id = owned.task.id();
        if let Some(Rest::Schema(_) | Rest::Breaker { .. }) = owned.rest {
            self.options.telemetry.task_rests(id, None);
        }
        self.unopened.extend(owned.inputs);
        self.options.telemetry.task_created(id);
        close(id, owned.task.into_state());
    }

    /// Names of a task's stores.
    pub(in crate::runtime) fn store_names(&self, id: TaskId) -> Vec<&str> {
        self.topology.stores_of(id.sub_topology).map(|(_, store)| store.spec.name.as_str()).collect()
    }

    pub(in crate::runtime) fn quarantine(&mut self, id: TaskId, reason: &str) -> Result<(), Halt> {
        Ok(quarantine(&self.options.telemetry, &self.directory, id, reason)?)
    }
}

fn broker(error: &KafkaFailure) -> Halt {
    Halt::Recover(AbortReason::Broker, error.to_string())
}

/// Sets a task's state aside (rule R-19).
pub(super) fn quarantine(
    telemetry: &Telemetry,
    directory: &StateDirectory,
    id: TaskId,
    reason: &str,
) -> Result<(), FatalError> {
    telemetry.store_quarantined(id, reason);
    directory.quarantine(id, reason).map(drop).map_err(|error| FatalError::Other {
        context: format!("state of task {id} can't be set aside"),
        source: error.into(),
    })
}

pub(super) fn close(id: TaskId, state: store::TaskState) {
    if let Err(error) = state.close() {
        tracing::warn!(target: "headrace::runtime", task = %id, %error, "closing the store failed");
    }
}
