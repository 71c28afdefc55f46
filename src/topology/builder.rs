//! Collects the nodes of a topology through typed handles and checks them as a whole.
//!
//! A handle is a number with a type. The typed child factories of an edge are kept in a slot of the edge's own type, so a
//! record later passes from node to node without a box or a downcast; the one downcast is here, when the graph is built.

use std::any::Any;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::codec::{Codec, RecordCodec, Shown, raw, text};
use crate::dead_letter::Policy;
use crate::processor::{
    Bound, CallNode, Called, ExternalCall, ExternalNode, ExternalSink, NamingSinkNode, ProcessNode, Processor,
    Punctuator, Receive, Schedule, SinkIndex, SinkNode, SourceNode, TopicIndex, TopicOf,
};
use crate::record::Record;
use crate::store::{Store, StoreBuilder, StoreIndex, StoreKind, StoreSpec};

use super::describe::{Description, NodeKind, NodeSketch};
use super::error::Error;
use super::graph::{CodecUse, ExternalSpec, SourceSpec, StoreDeclaration, Subject, SubjectPart, Topology};
use super::repartition::Repartition;
use super::table::GlobalDeclaration;
use super::topics::Topics;
use super::workers::WorkersSpec;

/// A typed edge: the records that a source or processor gives.
pub struct Stream<K, V> {
    builder: u64,
    pub(super) node: usize,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Stream<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Stream<K, V> {}

pub(super) type ChildFactory<K, V> = Box<dyn Fn() -> Box<dyn Receive<K, V>> + Send + Sync>;

/// The child factories of one edge.
pub(super) struct Slot<K, V>(Mutex<Vec<ChildFactory<K, V>>>);

impl<K, V> Slot<K, V> {
    pub(super) fn instantiate(&self) -> Bound<K, V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|factory| factory()).collect()
    }
}

/// Declares a topology; see the crate's documentation for how one reads.
///
/// Mistakes are collected and reported together by [`build`](Builder::build).
pub struct Builder {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) nodes: Vec<NodeSketch>,
    pub(super) slots: Vec<Option<Arc<dyn Any + Send + Sync>>>,
    pub(super) sources: Vec<(usize, SourceSpec)>,
    pub(super) stores: Vec<(StoreDeclaration, BTreeSet<usize>)>,
    /// Of processors that have punctuators, by node.
    pub(super) schedules: Vec<(usize, Arc<Schedule>)>,
    pub(super) sink_topics: Vec<String>,
    /// Topics that are read and that the application makes all the same.
    pub(super) own_topics: Vec<String>,
    pub(super) compacted: Vec<String>,
    /// Topics that are written and read, on purpose.
    pub(super) feedback: Vec<String>,
    /// Each with the node that it comes from and the one that reads it.
    pub(super) globals: Vec<GlobalDeclaration>,
    pub(super) repartitions: Vec<(Repartition, usize, usize)>,
    /// Each with its node.
    pub(super) workers: Vec<(usize, WorkersSpec)>,
    pub(super) externals: Vec<ExternalSpec>,
    pub(super) dead_letters: Option<(usize, Policy)>,
    pub(super) codecs: Vec<CodecUse>,
    pub(super) errors: Vec<Error>,
}

static BUILDERS: AtomicU64 = AtomicU64::new(0);

impl Builder {
    pub(super) fn new(name: String) -> Self {
        let mut builder = Builder {
            id: BUILDERS.fetch_add(1, Ordering::Relaxed),
            name: name.clone(),
            nodes: Vec::new(),
            slots: Vec::new(),
            sources: Vec::new(),
            stores: Vec::new(),
            schedules: Vec::new(),
            sink_topics: Vec::new(),
            own_topics: Vec::new(),
            compacted: Vec::new(),
            feedback: Vec::new(),
            globals: Vec::new(),
            repartitions: Vec::new(),
            workers: Vec::new(),
            externals: Vec::new(),
            dead_letters: None,
            codecs: Vec::new(),
            errors: Vec::new(),
        };
        builder.check_name(&name);
        builder
    }

