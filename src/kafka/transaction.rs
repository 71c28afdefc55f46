//! The seam between the commit cycle and whoever speaks transactions.

use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;

use crate::position::{Offset, Partition, TopicPartition};
use crate::record::{Headers, Timestamp};

/// Marks a changelog partition, so that the producer can say how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// A record on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition; `None` leaves it to murmur2 over the key.
    pub partition: Option<Partition>,
    /// Key bytes.
    pub key: Option<&'a [u8]>,
    /// Value bytes.
    pub value: Option<&'a [u8]>,
    /// Event time.
    pub timestamp: Timestamp,
    /// Headers.
    pub headers: &'a Headers,
    /// Set on changelog records.
    pub slot: Option<Slot>,
}

/// The consumer's place in its group, taken anew for each commit (rule R-6): it is what fences a zombie (KIP-447).
pub struct Membership(pub(super) ConsumerGroupMetadata);

/// Why the transaction can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// Abort, rewind, go on with a new producer.
    #[error("{0}")]
    Abort(String),
    /// Not done within its time; the same call on the same producer goes on where it was.
    #[error("{0}")]
    Again(String),
    /// Somebody newer has the id or the partitions.
    #[error("fenced: {0}")]
    Fenced(String),
    /// A human has to change something: authorisation, topic limits.
    #[error("{0}")]
    Fatal(String),
}

/// Produces records and commits them together with input positions, or not at all.
///
/// One implementation drives librdkafka, in a transactional and an idempotent (at-least-once) form. Used from one
/// thread; calls may block for their deadline.
pub trait TransactionalProducer {
    /// Takes over the transactional id: fences its last owner and aborts what that left open.
    ///
    /// # Errors
    /// See [`ProduceError`].
    fn initialise(&mut self, deadline: Instant) -> Result<(), ProduceError>;

    /// Adds a record to the transaction, which begins with its first one (rule R-8).
    ///
    /// # Errors
    /// See [`ProduceError`].
    fn append(&mut self, record: Outgoing<'_>) -> Result<(), ProduceError>;

    /// Serves delivery reports without blocking longer than `wait`.
    ///
    /// # Errors
    /// A delivery failed: the transaction can't commit.
    fn serve(&mut self, wait: Duration) -> Result<(), ProduceError>;

    /// Waits until every appended record is acknowledged.
    ///
    /// # Errors
    /// See [`ProduceError`].
    fn flush(&mut self, deadline: Instant) -> Result<(), ProduceError>;

    /// Puts the input positions into the transaction.
    ///
    /// # Errors
    /// See [`ProduceError`]; losing the membership is [`ProduceError::Fenced`].
    fn offsets(&mut self, positions: &[(TopicPartition, Offset)], membership: &Membership) -> Result<(), ProduceError>;

    /// Ends the transaction.
    ///
    /// # Errors
    /// See [`ProduceError`]. The outcome may be unknown; the changelog tells (rule R-18).
    fn commit(&mut self) -> Result<(), ProduceError>;

    /// Next offset of each changelog partition that was produced to since the last call.
    fn take_acknowledged(&mut self) -> Vec<(Slot, Offset)>;
}
