//! Why a stream thread stops in the middle of a turn, and what is to follow.

use std::fmt;

use crate::error::FatalError;
use crate::kafka::{ProduceError, TooLarge};
use crate::telemetry::AbortReason;

/// Why a turn did not end well.
pub(super) enum Halt {
    /// Abort, make a new producer, read again from what is committed.
    Recover(AbortReason, String),
    /// The consumer is of no more use: the same, with a new one.
    Rejoin(String),
    /// Nobody else's doing: the group has taken this member for gone, or for its own predecessor. The same.
    Forgotten(String),
    /// This input was made anew: the same, and it is read from its beginning.
    MadeAnew(String),
    /// A topic has no room for a record: the same, and the record is set aside when it comes again.
    Refused(TooLarge),
    /// A topic that a record has named takes nothing: the same, and it is left alone for a while. The topic, and why.
    Avoid(String, String),
    /// Stop the application.
    Fatal(FatalError),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Halt::Recover(_, reason) | Halt::Rejoin(reason) | Halt::Forgotten(reason) => f.write_str(reason),
            Halt::MadeAnew(topic) => write!(f, "topic {topic} was made anew"),
            Halt::Refused(refused) => refused.fmt(f),
            Halt::Avoid(_, reason) => f.write_str(reason),
            Halt::Fatal(error) => error.fmt(f),
        }
    }
}

impl From<FatalError> for Halt {
    fn from(error: FatalError) -> Self {
        Halt::Fatal(error)
    }
}

impl From<ProduceError> for Halt {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Abort(reason) | ProduceError::Again(reason) => Halt::Recover(AbortReason::Broker, reason),
            ProduceError::RecordTooLarge(refused) => Halt::Refused(refused),
            ProduceError::Unwritable { topic, reason } => Halt::Avoid(topic, reason),
            ProduceError::Fenced(reason) => Halt::Recover(AbortReason::Fenced, reason),
            ProduceError::Fatal(reason) => Halt::Fatal(FatalError::Environment(reason)),
            ProduceError::Missing(reason) => {
                let text = format!("{reason}; create it (`apply` does), and start again");
                Halt::Fatal(FatalError::Environment(text))
            }
            ProduceError::Denied(reason) => Halt::Fatal(FatalError::Authorisation(reason)),
        }
    }
}
