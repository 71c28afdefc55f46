//! When to give up on a record, and when to stop giving up on records.

use std::time::Duration;

/// What happens to a record that can't be processed.
///
/// Deserialisation errors are set aside at once: the bytes won't change. Errors of a processor are tried
/// [`attempts`](Policy::after_attempts) times in place first.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    attempts: u32,
    max_ratio: f64,
    max_input_bytes: usize,
}

/// Records over which the ratio is judged.
pub const RATIO_WINDOW: u64 = 10_000;
/// Below this many dead letters in a window the ratio is not judged: a handful of bad records is no epidemic.
pub const RATIO_FLOOR: u64 = 1_000;
/// How long the input rests when the ratio is exceeded, before it is probed again.
pub const RATIO_PAUSE: Duration = Duration::from_secs(10);

impl Policy {
    /// Sets a record aside once a processor has failed on it `attempts` times (at least 1).
    pub fn after_attempts(attempts: u32) -> Self {
        Policy { attempts: attempts.max(1), max_ratio: 1.0, max_input_bytes: usize::MAX }
    }

    /// Pauses the task's input, with a reason, when more than this part (0 to 1) of its last records were set aside:
    /// then it is not the records that are bad (rule D8). Judged over [`RATIO_WINDOW`] records, from [`RATIO_FLOOR`]
    /// dead letters on.
    #[must_use]
    pub fn max_ratio(mut self, ratio: f64) -> Self {
        self.max_ratio = ratio.clamp(0.0, 1.0);
        self
    }

    /// Sets aside records whose key and value together are larger than this, in bytes.
    #[must_use]
    pub fn max_input_bytes(mut self, bytes: usize) -> Self {
        self.max_input_bytes = bytes;
        self
    }

    /// How often a processor may fail on one record.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The largest input record in bytes.
    pub fn input_limit(&self) -> usize {
        self.max_input_bytes
    }

    /// A breaker for one task.
    pub fn breaker(&self) -> Breaker {
        Breaker { max_ratio: self.max_ratio, records: 0, dead_letters: 0 }
    }
}

/// Judges one task's ratio of dead letters.
#[derive(Debug)]
pub struct Breaker {
    max_ratio: f64,
    records: u64,
    dead_letters: u64,
}

impl Breaker {
    /// Counts a record; true when the input has to rest for [`RATIO_PAUSE`].
    pub fn count(&mut self, dead_letter: bool) -> bool {
        if self.records == RATIO_WINDOW {
            self.reset();
        }
        self.records += 1;
        self.dead_letters += u64::from(dead_letter);
        let tripped = dead_letter
            && self.dead_letters >= RATIO_FLOOR
            && self.dead_letters as f64 > self.max_ratio * self.records as f64;
        if tripped {
            self.reset();
        }
        tripped
    }

    fn reset(&mut self) {
        self.records = 0;
        self.dead_letters = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_breaker_trips_on_an_epidemic_and_not_on_a_handful() {
        let mut breaker = Policy::after_attempts(1).max_ratio(0.5).breaker();
        assert!((0..999).all(|_| !breaker.count(true)), "below the floor nothing is judged");
        assert!(breaker.count(true));
        let mut breaker = Policy::after_attempts(1).max_ratio(0.5).breaker();
        assert!((0..100_000).all(|i| !breaker.count(i % 3 == 0)));
    }

    #[test]
    fn ratio_of_one_never_trips() {
        let mut breaker = Policy::after_attempts(3).breaker();
        assert!((0..50_000).all(|_| !breaker.count(true)));
    }
}
