//! The nodes of one task's graph: each owns what is below it, and edges between them are typed.

use std::fmt::Debug;
use std::sync::Arc;

use crate::codec::{Codec, DecodeError, RecordCodec};
use crate::error::{RecordError, Stage};
use crate::position::is_topic_name;
use crate::record::{RawRecord, Record};

use super::Processor;
use super::call::Settled;
use super::context::{Context, Fault, Scope};
use super::effects::{Destination, TopicIndex};
use super::external::{ExternalSink, Requests, SinkIndex};
use super::punctuator::{Schedule, Tick};

/// The receiving end of a typed edge.
pub trait Receive<K, V>: Send {
    /// Takes a record; a failure is left in the scope.
    fn receive(&mut self, record: &Record<K, V>, scope: &mut Scope);

    /// Hands a tick down to the processor that it is for; true if that is this node or below it. A failure is left in the
    /// scope.
    fn punctuate(&mut self, schedule: &Schedule, tick: &Tick<'_>, scope: &mut Scope) -> bool {
        _ = (schedule, tick, scope);
        false
    }

    /// Hands an answer down to the call that it is for; true if that is this node or below it. A failure is left in the scope.
    fn settle(&mut self, settled: Settled<'_>, scope: &mut Scope) -> bool {
        _ = (settled, scope);
        false
    }

    /// The calls from this number on were taken back: nobody will answer them.
    fn forget(&mut self, from: u64) {
        _ = from;
    }
}

/// A task's graph seen from the consumer: bytes in.
pub trait SourceEntry: Send {
    /// Decodes a record and hands it down.
    ///
    /// # Errors
    /// The bytes are not a record; nothing has happened.
    fn accept(&mut self, record: &RawRecord<'_>, scope: &mut Scope) -> Result<(), DecodeError>;

    /// Takes a record that is too large to be decoded, where what is taken need not be: a table holds what its topic holds.
    /// False if it is to be refused.
    fn keep(&mut self, record: &RawRecord<'_>, scope: &mut Scope) -> bool {
        _ = (record, scope);
        false
    }

    /// Hands a tick down to the processor that it is for; true if that is below this source.
    fn punctuate(&mut self, schedule: &Schedule, tick: &Tick<'_>, scope: &mut Scope) -> bool;

    /// Hands an answer down to the call that it is for; true if that is below this source.
    fn settle(&mut self, settled: Settled<'_>, scope: &mut Scope) -> bool {
        _ = (settled, scope);
        false
    }

    /// The calls from this number on were taken back.
    fn forget(&mut self, from: u64) {
        _ = from;
    }
}

/// The children of an edge.
pub type Bound<K, V> = Vec<Box<dyn Receive<K, V>>>;

/// A record of up to this size keeps its memory for the next one.
const KEPT_BYTES: usize = 64 << 10;

/// Decodes and forwards.
pub struct SourceNode<K, V> {
    codec: Arc<dyn RecordCodec<K, V>>,
    /// The last record, over which the next one is decoded: nodes are lent a record, so nobody has kept it.
    record: Option<Record<K, V>>,
    children: Bound<K, V>,
}

impl<K, V> SourceNode<K, V> {
    /// A source over its children.
    pub fn new(codec: Arc<dyn RecordCodec<K, V>>, children: Bound<K, V>) -> Self {
        SourceNode { codec, record: None, children }
    }
}

impl<K: Send + 'static, V: Send + 'static> SourceEntry for SourceNode<K, V> {
    fn accept(&mut self, raw: &RawRecord<'_>, scope: &mut Scope) -> Result<(), DecodeError> {
        let record = match &mut self.record {
            Some(record) => {
                self.codec.decode_into(raw, &mut record.key, &mut record.value)?;
                record.timestamp = raw.timestamp;
                record.headers.0.clone_from(&raw.headers.0);
                record
            }
            none => {
                let (key, value) = self.codec.decode(raw)?;
                none.insert(Record { key, value, timestamp: raw.timestamp, headers: raw.headers.clone() })
            }
        };
        for child in &mut self.children {
            child.receive(record, scope);
        }
        if raw.size() + raw.headers.bytes() > KEPT_BYTES {
            self.record = None;
        }
        Ok(())
    }

    fn punctuate(&mut self, schedule: &Schedule, tick: &Tick<'_>, scope: &mut Scope) -> bool {
        self.children.iter_mut().any(|child| child.punctuate(schedule, tick, scope))
    }

    fn settle(&mut self, settled: Settled<'_>, scope: &mut Scope) -> bool {
        self.children.iter_mut().any(|child| child.settle(settled, scope))
    }

    fn forget(&mut self, from: u64) {
        self.children.iter_mut().for_each(|child| child.forget(from));
    }
}

/// Runs a processor.
pub struct ProcessNode<P: Processor> {
    processor: P,
    schedule: Arc<Schedule>,
    children: Bound<P::KeyOut, P::ValueOut>,
}

impl<P: Processor> ProcessNode<P> {
    /// A processor over its children.
    pub fn new(processor: P, schedule: Arc<Schedule>, children: Bound<P::KeyOut, P::ValueOut>) -> Self {
        ProcessNode { processor, schedule, children }
    }
}

impl<P: Processor> Receive<P::KeyIn, P::ValueIn> for ProcessNode<P> {
    fn receive(&mut self, record: &Record<P::KeyIn, P::ValueIn>, scope: &mut Scope) {
        if scope.fault.is_some() {
            return;
        }
        let mut context = Context { scope, children: &mut self.children, schedule: &self.schedule };
        if let Err(fault) = self.processor.process(record, &mut context) {
            scope.fail(fault);
        }
    }

    fn punctuate(&mut self, schedule: &Schedule, tick: &Tick<'_>, scope: &mut Scope) -> bool {
        if !self.schedule.is(schedule) {
            return self.children.iter_mut().any(|child| child.punctuate(schedule, tick, scope));
        }
        let mut context = Context { scope, children: &mut self.children, schedule: &self.schedule };
        if let Err(fault) = self.processor.punctuate(tick, &mut context) {
            scope.fail(fault);
        }
        true
    }

    fn settle(&mut self, settled: Settled<'_>, scope: &mut Scope) -> bool {
        self.children.iter_mut().any(|child| child.settle(settled, scope))
    }

    fn forget(&mut self, from: u64) {
        self.children.iter_mut().for_each(|child| child.forget(from));
    }
}

/// Encodes and produces.
#[derive(Debug)]
pub struct SinkNode<K, V> {
    topic: TopicIndex,
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
}

impl<K, V> SinkNode<K, V> {
    /// A sink to one topic.
    pub fn new(topic: TopicIndex, key: Arc<dyn Codec<K>>, value: Arc<dyn Codec<V>>) -> Self {
        SinkNode { topic, key, value }
    }
}

fn encode<T: 'static>(codec: &dyn Codec<T>, value: &T, out: &mut Vec<u8>) -> Result<bool, Fault> {
    out.clear();
    if codec.is_null(value) {
        return Ok(false);
    }
    let encoded = codec.encode(value, out);
    encoded.map_err(|error| RecordError::new(Stage::Serialize, "encode", error.to_string()))?;
    Ok(true)
}

/// Encodes a record, and appends it to what is to be produced.
#[inline]
fn produce<K: 'static, V: 'static>(
    record: &Record<K, V>,
    destination: impl Into<Destination>,
    (key_codec, value_codec): (&dyn Codec<K>, &dyn Codec<V>),
    scope: &mut Scope,
) {
    let (mut key, mut value) = std::mem::take(&mut scope.scratch);
    let encoded = encode(key_codec, &record.key, &mut key)
        .and_then(|has_key| Ok((has_key, encode(value_codec, &record.value, &mut value)?)));
    match encoded {
        Ok((has_key, has_value)) => scope.effects.output(
            destination,
            None,
            has_key.then_some(&key[..]),
            has_value.then_some(&value[..]),
            record.timestamp,
            record.headers.clone(),
        ),
        Err(fault) => scope.fail(fault),
    }
    scope.scratch = (key, value);
}

impl<K: 'static, V: 'static> Receive<K, V> for SinkNode<K, V> {
    fn receive(&mut self, record: &Record<K, V>, scope: &mut Scope) {
        if scope.fault.is_none() {
            produce(record, self.topic, (&*self.key, &*self.value), scope);
        }
    }
}

/// Says to which topic a record goes.
pub type TopicOf<K, V> = dyn for<'a> Fn(&'a Record<K, V>) -> &'a str + Send + Sync;

