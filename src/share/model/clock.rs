//! Time in the model: it stands still while messages travel, and passes in steps of one [`UNIT`].
//!
//! A unit is longer than any back-off of the client (2 s), so that whatever was put off is due after one step, however long it was put
//! off for, and random numbers make no difference. All that is longer is counted in units, rounded up: a lock is three of
//! them, and is renewed after two (between 45 % and 55 % of three, rounded up).

use std::time::{Duration, Instant};

/// One step.
pub(in crate::share) const UNIT: Duration = Duration::from_secs(5);
/// How long a lock holds, in units: 15 s, the least that Kafka allows.
pub(in crate::share) const LOCK: u32 = 3;
/// Later than anything that matters.
const FAR: u32 = 200;

/// In how many steps this is over: 0 is now, or before.
pub(in crate::share) fn ahead(at: Instant, now: Instant) -> u32 {
    let left = at.saturating_duration_since(now).as_millis();
    u32::try_from(left.div_ceil(UNIT.as_millis())).unwrap_or(FAR).min(FAR)
}

/// How many steps ago this was; what is longer ago than a lock holds is as long ago.
pub(in crate::share) fn behind(at: Instant, now: Instant) -> u32 {
    let gone = now.saturating_duration_since(at).as_millis() / UNIT.as_millis();
    u32::try_from(gone).unwrap_or(LOCK).min(LOCK)
}
