//! One partition that the member is assigned.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::wire::BrokerId;

/// Between two tries after a refusal.
const AGAIN: Backoff = Backoff { max: Duration::from_secs(2), ..Backoff::BROKER };

/// A partition that is read.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) topic: Arc<str>,
    pub(super) leader: Option<BrokerId>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Part {
    pub(super) fn new(topic: Arc<str>) -> Self {
        Part { topic, leader: None, failures: 0, not_before: None }
    }

    /// Who is to be asked for its records now. One that was refused is left out of the session for a while: a broker that
    /// did not know a topic's id when it was named goes on not to know it.
    pub(super) fn asked_of(&self, now: Instant) -> Option<BrokerId> {
        self.leader.filter(|_| self.not_before.is_none_or(|at| at <= now))
    }

    pub(super) fn wakes(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }

    /// It was read.
    pub(super) fn served(&mut self) {
        (self.failures, self.not_before) = (0, None);
    }

    /// It was refused.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.not_before = Some(now + AGAIN.delay(self.failures, fastrand::f64()));
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
#[path = "model/image/part.rs"]
mod image;
