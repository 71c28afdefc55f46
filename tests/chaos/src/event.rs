//! What flows through a run's topology: numbered events, and what has become of a key after each of them.
//!
//! An event says whose it is and which one it is, so that a reader of any topic can tell what is missing, doubled or out of
//! order without asking anybody.

use std::fmt;
use std::str::FromStr;

/// Odd, with bits all over: the golden ratio's.
pub(crate) const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Keys of the second stage: few, so that each has events from every partition.
const GROUPS: u64 = 12;
/// Amounts are below this, on both sides of zero.
const LARGEST_AMOUNT: i64 = 1000;

/// The `number`th event of an origin, from 1; as text `origin number amount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    /// Whose it is.
    pub origin: u32,
    /// Its number among those of its origin, from 1.
    pub number: u64,
    /// What is summed.
    pub amount: i64,
}

impl Event {
    /// The event with this number: always the same one.
    pub fn nth(origin: u32, number: u64) -> Event {
        let spread = (u64::from(origin) << 32 ^ number).wrapping_mul(SPREAD) >> 33;
        let amount = i64::try_from(spread).unwrap_or(0) % (2 * LARGEST_AMOUNT) - LARGEST_AMOUNT;
        Event { origin, number, amount }
    }

    /// Its key in the first stage.
    pub fn key(&self) -> String {
        format!("key-{}", self.origin)
    }

    /// Its key in the second stage.
    pub fn group(&self) -> String {
        format!("group-{}", (u64::from(self.origin) + self.number) % GROUPS)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.origin, self.number, self.amount)
    }
}

/// The fold of a key's events so far; as text `count sum min max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Of all amounts.
    pub sum: i64,
    /// The least amount.
    pub min: i64,
    /// The largest amount.
    pub max: i64,
}

impl Tally {
    /// Of no event.
    pub const NONE: Tally = Tally { count: 0, sum: 0, min: i64::MAX, max: i64::MIN };

    /// With one more event.
    #[must_use]
    pub fn with(self, amount: i64) -> Tally {
        Tally { count: self.count + 1, sum: self.sum + amount, min: self.min.min(amount), max: self.max.max(amount) }
    }

    /// Its parts, in the order of [`STORES`](crate::topology::STORES).
    pub fn parts(&self) -> [i64; 4] {
        [i64::try_from(self.count).unwrap_or(i64::MAX), self.sum, self.min, self.max]
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.count, self.sum, self.min, self.max)
    }
}

/// An event with the fold that it made; as text both, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tallied {
    /// The event.
    pub event: Event,
    /// What its key's events come to, this one included.
    pub tally: Tally,
}

impl fmt::Display for Tallied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.event, self.tally)
    }
}

/// A text that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotOurs(String);

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not ours: {:?}", self.0)
    }
}

impl std::error::Error for NotOurs {}

fn numbers<const N: usize>(text: &str) -> Result<[i64; N], NotOurs> {
    let bad = || NotOurs(text.to_owned());
    let numbers: Result<Vec<i64>, _> = text.split(' ').map(str::parse).collect();
    numbers.map_err(|_| bad())?.try_into().map_err(|_| bad())
}

fn event(origin: i64, number: i64, amount: i64) -> Option<Event> {
    Some(Event { origin: u32::try_from(origin).ok()?, number: u64::try_from(number).ok()?, amount })
}

impl FromStr for Event {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let [origin, number, amount] = numbers(text)?;
        event(origin, number, amount).ok_or_else(|| NotOurs(text.to_owned()))
    }
}

impl FromStr for Tallied {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let [origin, number, amount, count, sum, min, max] = numbers(text)?;
        let bad = || NotOurs(text.to_owned());
        let tally = Tally { count: u64::try_from(count).map_err(|_| bad())?, sum, min, max };
        Ok(Tallied { event: event(origin, number, amount).ok_or_else(bad)?, tally })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        let event = Event::nth(7, 12);
        let tallied = Tallied { event, tally: Tally::NONE.with(event.amount).with(-3) };
        assert_eq!(event.to_string().parse(), Ok(event));
        assert_eq!(tallied.to_string().parse(), Ok(tallied));
        for bad in ["", "1 2", "1 2 3 4", "1 -2 3", "x 2 3"] {
            assert!(bad.parse::<Event>().is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_are_spread_to_both_sides_of_zero() {
        let tally = (1..=1000).fold(Tally::NONE, |tally, number| tally.with(Event::nth(3, number).amount));
        assert!(tally.min < -900 && tally.max > 900 && tally.count == 1000, "{tally}");
    }
}
