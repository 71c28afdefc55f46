//! Calls: requests to an external target whose answers the topology itself hears.
//!
//! An external *sink* waits until its target has done what was asked, for as long as that takes, and everything behind it waits,
//! too. A *call* is for who wants to go on without the one that fails: it stands on an edge, and gives each record on with what
//! the target made of it, within the same transaction.
//!
//! ```text
//!  record ─▶ CallNode ── request ──▶ lane ──▶ target
//!              │ keeps the record                │
//!              └──◀──────── answer ◀─────────────┘
//!              ▼
//!         (record, Answer) ─▶ nodes below: park it, tell of it, set it aside
//! ```
//!
//! Of one order key there is one request at a time. Behind one that was not done none of its key is sent: those are answered
//! [`Held`](Answer::Held), in their order, until whoever hears the answers begins [anew](CallOrder::anew). All are answered
//! before the transaction is sealed, so nothing is ever under way across a commit, and a crash, or an abort, has the same
//! requests made again: targets are idempotent.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::error::RecordError;
use crate::record::Record;

use super::context::{Fault, Scope};
use super::external::{Connect, Reply, SinkIndex};
use super::node::{Bound, Receive};
use super::punctuator::{Schedule, Tick};

/// The pure half of a call: what a record asks of the target.
pub trait ExternalCall<K, V>: Debug + Send + Sync + 'static {
    /// What kind of target this is, for `describe`: `redis`, `http`.
    fn kind(&self) -> &'static str;

    /// Appends the body of the record's one request, and says where it stands.
    ///
    /// # Errors
    /// A [`RecordError`] sets the input record aside.
    fn request(&self, record: &Record<K, V>, body: &mut Vec<u8>) -> Result<CallOrder, RecordError>;

    /// How to reach the target.
    fn target(&self) -> Arc<dyn Connect>;
}

/// Where a request stands among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOrder {
    /// Requests of equal keys (a hash, say) are sent one after the other, in the order they were made.
    pub key: u64,
    /// Whether it is sent although one of its key was not done before it.
    pub anew: bool,
}

/// What became of a record's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The target has done it; its word for how.
    Done(&'static str),
    /// The target refuses it for good, for this reason.
    Refused(String),
    /// Not done this time; later it may be.
    Failed {
        /// Why.
        reason: String,
        /// How long the target wants to be left alone.
        after: Option<Duration>,
    },
    /// Not sent: one of its key before it was not done.
    Held,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Done(how) => Answer::Done(how),
            Reply::Refused(reason) => Answer::Refused(reason),
            Reply::Failed { reason, after } => Answer::Failed { reason, after },
        }
    }
}

/// What a call gives on: the record's value, with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called<V> {
    /// What was asked.
    pub value: V,
    /// What came of it.
    pub answer: Answer,
}

/// An answer on its way to the node that has asked.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    /// Which of the topology's externals.
    pub sink: SinkIndex,
    /// The request's number in its task.
    pub call: u64,
    /// What came of it.
    pub answer: &'a Answer,
}

/// Asks, and gives on what was answered.
pub struct CallNode<K, V> {
    index: SinkIndex,
    call: Arc<dyn ExternalCall<K, V>>,
    /// By the numbers of their requests.
    waiting: BTreeMap<u64, Record<K, V>>,
    children: Bound<K, Called<V>>,
}

impl<K, V> CallNode<K, V> {
    /// A call over the nodes that hear of it.
    pub fn new(index: SinkIndex, call: Arc<dyn ExternalCall<K, V>>, children: Bound<K, Called<V>>) -> Self {
        CallNode { index, call, waiting: BTreeMap::new(), children }
    }
}

impl<K: Clone + Send + 'static, V: Clone + Send + 'static> Receive<K, V> for CallNode<K, V> {
    fn receive(&mut self, record: &Record<K, V>, scope: &mut Scope) {
        if scope.fault.is_some() {
            return;
        }
        let mut body = std::mem::take(&mut scope.scratch.0);
        body.clear();
        match self.call.request(record, &mut body) {
            Ok(order) => {
                let call = scope.effects.call(self.index, order, &body);
                self.waiting.insert(call, record.clone());
            }
            Err(error) => scope.fail(Fault::Record(error)),
        }
        scope.scratch.0 = body;
    }

    fn punctuate(&mut self, schedule: &Schedule, tick: &Tick<'_>, scope: &mut Scope) -> bool {
        self.children.iter_mut().any(|child| child.punctuate(schedule, tick, scope))
    }

    fn settle(&mut self, settled: Settled<'_>, scope: &mut Scope) -> bool {
        if settled.sink != self.index {
            return self.children.iter_mut().any(|child| child.settle(settled, scope));
        }
        let Some(Record { key, value, timestamp, headers }) = self.waiting.remove(&settled.call) else { return false };
        let value = Called { value, answer: settled.answer.clone() };
        let record = Record { key, value, timestamp, headers };
        for child in &mut self.children {
            child.receive(&record, scope);
        }
        if scope.fault.is_some() {
            // It may be tried again.
            let Record { key, value: Called { value, .. }, timestamp, headers } = record;
            self.waiting.insert(settled.call, Record { key, value, timestamp, headers });
        }
        true
    }

    fn forget(&mut self, from: u64) {
        self.waiting.split_off(&from);
        self.children.iter_mut().for_each(|child| child.forget(from));
    }
}
