//! What a stream thread does while no record comes: it passes transaction markers, and looks whether the cluster is back.

use std::time::Duration;

use crate::clock::Instant;
use crate::error::{Dependency, FatalError};
use crate::kafka::KafkaFailure;
use crate::position::{Offset, TopicPartition};

use super::halt::Halt;
use super::stream_thread::{POLL_WAIT, StreamThread};

/// How long no record has come before positions are moved past transaction markers.
const QUIET: Duration = Duration::from_millis(500);
/// Patience with one of the look-ups that this takes.
const LOOKUP: Duration = Duration::from_secs(2);
/// How often a cluster that is away is asked after.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl StreamThread {
    /// Moves positions past the transaction markers at the end of a partition, so that the committed lag becomes zero
    /// (rule R-7). Only in quiet moments, since it asks the broker.
    pub(super) fn pass_markers(&mut self) -> Result<(), Halt> {
        if self.ended.is_empty() || self.has_uncommitted() || self.busy_at.elapsed() < QUIET {
            return Ok(());
        }
        let Some(partition) = self.ended.pop_first() else { return Ok(()) };
        let inputs: Vec<_> = self.tasks.inputs().into_iter().filter(|at| at.partition == partition).collect();
        for at in inputs {
            match self.end_behind_markers(&at) {
                Ok(Some(end)) => self.skip_to(&at, end)?,
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(target: "headrace::runtime", %at, %error, "looking past the last record failed");
                    self.ended.insert(partition);
                    self.busy_at = Instant::now();
                }
            }
        }
        Ok(())
    }

    fn end_behind_markers(&mut self, at: &TopicPartition) -> Result<Option<Offset>, KafkaFailure> {
        let known = self.tasks.find(&at.topic, at.partition).and_then(|owned| owned.task.next(&at.topic));
        let from = match known {
            Some(next) => Some(next),
            None => self.consumer.committed(std::slice::from_ref(at), LOOKUP)?.into_iter().find_map(|(_, next)| next),
        };
        let Some(from) = from else { return Ok(None) };
        if let Some(position) = self.consumer.position(at) {
            return Ok((from < position).then_some(position));
        }
        let (_, end) = self.consumer.bounds(at, LOOKUP)?;
        Ok((from < end && self.reader.is_empty(at, from, LOOKUP)?).then_some(end))
    }

    fn skip_to(&mut self, at: &TopicPartition, end: Offset) -> Result<(), Halt> {
        let Some(owned) = self.tasks.find(&at.topic, at.partition) else { return Ok(()) };
        let skipped = owned.task.skip_to(&at.topic, end);
        skipped.map_err(|fault| Halt::Fatal(FatalError::Environment(fault.to_string())))?;
        self.open();
        Ok(())
    }

    /// Asks whether the cluster is back, since an idle thread would not notice.
    pub(super) fn look_for_kafka(&mut self) {
        if self.kafka_away.is_some_and(|asked| asked.elapsed() >= ASK_AGAIN) {
            self.kafka_away = Some(Instant::now());
            self.reader.serve();
            if self.is_kafka_there(POLL_WAIT * 10) {
                self.kafka_back();
            }
        }
    }

    pub(super) fn is_kafka_there(&self, patience: Duration) -> bool {
        let topic = self.topology.sink_topics().first().map_or("__consumer_offsets", String::as_str);
        self.consumer.is_reachable(topic, patience)
    }

    pub(super) fn kafka_back(&mut self) {
        if self.kafka_away.take().is_some() {
            self.options.telemetry.dependency_back(&Dependency::Kafka);
        }
    }
}