/// Encodes, and produces to the topic that the record names (Kafka Streams: `TopicNameExtractor`).
pub struct NamingSinkNode<K, V> {
    topic_of: Arc<TopicOf<K, V>>,
    /// The one of the last record: where many in a row go to one topic, its name is made once.
    last: Option<Arc<str>>,
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
}

impl<K, V> NamingSinkNode<K, V> {
    /// A sink to the topics that `topic_of` gives.
    pub fn new(topic_of: Arc<TopicOf<K, V>>, key: Arc<dyn Codec<K>>, value: Arc<dyn Codec<V>>) -> Self {
        NamingSinkNode { topic_of, last: None, key, value }
    }
}

impl<K: 'static, V: 'static> Receive<K, V> for NamingSinkNode<K, V> {
    fn receive(&mut self, record: &Record<K, V>, scope: &mut Scope) {
        if scope.fault.is_some() {
            return;
        }
        let name = (self.topic_of)(record);
        let topic = match &self.last {
            Some(last) if **last == *name => Arc::clone(last),
            // A name that no broker takes would fail each transaction that it is in.
            _ => match is_topic_name(name) {
                Ok(()) => Arc::clone(self.last.insert(Arc::from(name))),
                Err(reason) => return scope.fail(RecordError::new(Stage::Serialize, "topic-name", reason).into()),
            },
        };
        produce(record, Destination::Named(topic), (&*self.key, &*self.value), scope);
    }
}

/// Makes requests to an external target.
#[derive(Debug)]
pub struct ExternalNode<K, V> {
    index: SinkIndex,
    sink: Arc<dyn ExternalSink<K, V>>,
}

impl<K, V> ExternalNode<K, V> {
    /// An external sink.
    pub fn new(index: SinkIndex, sink: Arc<dyn ExternalSink<K, V>>) -> Self {
        ExternalNode { index, sink }
    }
}

impl<K: 'static, V: 'static> Receive<K, V> for ExternalNode<K, V> {
    fn receive(&mut self, record: &Record<K, V>, scope: &mut Scope) {
        if scope.fault.is_some() {
            return;
        }
        let mut requests = Requests { sink: self.index, effects: &mut scope.effects };
        if let Err(error) = self.sink.requests(record, &mut requests) {
            scope.fail(Fault::Record(error));
        }
    }
}
