//! Why a transaction can't go on, named by what the owner does then.

use super::too_large::TooLarge;

/// An error of the producer. Each text names the step, the topic and partition where there is one, and Kafka's error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// Rewind, and initialise again: that aborts what is open, and settles an unknown outcome (rule N-7).
    #[error("{0}")]
    Abort(String),
    /// Not done within its time; the same call goes on where it was.
    #[error("{0}")]
    Again(String),
    /// Somebody newer has the transactional id or the partitions.
    #[error("fenced: {0}")]
    Fenced(String),
    /// A human has to change something: a limit, a setting, the cluster's version.
    #[error("{0}")]
    Fatal(String),
    /// The user lacks a right, or can't log in. The text names the right.
    #[error("{0}")]
    Denied(String),
    /// A topic or partition has not been there for the whole delivery time-out: a human has to make it.
    #[error("{0}")]
    Missing(String),
    /// A topic that a record has named can't be written to: it is not there, has no leader, or is not ours to write. Rewind, initialise
    /// again, and leave the topic alone for a while; nothing else is to blame.
    #[error("{reason}")]
    Unwritable {
        /// Its name.
        topic: String,
        /// Why.
        reason: String,
    },
    /// One record is larger than the topic or a request allows; the others are not to blame.
    #[error("{0}")]
    RecordTooLarge(TooLarge),
}
