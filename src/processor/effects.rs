//! The effects of processed records, as bytes in one arena.
//!
//! A task appends, the I/O plane drains. The arena is reused, so that a produced record costs no allocation of its own;
//! a mark lets a failed record take its effects back.

use std::ops::Range;
use std::sync::Arc;

use crate::position::Partition;
use crate::record::{Headers, Timestamp};

use super::call::CallOrder;
use super::external::SinkIndex;

/// A topic that the topology produces to, by its number in the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicIndex(pub usize);

/// Where a record is produced to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A topic of the topology.
    Known(TopicIndex),
    /// A topic that the record itself has named: what the topology knows of it is its name.
    Named(Arc<str>),
}

impl From<TopicIndex> for Destination {
    fn from(topic: TopicIndex) -> Self {
        Destination::Known(topic)
    }
}

impl Destination {
    /// Its name, where the topology's own topics are these.
    pub fn name<'a>(&'a self, topics: &'a [String]) -> &'a str {
        match self {
            Destination::Known(topic) => &topics[topic.0],
            Destination::Named(name) => name,
        }
    }
}

/// One record to produce.
#[derive(Debug, Clone)]
pub struct Output {
    /// Where to.
    pub topic: Destination,
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
    /// Of a call: what its answer is known by.
    pub call: Option<CallMark>,
    body: Range<usize>,
}

/// What makes a request a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallMark {
    /// Its number in the task.
    pub number: u64,
    /// Whether it is sent although one of its order was not done before it.
    pub anew: bool,
}

/// One thing that a processor has counted.
#[derive(Debug, Clone)]
struct Count {
    processor: Arc<str>,
    event: &'static str,
    of: Range<usize>,
}

/// Produced records, external requests and counts that have not been handed on yet.
#[derive(Debug, Default)]
pub struct Effects {
    arena: Vec<u8>,
    outputs: Vec<Output>,
    requests: Vec<Request>,
    counts: Vec<Count>,
    /// Calls that were ever made: a number is never given twice.
    calls: u64,
}

/// How far the effects had come before a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    arena: usize,
    outputs: usize,
    requests: usize,
    counts: usize,
    calls: u64,
}

impl Mark {
    /// The number that the next call got.
    pub fn calls(self) -> u64 {
        self.calls
    }
}

impl Effects {
    /// Appends a record to produce; `None` is Kafka's null.
    pub fn output(
        &mut self,
        topic: impl Into<Destination>,
        partition: Option<Partition>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: Headers,
    ) {
        let key = key.map(|bytes| self.append(bytes));
        let value = value.map(|bytes| self.append(bytes));
        self.outputs.push(Output { topic: topic.into(), partition, timestamp, headers, key, value });
    }

    /// Appends an external request.
    pub fn request(&mut self, sink: SinkIndex, order: u64, body: &[u8]) {
        let body = self.append(body);
        self.requests.push(Request { sink, order, call: None, body });
    }

    /// Appends a request whose answer is heard; gives its number.
    pub fn call(&mut self, sink: SinkIndex, order: CallOrder, body: &[u8]) -> u64 {
        let (number, body) = (self.calls, self.append(body));
        self.calls += 1;
        let call = Some(CallMark { number, anew: order.anew });
        self.requests.push(Request { sink, order: order.key, call, body });
        number
    }

    /// Counts one of an event of a processor; `of` tells series of it apart.
    pub fn count(&mut self, processor: &Arc<str>, event: &'static str, of: &str) {
        let of = self.append(of.as_bytes());
        self.counts.push(Count { processor: Arc::clone(processor), event, of });
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

    /// What was counted, one by one: the processor, the event, and of what.
    pub fn counts(&self) -> impl Iterator<Item = (&Arc<str>, &'static str, &str)> {
        let of = |count: &Count| std::str::from_utf8(&self.arena[count.of.clone()]).unwrap_or_default();
        self.counts.iter().map(move |count| (&count.processor, count.event, of(count)))
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
        let (outputs, requests, counts) = (self.outputs.len(), self.requests.len(), self.counts.len());
        Mark { arena: self.arena.len(), outputs, requests, counts, calls: self.calls }
    }

    /// Takes back everything since the mark.
    pub fn roll_back(&mut self, mark: Mark) {
        self.arena.truncate(mark.arena);
        self.outputs.truncate(mark.outputs);
        self.requests.truncate(mark.requests);
        self.counts.truncate(mark.counts);
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
        self.counts.clear();
    }
}
