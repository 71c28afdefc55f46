//! Versions: which of two writes of one key is the later one, wherever they were made (rule W14).
//!
//! ```text
//!  eu:  put a ── version 7 eu ──▶ log ──▶ cache          versions: a ▶ 7 eu, then 9 us
//!                   ╳ regions are apart                            ▲
//!  us:  put a ── version 9 us ──▶ log ──▶ cache          versions: a ▶ 9 us; 7 eu comes: older, a conflict
//! ```
//!
//! Each region writes without asking another one, and what is written in one is sent to the others. So two writes of a key may cross,
//! and each region takes the one with the greater version for the last, in whatever order they come (last writer wins). Versions are
//! times of a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014; crate `uhlc`): never behind what was
//! seen of other regions, so that who answers a write is after it, and close to the time of day otherwise.
//!
//! A mutation that is put off is as late as its time comes, not as it was written: a delete in an hour is later than a put in half of it.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uhlc::{HLC, HLCBuilder, NTP64, Timestamp};

/// No time that is heard is too far ahead for the clock itself: namespaces have a limit of their own.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

/// When and where something was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Hybrid logical time: seconds since the epoch in the upper half, unsigned.
    pub at: i64,
    /// The region.
    pub region: String,
}

impl Version {
    /// Its time of day, in milliseconds since the epoch.
    pub fn millis(&self) -> i64 {
        millis(self.at)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        (unsigned(self.at), &self.region).cmp(&(unsigned(other.at), &other.region))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.region)
    }
}

/// A time's bits: from 2038 on the upper one is set.
fn unsigned(at: i64) -> u64 {
    u64::from_ne_bytes(at.to_ne_bytes())
}

fn signed(time: NTP64) -> i64 {
    i64::from_ne_bytes(time.as_u64().to_ne_bytes())
}

fn time_of(millis: i64) -> NTP64 {
    NTP64::from(Duration::from_millis(millis.max(0).unsigned_abs()))
}

fn millis(at: i64) -> i64 {
    // Rounded up, since a time of whole milliseconds has a fraction that ends a little below.
    let nanos = NTP64(unsigned(at)).to_duration().as_nanos();
    i64::try_from(nanos.div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

thread_local! {
    /// The time of day, for the clock that asks for it on the same thread: `uhlc` takes a function, which holds nothing.
    static NOW: Cell<NTP64> = const { Cell::new(NTP64(0)) };
}

/// The process's hybrid logical clock. Clones are the same.
#[derive(Clone)]
pub struct Clock(Arc<HLC>);

impl Default for Clock {
    fn default() -> Self {
        Clock(Arc::new(HLCBuilder::new().with_clock(|| NOW.get()).with_max_delta(NO_LIMIT).build()))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// A time after all that it has given and heard; `now` in milliseconds since the epoch.
    pub fn stamp(&self, now: i64) -> i64 {
        NOW.set(time_of(now));
        signed(*self.0.new_timestamp().get_time())
    }

    /// Is never behind this time again.
    pub fn hear(&self, at: i64, now: i64) {
        NOW.set(time_of(now));
        let heard = Timestamp::new(NTP64(unsigned(at)), *self.0.get_id());
        // It has no limit.
        _ = self.0.update_with_timestamp(&heard);
    }
}

/// A time of day as a version's, in milliseconds since the epoch.
pub fn at_millis(millis: i64) -> i64 {
    signed(time_of(millis))
}

/// The later one of two times.
pub fn later(one: i64, other: i64) -> i64 {
    if unsigned(one) < unsigned(other) { other } else { one }
}

/// What is remembered of a key: its last version, and until when it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The last version.
    pub version: Version,
    /// It need not be known any more, in milliseconds since the epoch.
    pub until: i64,
}

impl Kept {
    /// As stored, and as `/state` shows it.
    pub fn encode(&self) -> String {
        format!("{} {} {}", self.version.at, self.until, self.version.region)
    }

    /// None of what nobody has written.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let (at, until) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Kept { version: Version { at, region: parts.next()?.to_owned() }, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w14_who_has_heard_of_a_write_is_after_it_whatever_its_clock_says() {
        let (ahead, behind) = (Clock::default(), Clock::default());
        let first = ahead.stamp(2_000_000);
        behind.hear(first, 1_000_000);
        let second = behind.stamp(1_000_000);
        assert!(unsigned(second) > unsigned(first));
        assert!(unsigned(behind.stamp(1_000_000)) > unsigned(second));
        assert_eq!(millis(behind.stamp(3_000_000)), 3_000_000, "and is the time of day again");
    }

    #[test]
    fn w14_times_are_compared_without_their_sign_and_equal_ones_by_region() {
        let version = |at, region: &str| Version { at, region: region.to_owned() };
        let (before, after) = (at_millis(2_147_483_647_000), at_millis(2_147_483_648_000));
        assert!(before > 0 && after < 0, "the year 2038");
        assert!(version(before, "us") < version(after, "eu"));
        assert!(version(before, "eu") < version(before, "us"));
        assert_eq!(later(before, after), after);
        assert_eq!(version(after, "eu").millis(), 2_147_483_648_000);
        for ms in [1_700_000_000_001, 1_700_000_000_999] {
            assert_eq!(version(at_millis(ms), "").millis(), ms);
        }
    }

    #[test]
    fn what_is_kept_reads_as_it_was_written() {
        let kept = Kept { version: Version { at: -7, region: "eu".to_owned() }, until: 9 };
        assert_eq!(Kept::decode(&kept.encode()), Some(kept));
        assert_eq!(Kept::decode("7"), None);
    }
}
