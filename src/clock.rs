//! The clock of the thread: the machine's, or one that somebody moves by hand.
//!
//! ```text
//!  Instant::now() ─┬─ as a rule: std's
//!                  └─ on a thread that follows a Simulated clock: where that stands
//! ```
//!
//! The loop's decisions depend on time in dozens of places: when a commit is due, how long something is waited for, when a
//! failure is tried again. Where they are simulated (`tests/chaos/src/simulation`), a run has to be a function of its seed,
//! so all of them ask this clock. It belongs to the thread and not to an argument, because a stream thread is one thread
//! (rule R-1), and because nothing else would have to be handed through every call. What only measures asks std.
//!
//! The hot path looks at the clock every few dozen records, and here that costs one look at a thread's own memory more.

use std::cell::RefCell;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::record::Timestamp;

thread_local! {
    static FOLLOWED: RefCell<Option<Simulated>> = const { RefCell::new(None) };
}

/// Wall-clock time at which every simulated clock begins: 2026-01-01, in milliseconds.
const SIMULATED_BEGINNING: i64 = 1_767_225_600_000;

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct Simulated(Arc<AtomicU64>);

impl Simulated {
    /// How far it has been moved.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// The moment at which it stands.
    pub fn now(&self) -> Instant {
        static BEGINNING: OnceLock<std::time::Instant> = OnceLock::new();
        Instant(*BEGINNING.get_or_init(std::time::Instant::now) + self.elapsed())
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX / 2), Ordering::Relaxed);
    }

    /// From here on, this thread's time is that of this clock.
    pub fn follow(&self) {
        FOLLOWED.set(Some(self.clone()));
    }
}

/// A moment, as [`std::time::Instant`] is; of the clock of the thread that took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(std::time::Instant);

impl Instant {
    /// Now.
    pub fn now() -> Self {
        let followed = FOLLOWED.with_borrow(|clock| clock.as_ref().map(Simulated::now));
        followed.unwrap_or_else(|| Instant(std::time::Instant::now()))
    }

    /// How long ago it was.
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(*self)
    }

    /// From an earlier moment to this one; nothing if that is the later one.
    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// The same; std's other name for it.
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }

    /// For whoever waits by the machine's clock.
    pub fn into_std(self) -> std::time::Instant {
        self.0
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, by: Duration) -> Instant {
        Instant(self.0 + by)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// Wall-clock time.
pub fn wall_clock() -> Timestamp {
    let millis = match FOLLOWED.with_borrow(|clock| clock.as_ref().map(Simulated::elapsed)) {
        None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
        Some(elapsed) => elapsed.as_millis() + SIMULATED_BEGINNING.unsigned_abs() as u128,
    };
    Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_follows_a_clock_has_its_time_and_others_have_the_machines() {
        let clock = Simulated::default();
        let (own, other) = (clock.clone(), Instant::now());
        let simulated = std::thread::spawn(move || {
            own.follow();
            let (instant, time) = (Instant::now(), wall_clock());
            assert_eq!((instant.elapsed(), time), (Duration::ZERO, Timestamp(SIMULATED_BEGINNING)));
            own.advance(Duration::from_secs(3600));
            assert_eq!((instant.elapsed(), Instant::now() - instant), (Duration::from_secs(3600), instant.elapsed()));
            assert_eq!(wall_clock(), Timestamp(SIMULATED_BEGINNING + 3_600_000));
            assert_eq!(instant - Instant::now(), Duration::ZERO, "never below nothing");
        });
        simulated.join().expect("the simulated thread");
        assert!(other.elapsed() < Duration::from_secs(3600) && wall_clock() != Timestamp(SIMULATED_BEGINNING));
    }
}
