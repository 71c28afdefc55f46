//! Punctuators: what a processor does without a record, at the ticks of a clock (KIP-138, KIP-1146).
//!
//! A processor declares them; the task calls it at each tick. There are two clocks: **stream time**, the highest timestamp
//! among the task's records, and **wall-clock time**. Without an anchor ticks are counted from where the clock was first
//! looked at; with one they fall on anchor + n × interval, whenever the task was made.
//!
//! ```text
//!  clock ──┬────────┬────────┬────────┬────────┬──────▶      the clock jumps from a to b: ONE call, at = t4, missed = 2;
//!          t1   a   t2       t3       t4   b   t5            the next one is t5, for the ticks stay where they are
//! ```
//!
//! A clock that jumps over several ticks gives one call, for the newest of them, and the call is told how many it stands for:
//! Kafka Streams does the same. So does a task that was away: the ticks that nobody was there for are made up by one call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::record::Timestamp;
use crate::store::{StoreError, StoreIndex, TaskState};

/// What a punctuator's ticks are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The highest timestamp of the task's records. It stands still while none comes, and a replay sees the same ticks at the
    /// same records.
    StreamTime,
    /// The machine's clock. It goes on while no record comes.
    WallClock,
}

impl Clock {
    /// Its name in `describe` and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Clock::StreamTime => "stream-time",
            Clock::WallClock => "wall-clock",
        }
    }
}

/// A declared punctuator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Punctuator {
    name: String,
    clock: Clock,
    /// In milliseconds.
    interval: i64,
    anchor: Option<Timestamp>,
}

impl Punctuator {
    /// A punctuator on stream time. `name` is kebab-case and the processor's only one of that name; `interval` counts in
    /// whole milliseconds, at least one.
    pub fn stream_time(name: impl Into<String>, interval: Duration) -> Self {
        Punctuator::new(name.into(), Clock::StreamTime, interval)
    }

    /// A punctuator on wall-clock time. It runs on the stream thread: between two batches of records, and when none comes.
    pub fn wall_clock(name: impl Into<String>, interval: Duration) -> Self {
        Punctuator::new(name.into(), Clock::WallClock, interval)
    }

    fn new(name: String, clock: Clock, interval: Duration) -> Self {
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        Punctuator { name, clock, interval, anchor: None }
    }

    /// Lets the ticks fall on `anchor` + n × interval, n ≥ 0; none is before the anchor (KIP-1146).
    #[must_use]
    pub fn anchored_at(mut self, anchor: Timestamp) -> Self {
        self.anchor = Some(anchor);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is counted by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Milliseconds between two ticks. Zero is refused when the topology is built.
    pub fn interval_millis(&self) -> i64 {
        self.interval
    }

    /// The first tick after a time. Without an anchor that time is a tick itself, or where the counting begins.
    pub fn next_after(&self, last: Timestamp) -> Timestamp {
        let (last, interval) = (i128::from(last.0), i128::from(self.interval));
        let next = match self.anchor.map(|anchor| i128::from(anchor.0)) {
            None => last + interval,
            Some(anchor) if last < anchor => anchor,
            Some(anchor) => anchor + ((last - anchor) / interval + 1) * interval,
        };
        // Beyond the end of time there is no tick to wait for.
        Timestamp(i64::try_from(next).unwrap_or(i64::MAX))
    }

    /// The newest tick up to `now`, and how many others lie between it and `last`; `None` if none is due.
    pub fn due(&self, last: Timestamp, now: Timestamp) -> Option<(Timestamp, u64)> {
        let next = self.next_after(last);
        if now < next {
            return None;
        }
        let missed = now.0.abs_diff(next.0) / self.interval.unsigned_abs();
        // Not more than what lies between the two times, so it stays between them.
        Some((Timestamp(next.0.wrapping_add_unsigned(missed * self.interval.unsigned_abs())), missed))
    }
}

impl fmt::Display for Punctuator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (every {} ms of {}", self.name, self.interval, self.clock.name())?;
        match self.anchor {
            Some(anchor) => write!(f, " from {})", anchor.0),
            None => f.write_str(")"),
        }
    }
}

/// One call of a punctuator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick<'a> {
    /// The punctuator's name.
    pub name: &'a str,
    /// What it is counted by.
    pub clock: Clock,
    /// When it was due, by that clock. A good timestamp for what is forwarded: a tick that is fired again, because its
    /// transaction was aborted, may stand for a later one, but a tick of stream time is the same again.
    pub at: Timestamp,
    /// How many earlier ticks this call stands for besides: the clock has jumped over them, or nobody was there.
    pub missed: u64,
}

