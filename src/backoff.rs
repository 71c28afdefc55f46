//! Back-off: how long to wait before the next try, as a pure function of the attempt and a random number.
//!
//! Every retry in the runtime has a named bound; the clock and the dice are the caller's, so that the pure layers and the
//! simulation can use it, and a test can state each delay.

use std::time::Duration;

/// How much of a delay is random, so that clients which lost the same broker don't come back at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// None: the delay is exactly the exponential one.
    None,
    /// "Equal": between half of the exponential delay and all of it. Never hammers, spreads over half of the span.
    Equal,
    /// "Full": between zero and the exponential delay. Spreads best; a single try may come at once.
    Full,
}

/// Exponential back-off with an upper bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The delay before the first retry (attempt 0).
    pub initial: Duration,
    /// No delay is longer than this.
    pub max: Duration,
    /// Factor from one attempt to the next; below 1 counts as 1.
    pub multiplier: f64,
    /// How the delay is spread.
    pub jitter: Jitter,
}

impl Backoff {
    /// 50 ms, doubled up to 1 s, equal jitter: for one broker, while others may know more.
    pub const BROKER: Backoff = Backoff {
        initial: Duration::from_millis(50),
        max: Duration::from_secs(1),
        multiplier: 2.0,
        jitter: Jitter::Equal,
    };

    /// 100 ms, doubled up to 10 s, equal jitter: for a dependency that is away.
    pub const DEPENDENCY: Backoff = Backoff {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(10),
        multiplier: 2.0,
        jitter: Jitter::Equal,
    };

    /// 1 s, doubled up to 30 s, equal jitter: for the restart of a task or of a producer (rule R-13).
    pub const RESTART: Backoff = Backoff {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(30),
        multiplier: 2.0,
        jitter: Jitter::Equal,
    };

    /// The wait after failed try number `attempt` (0 is the first). `random01` is uniform in 0..1; anything outside, NaN
    /// included, is clamped. Never longer than [`max`](Self::max).
    #[must_use]
    pub fn delay(&self, attempt: u32, random01: f64) -> Duration {
        let multiplier = if self.multiplier >= 1.0 { self.multiplier } else { 1.0 };
        let max = self.max.as_secs_f64();
        // powf of a large attempt is infinite, and zero times infinity is NaN: `min` gives the bound for both.
        let exponential = (self.initial.as_secs_f64() * multiplier.powf(f64::from(attempt))).min(max);
        let random = if random01.is_nan() { 1.0 } else { random01.clamp(0.0, 1.0) };
        let seconds = match self.jitter {
            Jitter::None => exponential,
            Jitter::Equal => exponential * (0.5 + random / 2.0),
            Jitter::Full => exponential * random,
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Backoff = Backoff {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(1),
        multiplier: 2.0,
        jitter: Jitter::None,
    };

    #[test]
    fn doubles_up_to_the_bound() {
        let millis: Vec<u128> = (0..6).map(|attempt| PLAIN.delay(attempt, 0.5).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn equal_jitter_keeps_at_least_half() {
        let backoff = Backoff { jitter: Jitter::Equal, ..PLAIN };
        assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(100));
        assert_eq!(backoff.delay(1, 1.0), Duration::from_millis(200));
    }

    #[test]
    fn full_jitter_spreads_from_zero() {
        let backoff = Backoff { jitter: Jitter::Full, ..PLAIN };
        assert_eq!(backoff.delay(3, 0.0), Duration::ZERO);
        assert_eq!(backoff.delay(3, 1.0), Duration::from_millis(800));
    }

    proptest! {
        #[test]
        fn no_attempt_or_random_number_exceeds_the_bound(
            attempt: u32, random: f64, multiplier: f64, initial in 0u64..1_000_000, max in 0u64..1_000_000,
        ) {
            for jitter in [Jitter::None, Jitter::Equal, Jitter::Full] {
                let backoff = Backoff {
                    initial: Duration::from_millis(initial), max: Duration::from_millis(max), multiplier, jitter,
                };
                prop_assert!(backoff.delay(attempt, random) <= backoff.max);
            }
        }
    }
}
