//! Under which place in the group a transaction commits, and what proves that its partitions are still ours (rule N-4).
//!
//! ```text
//!  assigned as m-1 ──────────── held_as ─────────────────────────────┐ the same id: a member all the time
//!  generation 7 ─▶ seal (m-1, 7) ─▶ on the wire ─▶ refused: 22 ─▶ renew (m-1, 8) ─▶ committed
//!                       another member joins: generation 8 ─┘
//! ```
//!
//! Each rebalance gives the group a new generation, and the coordinator refuses positions of an old one. With a cooperative
//! assignor the members keep what does not move, go on with it, and so have a transaction on its way nearly always. Aborting it
//! would be a rewind of every instance for each that comes or goes. It is sent again under the new generation instead, and
//! that is as safe as waiting for the rebalance with the seal:
//!
//! * A partition leaves a member in two ways. **Asked for it back**, the member gives it up by the call that answers the revoke,
//!   and no other member gets it before: the leader withholds what somebody still claims. That call comes after the
//!   pipeline is drained ([`revoke`](super::rebalance)), so it never overtakes what is on the wire. **Thrown out**, by silence,
//!   its id is forgotten; whoever comes back does so under an id that the broker has made up anew. The coordinator compares
//!   ids, so what a zombie sends under the old one is refused, whatever the generation.
//! * So an id that is the same as when the partitions were assigned, and that the coordinator accepts, is that of a member
//!   which has been one all the time and has given nothing up. Its newest generation is as good as the one of the assignment.
//! * librdkafka may come back under a new id without telling of the loss (a join that finds the old id unknown). The id is
//!   compared here, therefore: another one than at the assignment ends everything that is held.
//!
//! An eager assignor takes all partitions before it joins, so nothing is on the wire when its generation changes.

use crate::kafka::Membership;

use super::halt::Halt;
use super::stream_thread::StreamThread;

impl StreamThread {
    /// Partitions are about to be taken: remembers as whom, if nothing was held before. Until the assignment is answered
    /// librdkafka does not join again, so the id is that of the assignment.
    pub(super) fn note_membership(&mut self) {
        if self.tasks.is_empty() && self.unopened.is_empty() {
            self.held_as = self.consumer.membership().map(|membership| membership.member().member_id.clone());
        }
    }

    /// The place in the group, taken now (rule R-6); `None` while there is none.
    ///
    /// # Errors
    /// It is another than the one under which the partitions were assigned: somebody else may have had them since.
    pub(super) fn membership(&mut self) -> Result<Option<Membership>, Halt> {
        let Some(membership) = self.consumer.membership() else { return Ok(None) };
        if self.held_as.as_ref() == Some(&membership.member().member_id) {
            return Ok(Some(membership));
        }
        Err(Halt::Forgotten("the group has thrown this member out and taken it in again under another id".to_owned()))
    }

    /// Sends the positions of the transaction on the wire again, if the group has gone on to another generation since the seal
    /// and this thread has heard of it.
    pub(super) fn renew_membership(&mut self) -> Result<(), Halt> {
        let Some(refused) = self.producer.outdated() else { return Ok(()) };
        let Some(membership) = self.membership()? else { return Ok(()) };
        if membership.member().generation > refused {
            self.producer.renew(&membership)?;
            self.options.telemetry.commit_renewed(&self.name, refused, membership.member().generation);
        }
        Ok(())
    }
}
