//! What users implement: [`Processor`] for logic, [`ExternalSink`] for effects outside Kafka.
//!
//! Everything here is synchronous and pure: a processor is given a record and a [`Context`], and gives effects
//! (forwards, staged store writes, requests to external targets, dead letters). No network, no clock, no thread. The same
//! code therefore runs in a stream thread and in `TopologyDriver`.
//!
//! ```text
//!            ┌────────────┐ forward  ┌─────────┐ output   ┌─────────┐
//!  record ─▶ │ Processor  │ ───────▶ │  Sink   │ ───────▶ │         │
//!            │            │ forward  ├─────────┤ request  │ Effects │ ─▶ the I/O plane
//!            │            │ ───────▶ │External │ ───────▶ │         │
//!            └─────┬──────┘          └─────────┘          └─────────┘
//!                  └─▶ TaskState (staged, all or nothing per record)
//! ```

mod context;
mod effects;
mod external;
mod node;

pub use context::{Context, Fault, Scope, StoreAccess};
pub use effects::{Effects, Mark, Output, Request, TopicIndex};
pub use external::{BoxFuture, Connect, ExternalSink, Failure, Reply, Requests, SinkIndex, Target};
pub use node::{Bound, ExternalNode, ProcessNode, Receive, SinkNode, SourceEntry, SourceNode};

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
