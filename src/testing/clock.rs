//! A clock that moves only when it is told to.

use std::time::Duration;

use crate::record::Timestamp;

/// Wall-clock time of a [`TopologyDriver`](super::TopologyDriver).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManualClock {
    now: Timestamp,
}

impl ManualClock {
    /// A clock that stands at this time.
    pub fn at(now: Timestamp) -> Self {
        ManualClock { now }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Moves it forward.
    pub fn advance(&mut self, by: Duration) {
        self.now = Timestamp(self.now.0 + i64::try_from(by.as_millis()).unwrap_or(i64::MAX - self.now.0));
    }
}
