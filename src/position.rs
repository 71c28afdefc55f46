//! Where a record stands: topic, partition, offset; and which task owns it.
//!
//! Offsets and partitions are types of their own, so that the two integers can't be swapped across modules.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A partition's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

/// An offset in a partition. As a *position* it is the next offset to read, that is last processed + 1 (rule R-7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The position after this offset.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: Partition,
}

/// Place of one record; what every error carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
}

/// What has asked for an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An input record.
    Record(Position),
    /// A punctuator, at one of its ticks.
    Punctuator {
        /// The task that it belongs to.
        task: TaskId,
        /// `<processor>/<punctuator>`.
        name: Arc<str>,
    },
}

/// A task: one sub-topology × one partition, written `0_3` as in Kafka Streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The sub-topology's number.
    pub sub_topology: u32,
    /// The partition.
    pub partition: Partition,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

/// A task's name as [`Display`](fmt::Display) writes it; the error says nothing, since who reads it knows the text.
impl FromStr for TaskId {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let (sub_topology, partition) = name.split_once('_').ok_or(())?;
        let partition = Partition(partition.parse().map_err(drop)?);
        Ok(TaskId { sub_topology: sub_topology.parse().map_err(drop)?, partition })
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.sub_topology, self.partition)
    }
}

/// The longest name of a topic, in characters.
const LONGEST_TOPIC: usize = 249;

/// Whether brokers take this as the name of a topic.
///
/// # Errors
/// What is wrong with it, and what can be.
pub fn is_topic_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let reason = match name {
        "" => "is empty",
        "." | ".." => "is . or ..",
        _ if name.len() > LONGEST_TOPIC => "is too long",
        _ if !name.chars().all(fine) => "holds other characters",
        _ => return Ok(()),
    };
    Err(format!("the name of a topic {reason}; use a-z, A-Z, 0-9, ., _ and -, at most {LONGEST_TOPIC} of them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_called_what_brokers_take() {
        let (longest, longer) = ("x".repeat(LONGEST_TOPIC), "x".repeat(LONGEST_TOPIC + 1));
        for name in ["a", "A.b_c-9", "...", &longest] {
            assert_eq!(is_topic_name(name), Ok(()), "{name}");
        }
        let wrong =
            [("", "empty"), (".", ". or .."), ("..", ". or .."), ("a b", "other"), ("ä", "other"), (&longer, "long")];
        for (name, reason) in wrong {
            assert!(is_topic_name(name).is_err_and(|error| error.contains(reason)), "{name}");
        }
    }
}
