//! How quickly a store is restored, and how long it will still take.

use std::time::Duration;

use crate::clock::Instant;
use crate::position::Offset;
use crate::telemetry::RestoreProgress;

/// Weight of the last second in a rate: what was ten seconds ago counts for a thirtieth.
const WEIGHT: f64 = 0.3;

/// Counts what one store's restore has applied.
#[derive(Debug)]
pub(super) struct Meter {
    start: Offset,
    end: Offset,
    next: Offset,
    /// Records and bytes since it began, and those of them that were told.
    pub(super) records: u64,
    bytes: u64,
    told: (u64, u64),
    /// As of the last look.
    looked: (Instant, Offset, u64, u64),
    /// Offsets, records and bytes per second; none before the second look.
    rates: Option<[f64; 3]>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        let zero = Offset(0);
        let looked = (now, zero, 0, 0);
        Meter { start: zero, end: zero, next: zero, records: 0, bytes: 0, told: (0, 0), looked, rates: None }
    }

    /// A restore begins at `from`, within a changelog from `start` to `end`.
    pub(super) fn begin(&mut self, start: Offset, from: Offset, end: Offset, now: Instant) {
        (self.start, self.end, self.next) = (start, end, from);
        self.looked = (now, from, self.records, self.bytes);
    }

    /// Changelog offsets that are still to come: an upper bound of the records.
    pub(super) fn remaining(&self) -> u64 {
        self.remaining_from(self.next)
    }

    /// The same, from this offset on.
    pub(super) fn remaining_from(&self, next: Offset) -> u64 {
        u64::try_from(self.end.0 - next.0).unwrap_or(0)
    }

    pub(super) fn count(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes as u64;
    }

    pub(super) fn reached(&mut self, next: Offset) {
        self.next = next;
        self.end = self.end.max(next);
    }

    /// Records and bytes since the last call.
    pub(super) fn untold(&mut self) -> (u64, u64) {
        let now = (self.records, self.bytes);
        let before = std::mem::replace(&mut self.told, now);
        (now.0 - before.0, now.1 - before.1)
    }

    /// How far it has come (rule R-23).
    pub(super) fn look(&mut self, now: Instant) -> RestoreProgress {
        let (at, next, records, bytes) = self.looked;
        let seconds = now.saturating_duration_since(at).as_secs_f64();
        if seconds > 0.0 {
            let offsets = (self.next.0 - next.0).max(0) as f64;
            let latest = [offsets, (self.records - records) as f64, (self.bytes - bytes) as f64];
            let latest = latest.map(|count| count / seconds);
            // The longer the look back, the less is left of what was before.
            let weight = 1.0 - (1.0 - WEIGHT).powf(seconds);
            let blend = |(old, new): (f64, f64)| old + (new - old) * weight;
            self.rates = Some(match self.rates {
                None => latest,
                Some([a, b, c]) => [(a, latest[0]), (b, latest[1]), (c, latest[2])].map(blend),
            });
            self.looked = (now, self.next, self.records, self.bytes);
        }
        let [offsets, records, bytes] = self.rates.unwrap_or_default();
        RestoreProgress {
            done: u64::try_from(self.next.0 - self.start.0).unwrap_or(0),
            total: u64::try_from(self.end.0 - self.start.0).unwrap_or(0),
            offsets_per_second: offsets,
            records_per_second: records,
            bytes_per_second: bytes,
        }
    }
}

/// Between two looks.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r23_progress_rate_and_time_left_follow_from_what_was_applied() {
        let begun = Instant::now();
        let mut meter = Meter::new(begun);
        meter.begin(Offset(1_000), Offset(2_000), Offset(11_000), begun);
        assert_eq!((meter.look(begun).ratio(), meter.look(begun).eta()), (0.1, None));
        // A compacted log: two offsets for each record.
        for _ in 0..500 {
            meter.count(200);
        }
        meter.reached(Offset(3_000));
        let progress = meter.look(begun + PERIOD);
        assert_eq!((progress.done, progress.total, meter.remaining()), (2_000, 10_000, 8_000));
        assert_eq!((progress.records_per_second, progress.bytes_per_second), (500.0, 100_000.0));
        assert_eq!(progress.eta(), Some(Duration::from_secs(8)));
        assert_eq!((meter.untold(), meter.untold()), ((500, 100_000), (0, 0)));
        // It stands still: the rate falls, the time left grows.
        let later = meter.look(begun + 4 * PERIOD);
        assert!(later.records_per_second < 200.0, "{later:?}");
        assert!(later.eta() > Some(Duration::from_secs(20)), "{later:?}");
        meter.reached(Offset(11_000));
        assert_eq!(meter.look(begun + 5 * PERIOD).ratio(), 1.0);
    }
}
