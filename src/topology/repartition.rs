//! Repartition topics: an edge that goes through a topic of the application's own, so that its records meet others by a new key.
//!
//! ```text
//!  sub-topology 0                                                          sub-topology 1
//!  source ─▶ processor that gives a new key ─▶ sink ─▶ <application-id>-<name>-repartition ─▶ source ─▶ processor, stores …
//! ```
//!
//! What is written to the topic is part of the transaction that read the input, and is read when that has committed: the
//! second half sees each record once. Key, value, timestamp and headers go through as they are. Once it is processed, and that
//! is committed, a record is deleted from the topic.

use std::fmt;
use std::sync::Arc;

use crate::codec::{Binding, Codec, DecodeError, RecordCodec};
use crate::processor::{SinkNode, TopicIndex};
use crate::record::RawRecord;

use super::builder::{Builder, Stream};
use super::checks::Edge;
use super::describe::{NodeKind, NodeSketch};
use super::graph::{Subject, SubjectPart, Topology};
use super::topics::Topics;

/// A topic between two sub-topologies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repartition {
    /// Its name in the topology.
    pub name: String,
    /// Which of [`Topology::sink_topics`] it is.
    pub topic: TopicIndex,
    /// Which of [`Topology::sources`] reads it.
    pub source: usize,
    /// Partitions, where the topology says so; else as many as the upstream sources have, or as those that its records are
    /// joined with.
    pub partitions: Option<i32>,
    /// The sub-topology that writes it.
    pub from: u32,
    /// The one that reads it.
    pub to: u32,
}

impl Builder {
    /// Sends an edge through a topic of the application's own, by its records' keys: equal keys meet in one task, whatever
    /// partitions they came from. To be put after a processor that gives records a new key, and before the one that counts,
    /// joins or remembers by it. A record without a key goes to any partition.
    ///
    /// The topic is `<application-id>-<name>-repartition`; `apply` makes it. It has as many partitions as the sources above it.
    pub fn repartition<K: Send + 'static, V: Send + 'static>(
        &mut self,
        name: &str,
        stream: Stream<K, V>,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Stream<K, V> {
        self.through_topic(name, stream, None, Arc::new(key), Arc::new(value))
    }

    /// The same with a number of partitions of one's own. It can't be changed once records have gone through: equal keys would
    /// meet elsewhere.
    pub fn repartition_into<K: Send + 'static, V: Send + 'static>(
        &mut self,
        name: &str,
        stream: Stream<K, V>,
        partitions: i32,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) -> Stream<K, V> {
        if partitions < 1 {
            self.mistake(name, "is split into less than one partition");
        }
        self.through_topic(name, stream, Some(partitions), Arc::new(key), Arc::new(value))
    }

    fn through_topic<K: Send + 'static, V: Send + 'static>(
        &mut self,
        name: &str,
        stream: Stream<K, V>,
        partitions: Option<i32>,
        key: Arc<dyn Codec<K>>,
        value: Arc<dyn Codec<V>>,
    ) -> Stream<K, V> {
        let number = self.repartitions.len();
        // As Kafka Streams draws it: without the application's id, which a topology does not know.
        let topic = format!("{name}-repartition");
        let codec = format!("{}, {}", key.name(), value.name());
        let (sink, source) = (format!("{topic}-sink"), format!("{topic}-source"));
        let kind = NodeKind::Sink { topic: topic.clone(), codec };
        self.node(NodeSketch::new(&sink, kind, Some(stream.node)));
        self.codec_use(Subject::Repartition(number), SubjectPart::Key, &key);
        self.codec_use(Subject::Repartition(number), SubjectPart::Value, &value);
        let index = TopicIndex(self.sink_topics.len());
        self.sink_topics.push(topic.clone());
        let (keys, values) = (Arc::clone(&key), Arc::clone(&value));
        self.attach(&sink, stream, move || Box::new(SinkNode::new(index, Arc::clone(&keys), Arc::clone(&values))));
        let (from, read) = (stream.node, self.sources.len());
        let output = self.read_topics(&source, Topics::from(&topic), Arc::new(Pair { key, value }));
        let own = Repartition { name: name.to_owned(), topic: index, source: read, partitions, from: 0, to: 0 };
        self.repartitions.push((own, from, output.node));
        output
    }

    /// Whether a topic that is produced to is one of these.
    pub(super) fn is_repartition(&self, topic: usize) -> bool {
        self.repartitions.iter().any(|(own, ..)| own.topic.0 == topic)
    }

    /// Says which sub-topologies each of them is between.
    pub(super) fn place_repartitions(&mut self, groups: &[u32]) {
        for (own, from, to) in &mut self.repartitions {
            // A handle of another builder is a mistake that is told already.
            own.from = groups.get(*from).copied().unwrap_or_default();
            own.to = groups[*to];
        }
    }

    /// The ways between sub-topologies that are repartition topics.
    pub(super) fn edges_between(&self) -> Vec<Edge> {
        let reason = "goes back to where it comes from: a cycle. Processors on both sides of it can't share a store or a table; \
                      give each side its own";
        let edge =
            |own: &Repartition| Edge { node: own.name.clone(), from: own.from, to: own.to, reason: reason.to_owned() };
        self.repartitions.iter().map(|(own, ..)| edge(own)).collect()
    }
}

impl Topology {
    /// Name of a repartition topic.
    pub fn repartition_topic(application_id: &str, name: &str) -> String {
        format!("{application_id}-{name}-repartition")
    }

    /// The topics between its sub-topologies.
    pub fn repartitions(&self) -> &[Repartition] {
        &self.repartitions
    }

    /// The topic's name, once the topology is [`of_application`](Self::of_application).
    pub fn repartition_name(&self, repartition: &Repartition) -> &str {
        &self.sink_topics[repartition.topic.0]
    }

    /// Whether the topic is between two of its sub-topologies: nobody else writes it, and it is read from its beginning.
    pub fn is_between(&self, topic: &str) -> bool {
        self.repartitions.iter().any(|own| self.repartition_name(own) == topic)
    }

    /// The same topology with its repartition topics under the names that they have for an application.
    #[must_use]
    pub fn of_application(&self, application_id: &str) -> Topology {
        if self.repartitions.is_empty() {
            return self.clone();
        }
        let (mut sources, mut topics) = ((*self.sources).clone(), (*self.sink_topics).clone());
        for own in self.repartitions.iter() {
            let topic = Topology::repartition_topic(application_id, &own.name);
            sources[own.source].topics = Topics::from(&topic);
            topics[own.topic.0] = topic;
        }
        Topology { sources: Arc::new(sources), sink_topics: Arc::new(topics), ..self.clone() }
    }
}

/// Reads what was written with the same codecs, which are bound as writers.
struct Pair<K, V> {
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
}

impl<K: 'static, V: 'static> fmt::Debug for Pair<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?}", self.key, self.value)
    }
}

impl<K: 'static, V: 'static> RecordCodec<K, V> for Pair<K, V> {
    fn name(&self) -> String {
        format!("{}, {}", self.key.name(), self.value.name())
    }

    fn bind(&self, binding: &Binding) {
        self.key.bind(binding);
        self.value.bind(binding);
    }

    fn decode(&self, record: &RawRecord<'_>) -> Result<(K, V), DecodeError> {
        Ok((self.key.decode(record.key)?, self.value.decode(record.value)?))
    }

    fn decode_into(&self, record: &RawRecord<'_>, key: &mut K, value: &mut V) -> Result<(), DecodeError> {
        self.key.decode_into(record.key, key)?;
        self.value.decode_into(record.value, value)
    }
}

#[cfg(test)]
#[path = "repartition_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
