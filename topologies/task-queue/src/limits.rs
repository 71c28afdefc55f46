//! How fast, and how many at a time, a queue's attempts are handed out: over all instances together.
//!
//! The rate is kept by one number, the time at which the next attempt is due if they come evenly (the generic cell rate algorithm,
//! ITU-T I.371): whoever comes no more than a burst ahead of it passes, and moves it on.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// In microseconds; attempts of so much time may come at once.
const BURST: i64 = 100_000;
/// In microseconds; so far may the clocks of two owners be apart.
const SKEW: i64 = 1_000_000;

/// So many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Between two, in microseconds.
    interval: i64,
}

impl FromStr for Rate {
    type Err = String;

    /// `"100/s"`, `"5/m"`, `"1000/h"`, `"10/d"`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a rate; write it like \"100/s\", \"5/m\", \"1000/h\" or \"10/d\"");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let count: i64 = count.trim().parse().map_err(|_| wrong())?;
        let unit: i64 = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        let interval = (unit * 1_000_000).checked_div(count).filter(|_| count > 0).ok_or_else(wrong)?;
        match interval {
            0 => Err(format!("`{text}` is more than a million a second; leave it out")),
            interval => Ok(Rate { interval }),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Rate {
    /// Whether one may pass now; `due` is what [`passed`](Self::passed) said last, 0 at first. Both in microseconds since the epoch.
    fn lets_pass(self, due: i64, now: i64) -> bool {
        // The first one of a burst is in time, so that there is a burst less one to come before it.
        self.own(due, now) <= now.saturating_add((BURST - self.interval).max(0))
    }

    fn passed(self, due: i64, now: i64) -> i64 {
        self.own(due, now).max(now).saturating_add(self.interval)
    }

    /// What is further ahead than this rate sets it is of a slower one that it has replaced, or of a clock that was set back: whoever
    /// waited for that might wait for hours.
    fn own(self, due: i64, now: i64) -> i64 {
        if due > now.saturating_add(BURST.max(self.interval) + SKEW) { now } else { due }
    }
}

/// What holds for a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// How many may begin in a time.
    pub rate: Option<Rate>,
    /// How many may be with handlers at a time.
    pub running: Option<i64>,
}

impl Limits {
    /// Whether there are any.
    pub fn is_limited(&self) -> bool {
        *self != Limits::default()
    }

    /// Whether one more may be handed out. `due` as in [`passed`](Self::passed), `now` in milliseconds.
    pub fn let_pass(&self, running: i64, due: i64, now: i64) -> bool {
        self.running.is_none_or(|most| running < most)
            && self.rate.is_none_or(|rate| rate.lets_pass(due, now.saturating_mul(1_000)))
    }

    /// When the next one is due, in microseconds since the epoch, after one has been handed out.
    pub fn passed(&self, due: i64, now: i64) -> i64 {
        self.rate.map_or(0, |rate| rate.passed(due, now.saturating_mul(1_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pass from `begin` to `end`, in milliseconds, with one look each `tick`.
    fn pass(limits: Limits, due: &mut i64, (begin, end): (i64, i64), tick: usize) -> i64 {
        let mut passed = 0;
        for now in (begin..end).step_by(tick) {
            while limits.let_pass(0, *due, now) {
                *due = limits.passed(*due, now);
                passed += 1;
            }
        }
        passed
    }

    fn of(rate: &str) -> Limits {
        Limits { rate: Some(rate.parse().unwrap()), running: None }
    }

    #[test]
    fn a_rate_that_is_raised_holds_at_once() {
        let mut due = 0;
        assert_eq!(pass(of("1/h"), &mut due, (0, 1_000), 100), 1);
        assert_eq!(pass(of("1/h"), &mut due, (1_000, 3_600_000), 1_000), 0);
        assert_eq!(pass(of("1/h"), &mut due, (3_600_000, 3_601_000), 100), 1);
        let in_ten_seconds = pass(of("100/s"), &mut due, (3_601_000, 3_611_000), 10);
        assert!((1_000..=1_010).contains(&in_ten_seconds), "{in_ten_seconds}");
    }

    #[test]
    fn a_rate_is_kept_whatever_came_before_and_its_burst_is_a_tenth_of_a_second() {
        for (rate, in_ten_seconds, burst) in
            [("100/s", 1_000, 10), ("60/m", 10, 1), ("36000/h", 100, 1), ("5/s", 50, 1)]
        {
            let (limits, mut due) = (of(rate), 0);
            let first = pass(limits, &mut due, (1_000_000, 1_010_000), 10);
            assert!((in_ten_seconds..=in_ten_seconds + burst).contains(&first), "{rate}: {first}");
            // An hour in which nothing came is not made up for.
            let later = pass(limits, &mut due, (4_600_000, 4_600_001), 1);
            assert_eq!(later, burst, "{rate}");
        }
    }

    #[test]
    fn a_slow_rate_spreads_them_evenly() {
        let (limits, mut due) = (of("6/m"), 0);
        assert_eq!(pass(limits, &mut due, (0, 1), 1), 1);
        assert_eq!(pass(limits, &mut due, (1, 9_990), 10), 0);
        assert_eq!(pass(limits, &mut due, (9_990, 10_010), 10), 1);
    }

    #[test]
    fn what_is_no_rate_is_refused_with_an_example() {
        for wrong in ["", "5", "5/w", "x/s", "0/s", "-1/s", "5 per s"] {
            assert!(wrong.parse::<Rate>().unwrap_err().contains("write it like"), "{wrong}");
        }
        assert!("2000000/s".parse::<Rate>().unwrap_err().contains("leave it out"));
        assert_eq!(" 10 / s ".trim().parse::<Rate>(), "10/s".parse());
    }

    #[test]
    fn no_more_than_may_run_are_let_pass() {
        let limits = Limits { rate: None, running: Some(2) };
        assert!(limits.is_limited() && !Limits::default().is_limited());
        assert!(limits.let_pass(1, 0, 0) && !limits.let_pass(2, 0, 0));
        assert!(Limits::default().let_pass(i64::MAX, i64::MAX, 0));
    }
}