    /// Reads topics. `codec` decodes a whole record: a pair `(key codec, value codec)` or an envelope.
    pub fn source<K: Send + 'static, V: Send + 'static>(
        &mut self,
        name: &str,
        topics: impl Into<Topics>,
        codec: impl RecordCodec<K, V>,
    ) -> Stream<K, V> {
        let topics = topics.into();
        let codec: Arc<dyn RecordCodec<K, V>> = Arc::new(codec);
        if topics.iter().next().is_none() {
            self.mistake(name, "reads no topic; name at least one");
        }
        for reason in topics.invalid_patterns() {
            self.mistake(name, &format!("is subscribed to an invalid pattern: {reason}"));
        }
        self.codecs.push(CodecUse::reading(&codec));
        self.read_topics(name, topics, codec)
    }

    pub(super) fn read_topics<K: Send + 'static, V: Send + 'static>(
        &mut self,
        name: &str,
        topics: Topics,
        codec: Arc<dyn RecordCodec<K, V>>,
    ) -> Stream<K, V> {
        let sketch = NodeSketch::new(name, NodeKind::Source { topics: topics.clone(), codec: codec.name() }, None);
        let (stream, slot) = self.node_with_edge(sketch);
        let factory = Arc::new(move || -> Box<dyn crate::processor::SourceEntry> {
            Box::new(SourceNode::new(Arc::clone(&codec), slot.instantiate()))
        });
        self.sources
            .push((stream.node, SourceSpec { name: name.to_owned(), topics, sub_topology: 0, table: None, factory }));
        stream
    }

    /// Has `apply` make a topic that the topology reads and that is its own to make: others only write to it. It has as many
    /// partitions as the other topics that are read.
    pub fn own_topic(&mut self, topic: &str) {
        self.own_topics.push(topic.to_owned());
    }

    /// The same of a topic of which the newest record by key counts: `apply` has it compacted. What is a global table is so anyway.
    pub fn own_compacted_topic(&mut self, topic: &str) {
        self.own_topic(topic);
        self.compacted.push(topic.to_owned());
    }

    /// The same of a topic that the topology writes to as well as others: what it writes there comes back to it. A topology that reads
    /// what it writes is refused otherwise, since what goes round might never end; here it is for the processors to end it.
    pub fn own_feedback_topic(&mut self, topic: &str) {
        self.own_topic(topic);
        self.feedback.push(topic.to_owned());
    }

    /// Declares a state store; the handle goes into the processors that use it.
    pub fn store<K: 'static, V: 'static>(&mut self, name: &str, store: StoreBuilder<K, V>) -> Store<K, V> {
        self.check_name(name);
        if self.stores.iter().any(|(known, _)| known.spec.name == name) {
            self.mistake(name, "is declared twice; store names are unique");
        }
        let index = self.stores.len();
        let (spec, handle) = store.build(name, StoreIndex(index));
        if spec.changelog {
            self.codec_use(Subject::Changelog(index), SubjectPart::Key, handle.key_codec());
            self.codec_use(Subject::Changelog(index), SubjectPart::Value, handle.value_codec());
        } else {
            self.codec_use(Subject::Read, SubjectPart::Key, handle.key_codec());
            self.codec_use(Subject::Read, SubjectPart::Value, handle.value_codec());
        }
        let (key, value) = (Shown::of(handle.key_codec()), Shown::of(handle.value_codec()));
        self.stores.push((StoreDeclaration { spec, sub_topology: 0, key, value, table: None }, BTreeSet::new()));
        handle
    }

