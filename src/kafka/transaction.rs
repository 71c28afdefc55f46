//! The seam between the commit cycle and whoever speaks transactions.

use std::time::{Duration, Instant};

use crate::position::{Offset, TopicPartition};
pub use crate::wire::producer::{Committed, Member, Outgoing, ProduceError, Slot, TooLarge};

use super::membership::Membership;

/// Produces records and commits them together with input positions, or not at all.
///
/// ```text
///  append append … seal ──▶ on the wire ──▶ outcome: Committed
///                   append append …  (the next transaction, meanwhile)
/// ```
///
/// Two transactions at most: one that is being filled, and one on the wire (rule N-5). Used from one thread; calls may
/// block for their deadline. After any error but [`ProduceError::Again`] the producer is to be thrown away.
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

    /// Closes the transaction together with these input positions, and sends it on its way. To be called only when
    /// [`outcome`](Self::outcome) has told of the one before. Without a membership, as under at-least-once, the positions
    /// are the caller's to commit.
    ///
    /// # Errors
    /// See [`ProduceError`]; having lost the membership is [`ProduceError::Fenced`].
    fn seal(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        membership: Option<&Membership>,
    ) -> Result<(), ProduceError>;

    /// What became of the sealed transaction; `None` while it is on the wire, after at most `wait`.
    ///
    /// # Errors
    /// See [`ProduceError`]. The transaction may have committed all the same; the changelog tells (rule R-18).
    fn outcome(&mut self, wait: Duration) -> Result<Option<Committed>, ProduceError>;

    /// The generation under which the sealed transaction's positions were refused, because the group has gone on to another
    /// one; [`renew`](Self::renew) sends them again. A producer that can't do so fails as fenced instead.
    fn outdated(&self) -> Option<i32> {
        None
    }

    /// Sends the sealed transaction's positions again, with the same member's place in a newer generation.
    ///
    /// # Errors
    /// [`ProduceError::Fenced`] if it is no place in the group.
    fn renew(&mut self, membership: &Membership) -> Result<(), ProduceError> {
        _ = membership;
        Ok(())
    }

    /// Why this producer should be replaced although its transaction has committed: a request of it may still be on its
    /// way, and would end the next one (rule R-11). Transactions v2 can't be hit by that.
    fn suspicion(&self) -> Option<&str> {
        None
    }
}
