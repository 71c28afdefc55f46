//! What tasks have produced, on its way to the producer and the dispatcher; and topics that are left alone because nothing can be
//! produced to them.
//!
//! Topics of the topology are there when it starts, and one that goes is a human's matter: the application ends, and says so. A topic
//! that a record has named is a matter of that record. It costs the transaction, once, and is avoided for a while: whoever asks after
//! it before ([`OwnTopics`](crate::processor::OwnTopics)) is told so, and has time to do something else.

use crate::kafka::Outgoing;
use crate::position::{Origin, TaskId};
use crate::processor::{Destination, TopicIndex};
use crate::record::{Headers, Timestamp};
use crate::telemetry::{AbortReason, Metrics};
use crate::topology::Topology;

use super::halt::Halt;
use super::stream_thread::StreamThread;

/// What the metrics call all topics together that records name: these are data, of any number, and each series is kept for good. No
/// topic has such a name.
pub(super) const NAMED: &str = "(named)";

static NO_HEADERS: Headers = Headers::new();

/// Records that were produced, by topic, since the counters were last told.
pub(super) struct Produced {
    /// Of the topology's topics.
    known: Vec<u64>,
    /// Of all that records name.
    named: u64,
}

impl Produced {
    pub(super) fn new(topology: &Topology) -> Self {
        Produced { known: vec![0; topology.sink_topics().len()], named: 0 }
    }

    #[inline]
    fn count(&mut self, destination: &Destination) {
        match destination {
            Destination::Known(TopicIndex(topic)) => self.known[*topic] += 1,
            Destination::Named(_) => self.named += 1,
        }
    }

    fn tell(&mut self, topics: &[String], metrics: &Metrics) {
        let known = topics.iter().map(String::as_str).zip(&mut self.known);
        for (topic, count) in known.chain([(NAMED, &mut self.named)]).filter(|(_, count)| **count > 0) {
            metrics.records_out.with([topic]).inc_by(std::mem::take(count));
        }
    }
}

impl StreamThread {
    /// Tells the counters what a batch has added.
    pub(super) fn count(&mut self) {
        let metrics = &self.options.telemetry.metrics;
        for (source, count) in self.tasks.take_counts(&self.topology) {
            metrics.records_in.with([source]).inc_by(count);
        }
        self.produced.tell(self.topology.sink_topics(), metrics);
    }

    /// Hands a task's effects to the producer and the dispatcher; `timestamp` is that of the changelog records.
    pub(super) fn carry_out(
        &mut self,
        task: TaskId,
        timestamp: Timestamp,
        origin: impl Fn() -> Origin,
    ) -> Result<(), Halt> {
        let Some(owned) = self.tasks.get_mut(task) else { return Ok(()) };
        let (producer, topics) = (&mut self.producer, self.topology.sink_topics());
        let changelogs = &owned.changelogs;
        owned.task.state().publish_changelog(|write| {
            let Some(changelog) = changelogs.iter().find(|changelog| changelog.store == write.store) else {
                return Ok(());
            };
            producer.append(Outgoing {
                topic: &changelog.at.topic,
                named: false,
                partition: Some(changelog.at.partition),
                key: Some(write.key),
                value: write.value,
                timestamp,
                headers: &NO_HEADERS,
                slot: Some(changelog.slot),
            })
        })?;
        let effects = owned.task.effects();
        for output in effects.outputs() {
            self.produced.count(&output.topic);
            producer.append(Outgoing {
                topic: output.topic.name(topics),
                named: matches!(output.topic, Destination::Named(_)),
                partition: output.partition,
                key: effects.key(output),
                value: effects.value(output),
                timestamp: output.timestamp,
                headers: &output.headers,
                slot: None,
            })?;
        }
        self.dispatcher.push(effects, origin);
        self.tally.add(effects);
        effects.clear();
        Ok(())
    }

    /// A topic that a record has named can't be written to: it is left alone for a while, and all else begins again.
    pub(super) fn avoid(&mut self, topic: &str, reason: &str) -> Result<(), Halt> {
        self.options.kafka.avoided.add(topic, reason);
        self.recover(AbortReason::Broker, reason)
    }
}