    /// Puts a processor on an edge. One that has punctuators gets a store of its own besides, `<name>-punctuators`, in which
    /// their ticks are remembered, with a changelog as any other.
    pub fn process<P: Processor>(
        &mut self,
        name: &str,
        stream: Stream<P::KeyIn, P::ValueIn>,
        processor: P,
    ) -> Stream<P::KeyOut, P::ValueOut> {
        let schedule = Arc::new(self.schedule(name, processor.punctuators()));
        let mut stores = processor.stores();
        if !schedule.punctuators.is_empty() {
            stores.push(schedule.ticks);
        }
        let sketch = NodeSketch::new(name, NodeKind::Process { stores: stores.clone() }, Some(stream.node));
        let (output, slot) = self.node_with_edge(sketch);
        for store in stores {
            match self.stores.get_mut(store.0) {
                Some((_, users)) => _ = users.insert(output.node),
                None => self.mistake(name, "uses a store of another topology; declare it on this builder"),
            }
        }
        if !schedule.punctuators.is_empty() {
            self.schedules.push((output.node, Arc::clone(&schedule)));
        }
        // A processor need not be Sync: the prototype is only cloned, under a lock, when a task is made.
        let prototype = Mutex::new(processor);
        self.attach(name, stream, move || {
            let processor = prototype.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Box::new(ProcessNode::new(processor, Arc::clone(&schedule), slot.instantiate()))
        });
        output
    }

    fn schedule(&mut self, processor: &str, punctuators: Vec<Punctuator>) -> Schedule {
        for (at, punctuator) in punctuators.iter().enumerate() {
            self.check_name(punctuator.name());
            if punctuators[..at].iter().any(|known| known.name() == punctuator.name()) {
                self.mistake(processor, &format!("has two punctuators {}; their names are unique", punctuator.name()));
            }
            if punctuator.interval_millis() < 1 {
                self.mistake(processor, &format!("punctuator {}: an interval below 1 ms", punctuator.name()));
            }
        }
        let ticks = StoreIndex(self.stores.len());
        if !punctuators.is_empty() {
            let name = format!("{processor}-punctuators");
            if self.stores.iter().any(|(known, _)| known.spec.name == name) {
                self.mistake(&name, "is the store of the processor's punctuators; give yours another name");
            }
            let spec = StoreSpec { index: ticks, name, kind: StoreKind::Rocks, changelog: true };
            let name_codec: Arc<dyn Codec<String>> = Arc::new(text());
            let tick_codec: Arc<dyn Codec<Vec<u8>>> = Arc::new(raw());
            let (key, value) = (Shown::of(&name_codec), Shown::of(&tick_codec));
            self.stores.push((StoreDeclaration { spec, sub_topology: 0, key, value, table: None }, BTreeSet::new()));
        }
        Schedule { processor: processor.into(), ticks, punctuators }
    }

