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

use std::time::Duration;

use crate::clock::Instant;
use crate::kafka::Rebalance;

use super::stream_thread::StreamThread;

/// For how long an answer is held back. librdkafka's JoinGroup is up to a heartbeat older than the revoke: what is left of its
/// second then is a little more than this as a rule.
const HELD_BACK: Duration = Duration::from_millis(700);

impl StreamThread {
    /// The next rebalance, if its time has come.
    pub(super) fn next_rebalance(&mut self) -> Option<Rebalance> {
        if self.may_be_held_back() {
            let now = Instant::now();
            if now < *self.handover.get_or_insert(now + HELD_BACK) {
                return None;
            }
        }
        self.handover = None;
        self.pending.pop_front()
    }

    fn may_be_held_back(&self) -> bool {
        let Some(Rebalance::Revoked { partitions, lost: false }) = self.pending.front() else { return false };
        let is_eager = self.options.kafka.co_partitioned;
        let is_well = self.failures == 0 && !self.resting && !self.shutdown.is_cancelled();
        !is_eager && is_well && self.pending.len() == 1 && self.tasks.inputs().iter().any(|at| partitions.contains(at))
    }
}
