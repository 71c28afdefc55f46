//! Pausing input and going on: a target that is away, a schema that is being fetched, a breaker that has tripped.
//!
//! Input rests, the membership does not: whatever is paused, the consumer is polled (rule R-4).

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Instant;
use crate::kafka::Event;
use crate::position::TopicPartition;
use crate::record::RawRecord;
use crate::telemetry::AbortReason;

use super::halt::Halt;
use super::options::Guarantee;
use super::stream_thread::{GRACE, StreamThread};
use super::tasks::Rest;

impl StreamThread {
    /// Pauses a task's input and puts the record back, to be read again.
    pub(super) fn rest_task(&mut self, raw: &RawRecord<'_>, rest: Rest) -> Result<(), Halt> {
        let Some(owned) = self.tasks.find(raw.topic, raw.partition) else { return Ok(()) };
        let back = match rest {
            Rest::Schema(_) => raw.offset,
            Rest::Breaker { .. } => raw.offset.next(),
        };
        self.options.telemetry.task_rests(owned.task.id(), Some(&rest.reason()));
        owned.rest = Some(rest);
        let inputs = owned.inputs.clone();
        let at = TopicPartition { topic: raw.topic.into(), partition: raw.partition };
        self.consumer.pause(&inputs).map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
        self.consumer.seek(&[(at, back)], GRACE).map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))
    }

    /// Resumes tasks whose reason to rest is gone.
    pub(super) fn wake_rested(&mut self) -> Result<(), Halt> {
        let mut woken = Vec::new();
        for owned in self.tasks.iter_mut() {
            let over = match &owned.rest {
                None => false,
                Some(Rest::Schema(id)) => self.loader.is_settled(*id),
                Some(Rest::Breaker { until }) => Instant::now() >= *until,
            };
            if over {
                owned.rest = None;
                self.options.telemetry.task_rests(owned.task.id(), None);
                woken.extend(owned.inputs.iter().cloned());
            }
        }
        if woken.is_empty() || self.resting {
            return Ok(());
        }
        self.consumer.resume(&woken).map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))
    }

    /// The lanes are behind: waits for them, and after a while pauses the input and keeps the membership.
    pub(super) fn wait_for_external(&mut self) -> Result<(), Halt> {
        self.dispatcher.flush();
        self.dispatcher.wait(Duration::from_millis(2));
        self.producer.serve(Duration::ZERO)?;
        let blocked = self.blocked_since.get_or_insert_with(Instant::now).elapsed();
        if blocked < GRACE {
            return Ok(());
        }
        self.rest()?;
        self.keep_membership(Duration::from_millis(20))?;
        let old = self.open_since.is_some_and(|since| since.elapsed() > self.options.kafka.transaction_timeout / 2);
        if old && self.options.guarantee == Guarantee::ExactlyOnce {
            // Better now than by the broker: what was sent outside is idempotent and will be sent again.
            return Err(Halt::Recover(AbortReason::External, "an external sink has not settled in time".into()));
        }
        Ok(())
    }

    /// Rests while a target is away and nothing is open; wakes when all are back.
    pub(super) fn rest_or_wake(&mut self) -> Result<(), Halt> {
        let away = self.dispatcher.is_away() && !self.has_uncommitted();
        match (away, self.resting) {
            (true, false) => self.rest(),
            (false, true) => self.wake(),
            _ => Ok(()),
        }
    }

    pub(super) fn rest(&mut self) -> Result<(), Halt> {
        if !self.resting {
            self.resting = true;
            let inputs = self.tasks.inputs();
            self.consumer.pause(&inputs).map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
        }
        Ok(())
    }

    fn wake(&mut self) -> Result<(), Halt> {
        self.resting = false;
        let awake = self.tasks.iter().filter(|owned| owned.rest.is_none());
        let inputs: Vec<_> = awake.flat_map(|owned| owned.inputs.iter().cloned()).collect();
        self.consumer.resume(&inputs).map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))
    }

    /// Polls while everything is paused. A record that comes all the same is put back.
    pub(super) fn keep_membership(&mut self, wait: Duration) -> Result<(), Halt> {
        let consumer = Arc::clone(&self.consumer);
        self.heartbeat.beat();
        self.note_poll();
        match consumer.poll(wait) {
            Event::Rebalance(rebalance) => self.pending.push_back(rebalance),
            Event::Record(fetched) => {
                let raw = fetched.record();
                let at = TopicPartition { topic: raw.topic.into(), partition: raw.partition };
                let back = consumer.seek(&[(at, raw.offset)], GRACE);
                back.map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))?;
            }
            // Goes back by itself.
            Event::Records(portion) => drop(portion),
            Event::Error(error) => self.consumer_error(error)?,
            Event::End(partition) => self.note_end(partition),
            Event::Idle => {}
        }
        Ok(())
    }
}
