//! What users implement: [`Processor`] for logic, [`ExternalSink`] and [`ExternalCall`] for effects outside Kafka, [`Worker`] for what
//! takes its time.
//!
//! All but the last is synchronous and pure: a processor is given a record, or a [`Tick`], and a [`Context`], and gives effects
//! (forwards, staged store writes, requests to external targets, dead letters). No network, no clock, no thread. The same
//! code therefore runs in a stream thread and in `TopologyDriver`.
//!
//! ```text
//!            ┌────────────┐ forward  ┌─────────┐ output   ┌─────────┐
//!  record ─▶ │ Processor  │ ───────▶ │  Sink   │ ───────▶ │         │
//!  tick   ─▶ │            │ forward  ├─────────┤ request  │ Effects │ ─▶ the I/O plane
//!            │            │ ───────▶ │External │ ───────▶ │         │
//!            └─────┬──────┘          └─────────┘          └─────────┘
//!                  └─▶ TaskState (staged, all or nothing per record or tick)
//! ```

mod call;
mod context;
mod effects;
mod external;
mod lookups;
mod node;
mod only;
mod punctuator;
mod table;
mod worker;

pub use call::{Answer, CallNode, CallOrder, Called, ExternalCall, Settled};
pub use context::{
    Context, Fault, GlobalAccess, LinesAccess, NextTicks, Scope, StoreAccess, TableAccess, TimersAccess,
};
pub use effects::{CallMark, Destination, Effects, Mark, Output, Request, TopicIndex};
pub use external::{BoxFuture, Connect, ExternalSink, Failure, OwnTopics, Reply, Requests, SinkIndex, Target, Unfit};
pub use lookups::{LoadSchema, Lookups};
pub use node::{Bound, ExternalNode, NamingSinkNode, ProcessNode, Receive, SinkNode, SourceEntry, SourceNode, TopicOf};
pub use only::Only;
pub use punctuator::{Clock, LastTick, Punctuator, Schedule, Tick};
pub use table::TableNode;
pub use worker::{Around, Attempt, Failed, Given, Job, Worker, WorkerEntry, WorkerNode};

use crate::error::{RecordError, Stage};
use crate::record::Record;
use crate::store::StoreIndex;

/// Logic between two edges of a topology.
///
/// One clone of the processor is made per task, so fields are per-task state that is lost on a restart: what must
/// survive belongs into a store. Effects of one record are all-or-nothing: on an error or a panic none of them happens.
pub trait Processor: Clone + Send + 'static {
    /// Key type of the incoming edge.
    type KeyIn: 'static;
    /// Value type of the incoming edge.
    type ValueIn: 'static;
    /// Key type of the outgoing edge.
    type KeyOut: 'static;
    /// Value type of the outgoing edge.
    type ValueOut: 'static;

    /// The stores that this processor reads or writes; the topology checks ownership by it and draws it.
    fn stores(&self) -> Vec<StoreIndex> {
        Vec::new()
    }

    /// The punctuators of this processor: what it does at the ticks of a clock. Asked for once, when the topology is built.
    fn punctuators(&self) -> Vec<Punctuator> {
        Vec::new()
    }

    /// Handles one tick of one of its punctuators, as it handles a record: it may forward, read and write stores, set aside,
    /// cancel; all of it happens or none.
    ///
    /// Ticks come between records. One of stream time comes before the first record that has reached it, so a replay sees it
    /// at the same place; one of wall-clock time comes when the stream thread gets to it: within milliseconds, while it has
    /// nothing to do that takes longer, and not while the task rests, for lack of a schema or of an external target.
    ///
    /// A tick of wall-clock time that did nothing opens no transaction and is not remembered: after a restart it may come
    /// again. Any other is part of the open transaction, and comes again only if that is aborted.
    ///
    /// # Errors
    /// [`Fault::Record`] has the tick tried again, as often as the topology's policy has a record tried; then its dead
    /// letter, which names punctuator and tick, goes to the dead-letter topic, and the next tick is the next chance. Without
    /// such a topic the application stops. A panic is the same.
    fn punctuate(
        &mut self,
        tick: &Tick<'_>,
        context: &mut Context<'_, Self::KeyOut, Self::ValueOut>,
    ) -> Result<(), Fault> {
        _ = context;
        let reason = format!("the processor declares the punctuator {}, and has no method punctuate", tick.name);
        Err(RecordError::new(Stage::Process, "no-punctuate", reason).into())
    }

    /// Handles one record.
    ///
    /// # Errors
    /// [`Fault::Record`] sets the record aside by the topology's policy; the other faults come from the stores and are
    /// passed on with `?`.
    fn process(
        &mut self,
        record: &Record<Self::KeyIn, Self::ValueIn>,
        context: &mut Context<'_, Self::KeyOut, Self::ValueOut>,
    ) -> Result<(), Fault>;
}
