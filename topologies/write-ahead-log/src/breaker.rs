//! Circuit breakers: a target that has failed often in a row is left alone for a while.
//!
//! One for each target of a namespace, of this process: what it knows is a guess that saves calls, and nothing depends on it.
//!
//! ```text
//!  closed ── so many failures in a row ──▶ open ── its time is over ──▶ one line is let through
//!    ▲                                      ▲                              │
//!    └──────────────── done ────────────────┼──────────────────────────────┤
//!                                           └────────── not done ──────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The state of one.
#[derive(Debug, Clone, Copy, Default)]
struct Breaker {
    failures: u32,
    /// In milliseconds since the epoch; 0 while it is closed.
    open_until: i64,
}

/// When one opens.
#[derive(Debug, Clone, Copy)]
pub struct Trip {
    /// Failures in a row; 0: never.
    pub failures: u32,
    /// How long it stays open, in milliseconds.
    pub open_ms: i64,
}

/// The breakers of a process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Breakers(Arc<Mutex<BTreeMap<String, Breaker>>>);

impl Breakers {
    /// Until when a target is to be left alone, if it is: in milliseconds since the epoch. Whoever is let through after it was open
    /// is the one whose outcome counts; for the others it stays open so much longer.
    pub fn open_until(&self, target: &str, trip: Trip, now: i64) -> Option<i64> {
        let mut breakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.get_mut(target).filter(|breaker| breaker.open_until > 0)?;
        if breaker.open_until > now {
            return Some(breaker.open_until);
        }
        breaker.open_until = now.saturating_add(trip.open_ms);
        None
    }

    /// A call was done.
    pub fn done(&self, target: &str) {
        let mut breakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.remove(target);
    }

    /// A call was not done; true if that has opened the breaker.
    pub fn failed(&self, target: &str, trip: Trip, now: i64) -> bool {
        if trip.failures == 0 {
            return false;
        }
        let mut breakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.entry(target.to_owned()).or_default();
        breaker.failures = breaker.failures.saturating_add(1);
        let opens = breaker.failures >= trip.failures && breaker.open_until <= now;
        if opens {
            breaker.open_until = now.saturating_add(trip.open_ms);
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Trip = Trip { failures: 2, open_ms: 100 };

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_through_when_its_time_is_over() {
        let breakers = Breakers::default();
        assert!(!breakers.failed("a", TRIP, 0));
        breakers.done("a");
        assert!(!breakers.failed("a", TRIP, 0), "in a row");
        assert!(breakers.failed("a", TRIP, 10));
        assert_eq!(breakers.open_until("a", TRIP, 20), Some(110));
        assert_eq!(breakers.open_until("b", TRIP, 20), None, "each target has its own");
        assert_eq!(breakers.open_until("a", TRIP, 110), None, "one is let through");
        assert_eq!(breakers.open_until("a", TRIP, 110), Some(210), "and no other");
        breakers.done("a");
        assert_eq!(breakers.open_until("a", TRIP, 111), None);
    }

    #[test]
    fn one_that_never_trips_stays_closed() {
        let (breakers, never) = (Breakers::default(), Trip { failures: 0, open_ms: 100 });
        for now in 0..100 {
            assert!(!breakers.failed("a", never, now));
        }
        assert_eq!(breakers.open_until("a", never, 100), None);
    }
}