/// The punctuators of one processor in the graph.
#[derive(Debug)]
pub struct Schedule {
    /// The processor's name.
    pub processor: Arc<str>,
    /// Where their ticks are kept. Nothing is there if there are no punctuators.
    pub ticks: StoreIndex,
    /// In the order of declaration.
    pub punctuators: Vec<Punctuator>,
}

impl Schedule {
    /// Whether two are of the same processor: names of processors are unique.
    pub(super) fn is(&self, other: &Schedule) -> bool {
        self.processor == other.processor
    }

    /// What is remembered of one of them, staged writes included.
    ///
    /// # Errors
    /// The store failed.
    pub fn last_tick(&self, state: &mut TaskState, punctuator: &str) -> Result<LastTick, StoreError> {
        let read = |bytes: Option<&[u8]>| bytes.and_then(LastTick::decode);
        Ok(state.read_with(self.ticks, punctuator.as_bytes(), read)?.unwrap_or_default())
    }

    /// A name that is unique in the topology: in metrics, in the log, in dead letters.
    pub fn full_name(&self, punctuator: &Punctuator) -> Arc<str> {
        format!("{}/{}", self.processor, punctuator.name).into()
    }
}

/// What is remembered of a punctuator, in a store of its processor: so it is staged, committed, restored and taken back
/// together with what its ticks have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastTick {
    /// The last tick, or where the counting began.
    pub at: Option<Timestamp>,
    /// It gives no more ticks.
    pub cancelled: bool,
}

const CANCELLED: u8 = 1;
const HAS_TICK: u8 = 2;

impl LastTick {
    /// As stored: a byte of flags and a timestamp.
    pub fn encode(self) -> [u8; 9] {
        let mut bytes = [0; 9];
        bytes[0] = if self.cancelled { CANCELLED } else { 0 } | if self.at.is_some() { HAS_TICK } else { 0 };
        bytes[1..].copy_from_slice(&self.at.unwrap_or(Timestamp(0)).0.to_be_bytes());
        bytes
    }

    /// `None` if these are not such bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (flags, at) = bytes.split_first()?;
        let at = Timestamp(i64::from_be_bytes(at.try_into().ok()?));
        Some(LastTick { at: (flags & HAS_TICK != 0).then_some(at), cancelled: flags & CANCELLED != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(millis: u64) -> Punctuator {
        Punctuator::wall_clock("p", Duration::from_millis(millis))
    }

    #[test]
    fn r27_ticks_keep_their_distance_from_where_the_counting_began() {
        let punctuator = every(10);
        assert_eq!(punctuator.due(Timestamp(3), Timestamp(12)), None);
        assert_eq!(punctuator.due(Timestamp(3), Timestamp(13)), Some((Timestamp(13), 0)));
        assert_eq!(punctuator.due(Timestamp(3), Timestamp(22)), Some((Timestamp(13), 0)), "late, and not realigned");
        assert_eq!(punctuator.due(Timestamp(3), Timestamp(45)), Some((Timestamp(43), 3)), "one call for four ticks");
        assert_eq!(punctuator.due(Timestamp(3), Timestamp(-50)), None, "the clock was set back");
    }

    #[test]
    fn kip_1146_anchored_ticks_fall_on_the_anchor_plus_n_intervals() {
        let punctuator = every(10).anchored_at(Timestamp(105));
        assert_eq!(punctuator.next_after(Timestamp(0)), Timestamp(105), "none is before the anchor");
        assert_eq!(punctuator.next_after(Timestamp(104)), Timestamp(105));
        assert_eq!(punctuator.next_after(Timestamp(105)), Timestamp(115));
        assert_eq!(punctuator.next_after(Timestamp(112)), Timestamp(115), "wherever the counting began");
        assert_eq!(punctuator.due(Timestamp(0), Timestamp(104)), None);
        assert_eq!(punctuator.due(Timestamp(112), Timestamp(139)), Some((Timestamp(135), 2)));
    }

    #[test]
    fn no_time_overflows() {
        for punctuator in [every(1), every(u64::MAX), every(7).anchored_at(Timestamp(i64::MIN))] {
            for time in [i64::MIN, -1, 0, i64::MAX] {
                let next = punctuator.next_after(Timestamp(time));
                assert!(next.0 >= time);
                _ = punctuator.due(Timestamp(time), Timestamp(i64::MAX));
            }
        }
    }

    #[test]
    fn what_is_remembered_reads_as_it_was_written() {
        for at in [None, Some(Timestamp(0)), Some(Timestamp(i64::MIN)), Some(Timestamp(1_700_000_000_000))] {
            for cancelled in [false, true] {
                let last = LastTick { at, cancelled };
                assert_eq!(LastTick::decode(&last.encode()), Some(last));
            }
        }
        assert_eq!(LastTick::decode(b""), None);
        assert_eq!(LastTick::decode(b"short"), None);
    }
}
