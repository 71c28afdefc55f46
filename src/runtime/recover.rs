//! After anything that went wrong: abort by a new producer, reconcile, read again from what is committed.
//!
//! There is one path, not several: the old producer is thrown away, and `init_transactions` of a new one with the same id
//! makes the broker abort what is open and refuse what is still on its way (rules ). Whether a transaction of
//! unknown outcome had committed is read from the changelogs (rule R-18).

use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Instant;
use crate::error::Dependency;
use crate::kafka::ProduceError;
use crate::position::{Offset, TaskId, TopicPartition};
use crate::store::StoreError;
use crate::telemetry::{AbortReason, RecycleReason};

use super::halt::Halt;
use super::restore::CaughtUp;
use super::stream_thread::{StreamThread, create_producer};
use super::tally::Tally;

/// How long a producer that takes over its id is waited for at a time, before the group is polled.
const SLICE: Duration = Duration::from_millis(500);
/// Patience with one try of a step that needs the cluster.
const STEP: Duration = Duration::from_secs(10);

/// Next offsets of input partitions.
type Positions = Vec<(TopicPartition, Offset)>;

impl StreamThread {
    /// Takes over the transactional id, for as long as it takes.
    pub(super) fn initialise(&mut self) -> Result<(), Halt> {
        loop {
            match self.producer.initialise((Instant::now() + SLICE).into_std()) {
                Ok(()) => break,
                // The producer goes on trying by itself; the group must not wait for it.
                Err(ProduceError::Again(reason)) => {
                    if self.initialising.get_or_insert_with(Instant::now).elapsed() >= 3 * SLICE {
                        self.options.telemetry.dependency_away(&Dependency::Kafka, &reason);
                    }
                    self.rest()?;
                    self.keep_membership(Duration::from_millis(20))?;
                    if self.shutdown.is_cancelled() {
                        return Ok(());
                    }
                }
                Err(error @ (ProduceError::Fatal(_) | ProduceError::Denied(_))) => return Err(error.into()),
                Err(error) => {
                    self.options.telemetry.dependency_away(&Dependency::Kafka, &error.to_string());
                    if self.pause_between_tries()? {
                        return Ok(());
                    }
                    self.producer = create_producer(&self.options, self.index)?;
                }
            }
        }
        self.initialising = None;
        self.options.telemetry.dependency_back(&Dependency::Kafka);
        Ok(())
    }

    /// Aborts, and gets every task back to its committed state and position.
    pub(super) fn recover(&mut self, class: AbortReason, reason: &str) -> Result<(), Halt> {
        self.options.telemetry.transaction_aborted(&self.name, class, reason);
        if class == AbortReason::Fenced {
            self.options.telemetry.fenced(&self.name, reason);
        }
        self.gaps.begin(&self.tasks.inputs(), Instant::now());
        self.open_since = None;
        self.sealed = None;
        self.tally = Tally::default();
        self.blocked_since = None;
        self.dispatcher.abandon();
        self.rest()?;
        if self.failures > 0 && self.pause_between_tries()? {
            return Ok(());
        }
        self.failures += 1;
        self.producer = create_producer(&self.options, self.index)?;
        let recycled = if class == AbortReason::Fenced { RecycleReason::Fenced } else { RecycleReason::Suspicious };
        self.options.telemetry.producer_recycled(&self.name, recycled, reason);
        self.initialise()?;
        if self.shutdown.is_cancelled() {
            return Ok(());
        }
        for id in self.tasks.ids() {
            let Some(mut owned) = self.tasks.remove(id) else { continue };
            owned.task.rewind();
            if class == AbortReason::Store {
                self.put_off(owned);
                continue;
            }
            match self.reconcile(&mut owned) {
                Ok(CaughtUp::Yes) => self.tasks.insert(owned),
                Ok(CaughtUp::Unfit | CaughtUp::Interrupted) => self.put_off(owned),
                Err(halt) => {
                    self.put_off(owned);
                    return Err(halt);
                }
            }
        }
        for (id, reason) in std::mem::take(&mut self.condemned) {
            self.quarantine(id, &reason)?;
        }
        self.check_topics()?;
        self.rewind_input()
    }

    /// Takes a new producer after a commit that may have left a request on its way: its `init_transactions` makes the broker
    /// refuse that (rule R-11).
    pub(super) fn replace_suspect(&mut self) -> Result<(), Halt> {
        let Some(reason) = self.producer.suspicion().map(str::to_owned) else { return Ok(()) };
        self.producer = create_producer(&self.options, self.index)?;
        self.options.telemetry.producer_recycled(&self.name, RecycleReason::Suspicious, &reason);
        self.initialise()
    }

    /// What a failure of a task's store means: it is opened anew, and set aside before that if it is proven unusable.
    pub(super) fn store_failed(&mut self, id: TaskId, error: &StoreError) -> Halt {
        if error.is_unusable() {
            self.condemned.insert(id, error.to_string());
        }
        Halt::Recover(AbortReason::Store, format!("task {id}: {error}"))
    }

    /// Moves the consumer back to the committed positions.
    fn rewind_input(&mut self) -> Result<(), Halt> {
        let mut inputs = self.tasks.inputs();
        inputs.extend(self.unopened.iter().cloned());
        if inputs.is_empty() {
            return Ok(());
        }
        let (positions, beginnings) = self.starts(inputs)?;
        let sought = self.consumer.seek(&positions, STEP);
        sought.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
        self.begun_anew(&beginnings);
        Ok(())
    }

    /// Where reading goes on: at the committed positions, or where the configuration has it begin. Besides, those of them that
    /// are the beginnings of topics made anew.
    pub(super) fn starts(&mut self, mut inputs: Vec<TopicPartition>) -> Result<(Positions, Positions), Halt> {
        let beginnings = self.beginnings(&mut inputs, STEP)?;
        let tables = self.tables(&mut inputs);
        let committed = self.consumer.committed(&inputs, STEP);
        let committed = committed.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
        let mut positions: Positions = Vec::with_capacity(committed.len());
        positions.extend(beginnings.iter().cloned().chain(tables));
        for (at, next) in committed {
            let next = match next {
                Some(next) => next,
                None => {
                    let bounds = self.consumer.bounds(&at, STEP);
                    let (first, end) = bounds.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
                    if self.options.kafka.starts_at_beginning(&at.topic) { first } else { end }
                }
            };
            positions.push((at, next));
        }
        Ok((positions, beginnings))
    }

    /// Waits between two tries, keeping the membership; true when the shutdown was asked for meanwhile.
    fn pause_between_tries(&mut self) -> Result<bool, Halt> {
        let until = Instant::now() + Backoff::RESTART.delay(self.failures, fastrand::f64());
        self.failures += 1;
        self.rest()?;
        while Instant::now() < until && !self.shutdown.is_cancelled() {
            self.keep_membership(Duration::from_millis(20))?;
        }
        Ok(self.shutdown.is_cancelled())
    }
}
