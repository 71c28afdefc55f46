//! How long partitions wait because of a rebalance or a recovery (rule R-30): what a user notices of it.
//!
//! ```text
//!  stays     the thread answers the rebalance ─▶ done                     that long
//!  comes     assigned ─▶ restored ─▶ its first record, or nothing there   until its first record
//!  recovers  aborted ─▶ rewound ───▶ its first record, or nothing there   until its first record
//! ```
//!
//! A partition at its end has nobody waiting, so it counts nothing. How long a partition had no owner, before it came, nobody
//! here knows; after a clean move that is a few milliseconds, after a kill the session's time-out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Instant;
use crate::position::{Partition, TopicPartition};

use super::stream_thread::StreamThread;

/// Partitions that wait for their first record.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<TopicPartition, Instant>);

impl Gaps {
    /// Looked at for each portion of records; mostly there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These wait from now on, or have been waiting already.
    pub(super) fn begin(&mut self, partitions: &[TopicPartition], now: Instant) {
        for at in partitions {
            self.0.entry(at.clone()).or_insert(now);
        }
    }

    /// A record of this one is being processed: how long it has waited.
    pub(super) fn end(&mut self, at: &TopicPartition, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.0.remove(at)?))
    }

    /// Everything in partitions of this number was read: nobody waits.
    pub(super) fn is_at_end(&mut self, partition: Partition) {
        self.0.retain(|at, _| at.partition != partition);
    }

    /// Whoever has these now counts for them.
    pub(super) fn forget(&mut self, partitions: &[TopicPartition]) {
        self.0.retain(|at, _| !partitions.contains(at));
    }
}

impl StreamThread {
    /// Records of a partition are about to be processed.
    #[inline]
    pub(super) fn end_gap(&mut self, at: impl FnOnce() -> TopicPartition) {
        if self.gaps.is_empty() {
            return;
        }
        if let Some(waited) = self.gaps.end(&at(), Instant::now()) {
            self.options.telemetry.metrics.partition_gap.with([]).observe(waited.as_secs_f64());
        }
    }

    /// Partitions of this number have nothing more to read for now.
    pub(super) fn note_end(&mut self, partition: Partition) {
        self.ended.insert(partition);
        self.gaps.is_at_end(partition);
    }

    /// All that is open has waited for so long while the thread answered a rebalance.
    pub(super) fn note_interruption(&mut self, took: Duration) {
        let gap = self.options.telemetry.metrics.partition_gap.with([]);
        let waiting = self.tasks.inputs().len();
        (0..waiting).for_each(|_| gap.observe(took.as_secs_f64()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition { topic: "in".into(), partition: Partition(partition) }
    }

    #[test]
    fn r30_a_gap_lasts_from_its_first_reason_to_the_first_record() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        let second = Duration::from_secs(1);
        gaps.begin(&[at(0), at(1), at(2)], now);
        gaps.begin(&[at(0)], now + second);
        assert_eq!(gaps.end(&at(0), now + 3 * second), Some(3 * second));
        assert_eq!(gaps.end(&at(0), now + 4 * second), None, "it has ended");
        gaps.is_at_end(Partition(1));
        gaps.forget(&[at(2)]);
        assert!(gaps.is_empty());
    }
}
