//! Answers rebalances: commit or abort first, then give up or take over (rule R-14), and the orderly end (rule R-16).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Instant;
use crate::error::FatalError;
use crate::kafka::Rebalance;
use crate::position::{TaskId, TopicPartition};
use crate::telemetry::AbortReason;

use super::aside::ask;
use super::halt::Halt;
use super::stream_thread::StreamThread;
use super::tally::Tally;
use super::tasks::OwnedTask;

/// How long a revoke waits for external sinks before it aborts instead of committing.
const REVOKE_PATIENCE: Duration = Duration::from_secs(3);
/// How long a stop waits for a sign of the broker before it gives up the commit.
const REACHABLE: Duration = Duration::from_secs(2);
/// What closing the clients is granted when the deadline has passed already.
const CLOSING: Duration = Duration::from_millis(500);

impl StreamThread {
    pub(super) fn rebalance(&mut self, rebalance: Rebalance) -> Result<(), Halt> {
        let started = Instant::now();
        self.orphans.look_again(started);
        match rebalance {
            Rebalance::Assigned(partitions) => {
                self.assign(&partitions)?;
                self.gaps.begin(&partitions, started);
                self.note_interruption(started.elapsed());
                let owned = self.tasks.inputs().len() + self.unopened.len();
                let (zero, took) = (Duration::ZERO, started.elapsed());
                self.options.telemetry.rebalanced(partitions.len(), 0, 0, owned, zero, took);
                self.options.telemetry.health.assigned();
            }
            Rebalance::Revoked { partitions, lost } => {
                let result = self.revoke(&partitions, lost);
                let owned = self.tasks.inputs().len() + self.unopened.len();
                let (revoked, gone) = if lost { (0, partitions.len()) } else { (partitions.len(), 0) };
                let (took, zero) = (started.elapsed(), Duration::ZERO);
                self.gaps.forget(&partitions);
                self.note_interruption(took);
                self.options.telemetry.rebalanced(0, revoked, gone, owned, took, zero);
                result?;
            }
        }
        Ok(())
    }

    fn assign(&mut self, partitions: &[TopicPartition]) -> Result<(), Halt> {
        self.note_membership();
        let assigned = self.consumer.assign(partitions);
        assigned.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
        let mut created = BTreeSet::new();
        for at in partitions {
            let id = self.task_of(at)?;
            // One that reads several topics is made once.
            if !self.tasks.contains(id) && created.insert(id) {
                self.options.telemetry.task_created(id);
            }
            if !self.unopened.contains(at) {
                self.unopened.push(at.clone());
            }
        }
        self.check_topics()
    }

    pub(super) fn task_of(&mut self, at: &TopicPartition) -> Result<TaskId, Halt> {
        let id = self.tasks.task_of(&self.topology, at);
        Ok(id.ok_or_else(|| FatalError::Environment(format!("{at} was assigned, but no source reads it")))?)
    }

    fn revoke(&mut self, partitions: &[TopicPartition], lost: bool) -> Result<(), Halt> {
        let open = self.has_uncommitted();
        let settled = !lost && open && self.settle_within(REVOKE_PATIENCE);
        let result = match (open, lost, settled) {
            (false, _, _) => Ok(()),
            (true, false, true) => self.commit(),
            (true, false, false) => {
                Err(Halt::Recover(AbortReason::External, "external sinks did not settle in time".into()))
            }
            (true, true, _) => {
                Err(Halt::Recover(AbortReason::Lost, "the group has given the partitions to others".into()))
            }
        };
        // Committed or not: the partitions go. What is staged of closed tasks goes with them.
        for id in self.tasks.ids() {
            let gone = self.tasks.get_mut(id).is_some_and(|owned| {
                for input in owned.inputs.extract_if(.., |input| partitions.contains(input)) {
                    // A position that is not ours any more must not be committed over that of its new owner.
                    owned.task.forget(&input.topic);
                }
                owned.inputs.is_empty()
            });
            if gone {
                self.close_task(id);
            }
        }
        self.give_up_unopened(partitions);
        let unassigned = self.consumer.unassign(partitions);
        unassigned.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
        result
    }

