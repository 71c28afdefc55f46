//! An input that was deleted and made anew under its name, while it was read.
//!
//! Its committed positions are of the old topic: the broker forgets them with the topic, but a transaction that was open
//! then may have put them back. So it is read from its beginning, whatever is committed, and the new position is committed
//! at once. What the old topic still had is gone; the stores keep what they had learnt from it. If it has fewer partitions
//! now, that would be in the wrong tasks, and the application ends and says so.

use std::time::Duration;

use crate::error::FatalError;
use crate::position::{Offset, TopicPartition};
use crate::telemetry::AbortReason;

use super::aside::ask;
use super::environment::{Environment, Problem};
use super::halt::Halt;
use super::stream_thread::StreamThread;
use super::tasks::Tasks;

impl StreamThread {
    /// Recovers, and reads the topic from its beginning.
    pub(super) fn made_anew(&mut self, topic: String) -> Result<(), Halt> {
        let reason = format!("topic {topic} was deleted and made anew; it is read from its beginning");
        self.condemn_tables(&topic);
        self.anew.insert(topic);
        self.check_topics = true;
        self.recover(AbortReason::Lost, &reason)
    }

    /// Takes the partitions of such topics out of the list, and gives them with their first offsets.
    pub(super) fn beginnings(
        &mut self,
        inputs: &mut Vec<TopicPartition>,
        patience: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, Halt> {
        let mut beginnings = Vec::new();
        for at in inputs.extract_if(.., |at| self.anew.contains(&*at.topic)) {
            let away = |error: crate::kafka::KafkaFailure| Halt::Recover(AbortReason::Broker, error.to_string());
            // The new topic may have fewer partitions: the others are about to be revoked.
            if at.partition.0 < self.consumer.partitions(&at.topic, patience).map_err(away)? {
                let (first, _) = self.consumer.bounds(&at, patience).map_err(away)?;
                beginnings.push((at, first));
            }
        }
        Ok(beginnings)
    }

    /// The consumer stands at these beginnings now: they are committed with the next transaction.
    pub(super) fn begun_anew(&mut self, beginnings: &[(TopicPartition, Offset)]) {
        self.commit_beginnings(beginnings);
        // The others follow when their tasks are restored.
        let open = |at: &TopicPartition, tasks: &mut Tasks| tasks.find(&at.topic, at.partition).is_some();
        let later = beginnings.iter().filter(|(at, _)| !open(at, &mut self.tasks));
        self.restorer.begun_anew.extend(later.cloned());
        self.anew.clear();
    }

    pub(super) fn commit_beginnings(&mut self, beginnings: &[(TopicPartition, Offset)]) {
        for (at, first) in beginnings {
            if let Some(owned) = self.tasks.find(&at.topic, at.partition)
                && owned.task.skip_to(&at.topic, *first).is_ok()
            {
                self.open();
            }
        }
    }

    /// Looks, after an input has gone or was made anew, whether the topics still fit: it may be split differently now.
    pub(super) fn check_topics(&mut self) -> Result<(), Halt> {
        if !self.check_topics {
            return Ok(());
        }
        let environment = Environment::new(self.topology.clone(), self.options.clone());
        let answered = ask(&self.options, "topics", move || environment.check_again());
        let answered = answered
            .map_err(|error| FatalError::Other { context: "starting a thread".into(), source: error.into() })?;
        match self.await_answer(&answered, None)? {
            Some(Ok(())) => {}
            Some(Err(Problem::Fatal(error))) => return Err(Halt::Fatal(error)),
            Some(Err(Problem::Away(away))) => return Err(Halt::Recover(AbortReason::Broker, away.to_string())),
            None if self.shutdown.is_cancelled() => {}
            None => return Err(Halt::Recover(AbortReason::Broker, "the topics could not be looked at".into())),
        }
        self.check_topics = false;
        Ok(())
    }
}
