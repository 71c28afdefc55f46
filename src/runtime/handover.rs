//! What is asked back is worked on until somebody could take it.
//!
//! ```text
//!  first rebalance ends ─▶ Revoked ─────── still processed ───────▶ commit, close, answer ─▶ second rebalance ─▶ new owner
//!  JoinGroup │◀──────────── librdkafka sends no other within 1 s ─────────────▶│
//! ```
//!
//! Partitions move in two rebalances (KIP-429). The second one begins with the JoinGroup of who gave them up, and librdkafka lets
//! a second go by between two of them. Who answers the revoke at once leaves its partitions to nobody for that second. So the answer
//! is held back for most of it: nobody else has the partitions before it (rule N-4), and a commit is as good as ever, since the
//! group rests in one generation meanwhile.
//!
//! An eager assignor has paused everybody already, and where nothing is processed there is nothing to gain.
//!
//! An orderly stop leaves the group, and its partitions are taken over in one rebalance. If there has just been another, as when
//! instances are restarted one after the other, the heirs' JoinGroups wait out that second, too. So who stops goes on until it is over.

use std::time::Duration;

use crate::clock::Instant;
use crate::kafka::Rebalance;

use super::stream_thread::StreamThread;

/// librdkafka sends no other JoinGroup for so long.
const JOIN_PAUSE: Duration = Duration::from_secs(1);
/// For how long an answer is held back. The JoinGroup is up to a heartbeat older than the revoke: what is left of its second then
/// is a little more than this as a rule.
const HELD_BACK: Duration = Duration::from_millis(700);

/// What is waited for before partitions are given up.
#[derive(Debug, Default)]
pub(super) struct Handover {
    /// Until when the answer to the revoke in hand is held back.
    held_back: Option<Instant>,
    /// When the last rebalance was answered.
    rebalanced: Option<Instant>,
}

impl Handover {
    /// Whether others may not send a JoinGroup yet, and the deadline leaves time to wait for that.
    fn is_recent(&self, now: Instant, shutdown_deadline: Duration) -> bool {
        let patience = JOIN_PAUSE.min(shutdown_deadline / 4);
        self.rebalanced.is_some_and(|rebalanced| now.saturating_duration_since(rebalanced) < patience)
    }
}

impl StreamThread {
    /// The next rebalance, if its time has come.
    pub(super) fn next_rebalance(&mut self) -> Option<Rebalance> {
        let now = Instant::now();
        if self.may_be_held_back() && now < *self.handover.held_back.get_or_insert(now + HELD_BACK) {
            return None;
        }
        let next = self.pending.pop_front()?;
        self.handover = Handover { held_back: None, rebalanced: Some(now) };
        Some(next)
    }

    fn may_be_held_back(&self) -> bool {
        let Some(Rebalance::Revoked { partitions, lost: false }) = self.pending.front() else { return false };
        let is_eager = self.options.kafka.co_partitioned;
        let others = self.pending.len() > 1 || self.shutdown.is_cancelled();
        !is_eager && !others && self.is_well() && self.tasks.inputs().iter().any(|at| partitions.contains(at))
    }

    fn is_well(&self) -> bool {
        self.failures == 0 && !self.resting
    }

    /// Whether a stop that was asked for has to begin now.
    pub(super) fn has_to_stop(&self) -> bool {
        let may_stay = self.is_well() && self.pending.is_empty() && !self.tasks.is_empty();
        let is_recent = || self.handover.is_recent(Instant::now(), self.options.shutdown_deadline);
        self.shutdown.is_cancelled() && !(may_stay && is_recent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r16_a_stop_waits_out_the_pause_after_a_rebalance_and_a_quarter_of_its_deadline_at_most() {
        let (start, deadline) = (Instant::now(), Duration::from_secs(30));
        let after = |millis| start + Duration::from_millis(millis);
        let mut handover = Handover::default();
        assert!(!handover.is_recent(start, deadline), "there was none");
        handover.rebalanced = Some(start);
        assert!(handover.is_recent(after(999), deadline) && !handover.is_recent(after(1_000), deadline));
        let short = Duration::from_secs(2);
        assert!(handover.is_recent(after(499), short) && !handover.is_recent(after(500), short));
    }
}
