//! The effects of processed records, as bytes in one arena.
//!
//! A task appends, the I/O plane drains. The arena is reused, so that a produced record costs no allocation of its own;
//! a mark lets a failed record take its effects back.

use std::ops::Range;

use crate::position::Partition;
use crate::record::{Headers, Timestamp};

use super::external::SinkIndex;

/// A topic that the topology produces to, by its number in the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicIndex(pub usize);

/// One record to produce.
#[derive(Debug, Clone)]
pub struct Output {
    /// Where to.
    pub topic: TopicIndex,
    /// An explicit partition; `None` leaves it to murmur2 over the key, as Java has it.
    pub partition: Option<Partition>,
    /// Event time.
    pub timestamp: Timestamp,
    /// Headers.
    pub headers: Headers,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// One request to an external target.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which external sink.
    pub sink: SinkIndex,
    /// Requests of equal order go out one after the other, in the order they were made.
    pub order: u64,
    body: Range<usize>,
}

/// Produced records and external requests that have not been handed on yet.
#[derive(Debug, Default)]
pub struct Effects {
    arena: Vec<u8>,
    outputs: Vec<Output>,
    requests: Vec<Request>,
}

/// How far the effects had come before a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    arena: usize,
    outputs: usize,
    requests: usize,
}

impl Effects {
    /// Appends a record to produce; `None` is Kafka's null.
    pub fn output(
        &mut self,
        topic: TopicIndex,
        partition: Option<Partition>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: Headers,
    ) {
        let key = key.map(|bytes| self.append(bytes));
        let value = value.map(|bytes| self.append(bytes));
        self.outputs.push(Output { topic, partition, timestamp, headers, key, value });
    }

    /// Appends an external request.
    pub fn request(&mut self, sink: SinkIndex, order: u64, body: &[u8]) {
        let body = self.append(body);
        self.requests.push(Request { sink, order, body });
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        start..self.arena.len()
    }

    /// The records to produce, in order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The external requests, in order.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Key bytes of an output.
    pub fn key(&self, output: &Output) -> Option<&[u8]> {
        output.key.clone().map(|range| &self.arena[range])
    }

    /// Value bytes of an output.
    pub fn value(&self, output: &Output) -> Option<&[u8]> {
        output.value.clone().map(|range| &self.arena[range])
    }

    /// Bytes of key, value and headers together.
    pub fn size(&self, output: &Output) -> usize {
        let length = |part: &Option<Range<usize>>| part.as_ref().map_or(0, Range::len);
        length(&output.key) + length(&output.value) + output.headers.bytes()
    }

    /// Body of a request.
    pub fn body(&self, request: &Request) -> &[u8] {
        &self.arena[request.body.clone()]
    }

    /// The place to return to if the coming record fails.
    pub fn mark(&self) -> Mark {
        Mark { arena: self.arena.len(), outputs: self.outputs.len(), requests: self.requests.len() }
    }

    /// Takes back everything since the mark.
    pub fn roll_back(&mut self, mark: Mark) {
        self.arena.truncate(mark.arena);
        self.outputs.truncate(mark.outputs);
        self.requests.truncate(mark.requests);
    }

    /// Outputs appended since the mark.
    pub fn outputs_since(&self, mark: Mark) -> &[Output] {
        &self.outputs[mark.outputs..]
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.outputs.clear();
        self.requests.clear();
    }
}
