//! How long a login counts, and when it is made again (KIP-368).
//!
//! ```text
//!  logged in ──────────────── quiet from ──── again from ──── end
//!            requests go out              │ the last answers  │ the broker hangs up at the next request,
//!                                         │ come in           │ unless that is a login
//! ```
//!
//! A broker that is asked something by an expired session ends the connection, and looks at the time when it reads a request: of
//! several that wait in its buffer, after the answer to the one before. So sending stops some time before. A login may come late.

use std::time::Duration;

use tokio::time::Instant;

/// The part of the lifetime after which nothing is sent any more.
const QUIET_PART: f64 = 0.85;
/// Time for what is under way, where the lifetime is so short that the rest of it is less: a fetch waits half a second.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// A broker refuses a login that follows another one sooner.
const BETWEEN_LOGINS: Duration = Duration::from_secs(1);

/// The times of one login that has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    quiet: Instant,
    again: Instant,
}

impl Session {
    /// A login that was answered `now` and counts so long.
    pub(super) fn new(now: Instant, lifetime: Duration) -> Self {
        let rest = lifetime.mul_f64(1.0 - QUIET_PART).max(QUIET_TIME.min(lifetime / 2));
        let quiet = now + lifetime.saturating_sub(rest);
        Session { quiet, again: quiet.max(now + BETWEEN_LOGINS) }
    }

    /// Whether nothing may be sent any more but a login.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        self.quiet <= now
    }

    /// Whether a login may be sent.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.again <= now
    }

    /// The next of the two times.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        [self.quiet, self.again].into_iter().find(|time| *time > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(lifetime: u64) -> (u128, u128) {
        let now = Instant::now();
        let session = Session::new(now, Duration::from_millis(lifetime));
        ((session.quiet - now).as_millis(), (session.again - now).as_millis())
    }

    #[test]
    fn kip_368_a_login_is_made_again_in_the_last_part_of_its_time() {
        assert_eq!(times(3_600_000), (3_060_000, 3_060_000));
        assert_eq!(times(10_000), (8_500, 8_500));
    }

    #[test]
    fn kip_368_short_sessions_keep_time_for_what_is_under_way_and_a_second_between_logins() {
        assert_eq!(times(4_000), (3_000, 3_000));
        assert_eq!(times(2_000), (1_000, 1_000));
        assert_eq!(times(1_500), (750, 1_000));
        assert_eq!(times(1_000), (500, 1_000));
        assert_eq!(times(1), (0, 1_000));
    }

    #[test]
    fn kip_368_the_next_time_is_never_behind() {
        let now = Instant::now();
        let session = Session::new(now, Duration::from_millis(1_000));
        assert_eq!(session.next(now), Some(session.quiet));
        assert_eq!(session.next(session.quiet), Some(session.again));
        assert_eq!(session.next(session.again), None);
        assert!(!session.is_quiet(now) && session.is_quiet(session.quiet) && !session.is_due(session.quiet));
        assert!(session.is_due(session.again));
    }
}
