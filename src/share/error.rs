//! What can go wrong in a share group, and how a record is lost.

use crate::position::Position;
use crate::wire::WireError;

/// Why a record is not this member's any more. Kafka hands it to somebody again, unless it has been delivered too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// Its lock ran out.
    #[error("its lock has run out")]
    Expired,
    /// The connection to the broker that had handed it over has ended, or the broker has forgotten the session (rule R5).
    #[error("the session with its broker has ended")]
    Session,
    /// The broker says that it is somebody else's, or done with.
    #[error("the broker refused the acknowledgement: it may be somebody else's now")]
    Refused,
    /// Another broker leads the partition now (rule R12), or the topic is gone.
    #[error("its partition has moved to another broker")]
    Moved,
    /// The consumer was closed before it was settled.
    #[error("the consumer has been closed")]
    Closed,
}

/// A record could not be settled: the work on it may be done again by somebody else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: not settled: {reason}")]
pub struct NotSettled {
    /// The record.
    pub at: Position,
    /// Why.
    pub reason: Lost,
}

/// Why a consumer can't go on.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// A setting that can't be honoured. Nothing was connected.
    #[error("{setting}: {reason}")]
    Setting {
        /// Which one.
        setting: &'static str,
        /// What is wrong with it, and the way out.
        reason: String,
    },
    /// The cluster can't be used, or refuses, and another try would not help.
    #[error(transparent)]
    Wire(#[from] WireError),
}