    pub(super) fn give_up_unopened(&mut self, partitions: &[TopicPartition]) {
        let given_up: Vec<_> = self.unopened.extract_if(.., |at| partitions.contains(at)).collect();
        for at in given_up {
            if let Some(id) = self.tasks.task_of(&self.topology, &at)
                && !self.tasks.contains(id)
                && !self.waits_for_restore(id)
            {
                self.restorer.stop(id);
                self.restorer.released(id);
                self.options.telemetry.task_closed(id, &self.store_names(id), true);
            }
        }
    }

    /// Whether some input of the task is still ours.
    fn waits_for_restore(&mut self, id: TaskId) -> bool {
        let (tasks, topology) = (&mut self.tasks, &self.topology);
        self.unopened.iter().any(|at| tasks.task_of(topology, at) == Some(id))
    }

    fn settle_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while !self.dispatcher.is_settled() && Instant::now() < deadline {
            self.dispatcher.wait(Duration::from_millis(5));
            if self.settle_answers().is_err() {
                // Whoever has the task next hears of it again.
                return false;
            }
        }
        self.dispatcher.is_settled()
    }

    pub(super) fn close_task(&mut self, id: TaskId) {
        if let Some(OwnedTask { task, rest, .. }) = self.tasks.remove(id) {
            if let Err(error) = task.into_state().close() {
                tracing::warn!(target: "headrace::runtime", task = %id, %error, "closing the store failed");
            }
            if rest.is_some() {
                self.options.telemetry.task_rests(id, None);
            }
            self.options.telemetry.task_closed(id, &self.store_names(id), true);
            self.restorer.released(id);
        }
    }

    /// Drops everything without a commit.
    pub(super) fn abandon(&mut self) {
        self.restorer.stop_all();
        self.dispatcher.abandon();
        self.open_since = None;
        self.sealed = None;
        self.tally = Tally::default();
        for id in self.tasks.ids() {
            if let Some(owned) = self.tasks.get_mut(id) {
                owned.task.rewind();
            }
            self.close_task(id);
        }
    }

    /// Stops intake, commits, leaves the group, closes the stores; all under the deadline.
    pub(super) fn shut_down(mut self) -> Result<(), FatalError> {
        let deadline = Instant::now() + self.options.shutdown_deadline;
        self.restorer.stop_all();
        let patience = self.options.shutdown_deadline / 2;
        // Calls of a transaction outlive any deadline while the broker is away; what stays open is aborted by it, and
        // processed again by whoever comes next.
        if self.has_uncommitted() && self.settle_within(patience) && self.is_kafka_there(patience.min(REACHABLE)) {
            match self.commit() {
                Ok(()) => {}
                Err(Halt::Fatal(error)) => return Err(error),
                // What was not committed is processed again by whoever comes next.
                Err(halt) => {
                    let reason = halt.to_string();
                    self.options.telemetry.transaction_aborted(&self.name, AbortReason::Shutdown, &reason);
                }
            }
        }
        self.open_since = None;
        self.sealed = None;
        self.tally = Tally::default();
        self.dispatcher.abandon();
        // Nothing is read any more. What can't be paused is about to go.
        _ = self.rest();
        self.consumer.unsubscribe();
        while !self.tasks.is_empty() && Instant::now() < deadline {
            _ = self.keep_membership(Duration::from_millis(50));
            while let Some(rebalance) = self.pending.pop_front() {
                match rebalance {
                    Rebalance::Revoked { partitions, .. } => _ = self.revoke(&partitions, false),
                    // Answered, or the client would not go on to what comes next: giving them up again.
                    Rebalance::Assigned(partitions) => _ = self.consumer.assign(&partitions),
                }
            }
        }
        self.abandon();
        self.drop_clients(deadline);
        Ok(())
    }

    /// Dropping a consumer polls until it is closed, with no deadline of its own: so it happens on a helper thread.
    pub(super) fn drop_clients(mut self, deadline: Instant) {
        for rebalance in std::mem::take(&mut self.pending) {
            self.consumer.answer(&rebalance);
        }
        let StreamThread { heartbeat, consumer, producer, reader, restorer, options, .. } = self;
        heartbeat.stop();
        let closing = ask(&options, "closing", move || drop((consumer, producer, reader, restorer)));
        let left = deadline.saturating_duration_since(Instant::now()).max(CLOSING);
        if !closing.is_ok_and(|closed| closed.recv_timeout(left).is_ok()) {
            tracing::warn!(target: "headrace::runtime", "the clients did not close in time; leaving them to the exit");
        }
    }
}
