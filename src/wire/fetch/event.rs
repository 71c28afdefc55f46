//! What a poll finds.

use super::portion::Portion;
use crate::position::{Offset, Position, TopicPartition};
use crate::wire::WireError;

/// What a poll found. After one of [`OutOfRange`](Self::OutOfRange), [`Gone`](Self::Gone) and
/// [`Unreadable`](Self::Unreadable) nothing more comes of that partition before a seek or another assignment.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is moved once per portion, and read in place")]
pub enum Event {
    /// Records of one partition.
    Records(Portion),
    /// All that a committed reader can see of a partition now has been handed out: the position has reached the last stable
    /// offset, and is past the markers of transactions (rule R-7). Told once each time it is reached (rule R-22).
    End {
        /// Which.
        at: TopicPartition,
        /// The offset after everything that was seen.
        position: Offset,
        /// The end for readers of uncommitted records, as it was then (the high watermark). What lies between is of
        /// transactions that are open.
        high: Offset,
    },
    /// The position is not in the log: retention or DeleteRecords has passed it, or it is after the end. Or there is none,
    /// since the group has committed nothing. The owner says where to go on (rule R-3: nothing is skipped silently).
    OutOfRange {
        /// Which.
        at: TopicPartition,
        /// Where it was to be read; none if nothing was committed.
        position: Option<Offset>,
        /// The first offset that is there.
        start: Offset,
        /// The offset after the last one that a committed reader can see.
        end: Offset,
    },
    /// The topic or the partition has been unknown for longer than the settings' patience. Told once; it is still looked
    /// for.
    Missing {
        /// Which.
        at: TopicPartition,
        /// What the cluster said last.
        reason: String,
    },
    /// The topic was deleted and made again under its name (KIP-516): the position means nothing any more. Each of its
    /// partitions is told of, and can be sought within the new topic.
    Gone {
        /// Which.
        at: TopicPartition,
    },
    /// What came is damaged, or of an unknown format.
    Unreadable(Unreadable),
    /// A broker can't be reached, or none; told once until it answers again. It is tried again for ever.
    Away(WireError),
    /// A human has to change something: a right, a certificate, a password. The text names the topic where there is one.
    Fatal(WireError),
    /// Nothing within the wait.
    Idle,
}

/// A record, or a batch from there on, that can't be read. The text holds no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct Unreadable {
    /// Topic, partition and the first offset that can't be read.
    pub at: Position,
    /// What is wrong.
    pub reason: String,
}
