//! Throttle: the first of a flood of equal log lines, then one in a while with the number of those held back.
//!
//! A poisoned topic makes a million dead letters a minute; the counter is exact, and the log stays readable.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Different floods that are told apart; further ones share a slot.
const MAX_KEYS: usize = 512;

/// Lets the first through, and then one in each interval, by key.
#[derive(Debug)]
pub(super) struct Throttle {
    interval: Duration,
    slots: Mutex<HashMap<String, Slot>>,
}

#[derive(Debug)]
struct Slot {
    last: Instant,
    held_back: u64,
}

impl Throttle {
    pub(super) fn new(interval: Duration) -> Self {
        Throttle { interval, slots: Mutex::default() }
    }

    /// `Some(n)`: say it, n were held back since the last. `None`: hold it back.
    pub(super) fn admit(&self, key: &str, now: Instant) -> Option<u64> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if slots.len() < MAX_KEYS || slots.contains_key(key) { key } else { "" };
        let Some(slot) = slots.get_mut(key) else {
            slots.insert(key.to_owned(), Slot { last: now, held_back: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(slot.last) < self.interval {
            slot.held_back += 1;
            return None;
        }
        slot.last = now;
        Some(std::mem::take(&mut slot.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_the_first_and_then_one_in_each_interval_with_the_count() {
        let throttle = Throttle::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(throttle.admit("a", at(0)), Some(0));
        assert_eq!(throttle.admit("a", at(1)), None);
        assert_eq!(throttle.admit("b", at(1)), Some(0));
        assert_eq!(throttle.admit("a", at(9)), None);
        assert_eq!(throttle.admit("a", at(10)), Some(2));
        assert_eq!(throttle.admit("a", at(30)), Some(0));
    }

    #[test]
    fn keys_are_bounded() {
        let throttle = Throttle::new(Duration::from_secs(10));
        let now = Instant::now();
        let admitted = (0..MAX_KEYS * 3).filter(|key| throttle.admit(&key.to_string(), now).is_some()).count();
        assert_eq!(admitted, MAX_KEYS + 1);
    }
}
