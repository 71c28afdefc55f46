//! Why a task could not go past a record.

use crate::codec::SchemaId;
use crate::error::RecordError;
use crate::position::{Position, TaskId};
use crate::record::Timestamp;
use crate::store::StoreError;

/// The record stays where it is; the caller decides what comes next.
#[derive(Debug, thiserror::Error)]
pub enum TaskFault {
    /// Ask the registry for the schema, then process the same record again.
    #[error("schema id {0} is not loaded yet")]
    SchemaNotLoaded(SchemaId),
    /// The store failed: close the task and reconcile it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The topology has no dead-letter topic, so the record can't be set aside.
    #[error("{position}: {error}; the topology has no dead-letter topic to set it aside")]
    Unhandled {
        /// Where it stands.
        position: Position,
        /// Why it was refused.
        error: RecordError,
    },
    /// The same of a punctuator's tick.
    #[error(
        "task {task}, punctuator {name}, tick {at}: {reason}; the topology has no dead-letter topic to set it aside",
        at = .at.0
    )]
    UnhandledTick {
        /// Whose.
        task: TaskId,
        /// `<processor>/<punctuator>`.
        name: String,
        /// The tick.
        at: Timestamp,
        /// Why it failed.
        reason: String,
    },
    /// The dead-letter topic takes not even what says where the record came from and why.
    #[error("{0}")]
    NoRoom(String),
    /// A record of a topic that no source of this task reads.
    #[error("no source of this task reads {0}")]
    UnknownTopic(String),
}