    /// Produces the records of an edge to a topic.
    pub fn sink<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        stream: Stream<K, V>,
        topic: &str,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) {
        let key: Arc<dyn Codec<K>> = Arc::new(key);
        let value: Arc<dyn Codec<V>> = Arc::new(value);
        let codec = format!("{}, {}", key.name(), value.name());
        let kind = NodeKind::Sink { topic: topic.to_owned(), codec };
        self.node(NodeSketch::new(name, kind, Some(stream.node)));
        self.codec_use(Subject::Topic(topic.to_owned()), SubjectPart::Key, &key);
        self.codec_use(Subject::Topic(topic.to_owned()), SubjectPart::Value, &value);
        let topic = self.sink_topic(topic);
        self.attach(name, stream, move || Box::new(SinkNode::new(topic, Arc::clone(&key), Arc::clone(&value))));
    }

    /// Produces the records of an edge to the topics that they name (Kafka Streams: `TopicNameExtractor`), in their transaction.
    ///
    /// Nothing is known of these topics beforehand: nobody makes them or checks them at the start, and the codecs write no schemas. A
    /// record whose name is none of a topic is set aside. One whose topic can't be written to aborts the transaction, which is done
    /// again: whoever may name a topic that is not there asks first ([`OwnTopics`](crate::processor::OwnTopics)). A topic that the
    /// topology reads must not be named: what goes round might never end.
    pub fn sink_by<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        stream: Stream<K, V>,
        topic_of: impl for<'a> Fn(&'a Record<K, V>) -> &'a str + Send + Sync + 'static,
        key: impl Codec<K>,
        value: impl Codec<V>,
    ) {
        let (key, value): (Arc<dyn Codec<K>>, Arc<dyn Codec<V>>) = (Arc::new(key), Arc::new(value));
        let topic_of: Arc<TopicOf<K, V>> = Arc::new(topic_of);
        if key.writer_schema().is_some() || value.writer_schema().is_some() {
            self.mistake(name, "writes a schema, whose subject is a topic's; encode such values before");
        }
        let codec = format!("{}, {}", key.name(), value.name());
        self.node(NodeSketch::new(name, NodeKind::NamingSink { codec }, Some(stream.node)));
        self.attach(name, stream, move || {
            Box::new(NamingSinkNode::new(Arc::clone(&topic_of), Arc::clone(&key), Arc::clone(&value)))
        });
    }

    /// Sends the records of an edge to a target outside Kafka, before their transaction commits.
    pub fn external<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        stream: Stream<K, V>,
        sink: impl ExternalSink<K, V>,
    ) {
        let sink: Arc<dyn ExternalSink<K, V>> = Arc::new(sink);
        let kind = NodeKind::External { target: sink.kind().to_owned() };
        self.node(NodeSketch::new(name, kind, Some(stream.node)));
        let index = SinkIndex(self.externals.len());
        self.externals.push(ExternalSpec { name: name.to_owned(), target: sink.target(), is_call: false });
        self.attach(name, stream, move || Box::new(ExternalNode::new(index, Arc::clone(&sink))));
    }

    /// Asks a target outside Kafka for each record of an edge, and gives the records on with its answers, before their
    /// transaction commits. Whoever hears of a failure there goes on without it; see [`ExternalCall`].
    pub fn call<K: Clone + Send + 'static, V: Clone + Send + 'static>(
        &mut self,
        name: &str,
        stream: Stream<K, V>,
        call: impl ExternalCall<K, V>,
    ) -> Stream<K, Called<V>> {
        let call: Arc<dyn ExternalCall<K, V>> = Arc::new(call);
        let kind = NodeKind::Call { target: call.kind().to_owned() };
        let (output, slot) = self.node_with_edge(NodeSketch::new(name, kind, Some(stream.node)));
        let index = SinkIndex(self.externals.len());
        self.externals.push(ExternalSpec { name: name.to_owned(), target: call.target(), is_call: true });
        self.attach(name, stream, move || Box::new(CallNode::new(index, Arc::clone(&call), slot.instantiate())));
        output
    }

    /// Where records go that can't be processed, and when.
    pub fn dead_letters(&mut self, topic: &str, policy: Policy) {
        if self.dead_letters.is_some() {
            self.mistake(topic, "is a second dead-letter topic; a topology has one");
        }
        let index = self.sink_topic(topic);
        self.dead_letters = Some((index.0, policy));
    }

    /// Checks names, ownership, cycles and loose ends; touches no network.
    ///
    /// # Errors
    /// Every mistake found, each with its node and the way out.
    pub fn build(mut self) -> Result<Topology, Error> {
        self.check_loose_ends();
        self.check_workers();
        self.check_sources();
        let groups = self.group();
        self.place_repartitions(&groups);
        self.check_cycles(&groups);
        for (node, source) in &mut self.sources {
            source.sub_topology = groups[*node];
        }
        for (store, users) in &mut self.stores {
            store.sub_topology = users.first().map_or(0, |&user| groups[user]);
        }
        if !self.errors.is_empty() {
            return Err(if self.errors.len() == 1 { self.errors.remove(0) } else { Error::Several(self.errors) });
        }
        let stores: Vec<_> = self.stores.into_iter().map(|(store, _)| store).collect();
        let dead_letters = self.dead_letters.as_ref().map(|(topic, _)| self.sink_topics[*topic].as_str());
        let description = Description::new(&self.name, &self.nodes, &groups, &stores, &self.schedules, dead_letters)
            .with_globals(&self.globals);
        let schedules = self.schedules.into_iter().map(|(node, schedule)| (groups[node], schedule)).collect();
        Ok(Topology {
            name: self.name,
            sources: Arc::new(self.sources.into_iter().map(|(_, source)| source).collect()),
            stores: Arc::new(stores),
            schedules: Arc::new(schedules),
            sink_topics: Arc::new(self.sink_topics),
            own_topics: Arc::new(self.own_topics),
            compacted: Arc::new(self.compacted),
            globals: Arc::new(self.globals),
            repartitions: Arc::new(self.repartitions.into_iter().map(|(own, ..)| own).collect()),
            workers: Arc::new(self.workers.into_iter().map(|(_, spec)| spec).collect()),
            externals: Arc::new(self.externals),
            dead_letters: self.dead_letters,
            codecs: Arc::new(self.codecs),
            description: Arc::new(description),
        })
    }

    pub(super) fn node(&mut self, sketch: NodeSketch) -> usize {
        self.check_name(&sketch.name);
        if self.nodes.iter().any(|known| known.name == sketch.name) {
            self.mistake(&sketch.name, "is declared twice; node names are unique");
        }
        self.nodes.push(sketch);
        self.slots.push(None);
        self.nodes.len() - 1
    }

    pub(super) fn node_with_edge<K: 'static, V: 'static>(
        &mut self,
        sketch: NodeSketch,
    ) -> (Stream<K, V>, Arc<Slot<K, V>>) {
        let node = self.node(sketch);
        let slot = Arc::new(Slot(Mutex::new(Vec::new())));
        self.slots[node] = Some(Arc::clone(&slot) as Arc<dyn Any + Send + Sync>);
        (Stream { builder: self.id, node, types: PhantomData }, slot)
    }

    pub(super) fn attach<K: 'static, V: 'static>(
        &mut self,
        name: &str,
        stream: Stream<K, V>,
        factory: impl Fn() -> Box<dyn Receive<K, V>> + Send + Sync + 'static,
    ) {
        let own = stream.builder == self.id;
        let slot = self.slots.get(stream.node).filter(|_| own).cloned().flatten();
        match slot.and_then(|slot| slot.downcast::<Slot<K, V>>().ok()) {
            Some(slot) => slot.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(factory)),
            None => self.mistake(name, "is put on an edge of another topology; use this builder's handles"),
        }
    }

    fn sink_topic(&mut self, topic: &str) -> TopicIndex {
        let mut known = self.sink_topics.iter().enumerate();
        // One between sub-topologies will have another name.
        let known =
            known.find(|(index, known)| *known == topic && !self.is_repartition(*index)).map(|(index, _)| index);
        TopicIndex(known.unwrap_or_else(|| {
            self.sink_topics.push(topic.to_owned());
            self.sink_topics.len() - 1
        }))
    }

    pub(super) fn codec_use<T: 'static>(&mut self, subject: Subject, part: SubjectPart, codec: &Arc<dyn Codec<T>>) {
        let schema = codec.writer_schema();
        let codec = Arc::clone(codec);
        let bind = Arc::new(move |binding: &crate::codec::Binding| codec.bind(binding));
        self.codecs.push(CodecUse { subject, part, schema, bind });
    }

    pub(super) fn mistake(&mut self, node: &str, reason: &str) {
        let error = Error::Node { topology: self.name.clone(), node: node.to_owned(), reason: reason.to_owned() };
        self.errors.push(error);
    }

    pub(super) fn check_name(&mut self, name: &str) {
        let kebab = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if name.is_empty() || !kebab || name.starts_with('-') {
            self.mistake(name, "is no kebab-case name (a-z, 0-9, -); it becomes part of topics and metrics");
        }
    }
}
