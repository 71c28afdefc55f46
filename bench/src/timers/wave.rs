//! Which timers there are, and when each is due: known from its number, so that nothing has to be remembered.

use std::time::Duration;

use crate::counting::now_ms;

const HOUR_MS: u64 = 3_600_000;
const TEN_YEARS_MS: u64 = 10 * 365 * 24 * HOUR_MS;

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Timers that are not due while anybody looks on: at random from an hour to ten years ahead. Their numbers begin with 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Far {
    pub(super) count: u64,
    begun: i64,
}

impl Far {
    pub(super) fn new(count: u64) -> Self {
        Far { count, begun: now_ms() }
    }

    /// When one is due.
    pub(super) fn due(&self, number: u64) -> i64 {
        let ahead = HOUR_MS + fastrand::Rng::with_seed(number).u64(..TEN_YEARS_MS);
        self.begun + ahead.cast_signed()
    }

    pub(super) fn timers(self) -> impl Iterator<Item = (u64, i64)> {
        (0..self.count).map(move |number| (number, self.due(number)))
    }
}

/// Timers that are due soon, evenly.
#[derive(Debug, Clone)]
pub(super) struct Wave {
    first: u64,
    pub(super) timers: u64,
    rate: u64,
    begin: i64,
}

impl Wave {
    /// The numbers from `first` on; the first is due after `lead`.
    pub(super) fn new(first: u64, rate: u64, seconds: u64, lead: Duration) -> Self {
        Wave { first, timers: rate * seconds, rate, begin: now_ms() + millis(lead) }
    }

    /// Whether the first one is due.
    pub(super) fn has_begun(&self) -> bool {
        now_ms() >= self.begin
    }

    /// The place of a timer in it; none if it is another's.
    pub(super) fn place(&self, number: u64) -> Option<usize> {
        let place = number.checked_sub(self.first).filter(|place| *place < self.timers)?;
        usize::try_from(place).ok()
    }

    /// When the one at a place is due.
    pub(super) fn due(&self, place: u64) -> i64 {
        self.begin + (place * 1000 / self.rate).cast_signed()
    }

    pub(super) fn timers(self) -> impl Iterator<Item = (u64, i64)> {
        (0..self.timers).map(move |place| (self.first + place, self.due(place)))
    }
}
