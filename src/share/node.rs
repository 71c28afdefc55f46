//! One broker of those that lead what the member is assigned: its session, and what is to be sent to it next. Pure.
//!
//! One request at a time is on its way (rule R3). In the order of urgency:
//!
//! | what | when |
//! |---|---|
//! | renewals, in a request without others | a lock is at half of its time |
//! | a fetch, with what is to be acknowledged | there is room in the window |
//! | acknowledgements alone | there is none, nothing is to be fetched, or the partition is not read any more |
//!
//! An acknowledgement in a fetch is carried out at once, and answered with the fetch; so the wait of a fetch is short while
//! anything of the broker is held.

use std::time::{Duration, Instant};

use super::session::{Delta, Session};
use crate::backoff::Backoff;

/// A request that takes longer is asked about: a broker that is cut off says nothing, and another one leads by then.
const SLOW: Duration = Duration::from_secs(5);
const AGAIN: Backoff = Backoff { max: Duration::from_secs(2), ..Backoff::BROKER };

/// A broker, and the session with it.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) session: Session,
    /// A request is on its way.
    pub(super) busy: bool,
    /// Places of the window that the fetch on its way may fill.
    pub(super) reserved: usize,
    /// Since when something waits for company.
    since: Option<Instant>,
    not_before: Option<Instant>,
    failures: u32,
    /// When the request on its way has taken so long that its broker may not be the leader any more.
    slow_at: Option<Instant>,
    /// It has taken that long.
    slow: bool,
}

/// What may be sent to a broker now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Nothing,
    /// This many records, and what waits.
    Fetch {
        records: usize,
        delta: Delta,
    },
    /// What waits.
    Acknowledge,
}

/// What a plan depends on beside the node itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    pub(super) now: Instant,
    pub(super) linger: Duration,
    /// Records that may be fetched.
    pub(super) room: usize,
    /// So much room is not kept waiting.
    pub(super) enough: usize,
    /// Whether something is to be acknowledged.
    pub(super) waiting: bool,
    /// Whether a fetch may carry it: all of it is of partitions that are read, and no lock is renewed.
    pub(super) fits: bool,
    /// Whether new records are wanted at all.
    pub(super) fetching: bool,
}

impl Node {
    /// Whether it can be sent something.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        !self.busy && self.not_before.is_none_or(|at| at <= now)
    }

    /// What is to be sent now.
    pub(super) fn plan(&mut self, situation: Situation) -> Plan {
        let Situation { now, linger, room, enough, waiting, fits, fetching } = situation;
        if !self.is_free(now) {
            return Plan::Nothing;
        }
        let fetches = fetching && self.session.wants() && room > 0;
        let waiting = waiting && self.session.is_open();
        // What is not wanted any more is told also without room, and also at the end.
        let tells = self.session.is_open() && self.session.is_overfull();
        if !fetches && !waiting && !tells {
            self.since = None;
            return Plan::Nothing;
        }
        let since = *self.since.get_or_insert(now);
        let alone = fetches && room < enough || waiting && !fetches;
        if alone && !tells && now < since + linger {
            return Plan::Nothing;
        }
        self.since = None;
        if waiting && !fits || !fetches && !tells {
            return Plan::Acknowledge;
        }
        Plan::Fetch { records: if fetches { room } else { 0 }, delta: self.session.delta() }
    }

    /// When a plan may become another one by time alone.
    pub(super) fn wakes(&self, linger: Duration, now: Instant) -> Option<Instant> {
        if self.busy {
            return self.slow_at;
        }
        // A rest that is over has made its difference.
        self.not_before.filter(|at| *at > now).or_else(|| self.since.map(|since| since + linger))
    }

    /// A request is on its way, which may wait for so long.
    pub(super) fn sent(&mut self, reserved: usize, now: Instant, max_wait: Duration) {
        (self.busy, self.reserved, self.not_before) = (true, reserved, None);
        (self.slow, self.slow_at) = (false, Some(now + max_wait + SLOW));
    }

    /// Whether its request has taken long again, so that somebody else is to be asked who leads. Its places go to others.
    pub(super) fn turns_slow(&mut self, now: Instant) -> bool {
        let turns = self.busy && self.slow_at.is_some_and(|at| at <= now);
        if turns {
            (self.slow, self.slow_at, self.reserved) = (true, Some(now + SLOW), 0);
        }
        turns
    }

    /// Whether its request takes long.
    pub(super) fn is_slow(&self) -> bool {
        self.busy && self.slow
    }

    /// It was answered.
    pub(super) fn answered(&mut self, delta: Option<&Delta>) {
        (self.busy, self.reserved, self.failures) = (false, 0, 0);
        self.session.answered(delta);
    }

    /// It can't do what it is told for now.
    pub(super) fn rest(&mut self, now: Instant) {
        self.not_before = Some(now + AGAIN.delay(0, fastrand::f64()));
    }

    /// It failed as a whole: both sides forget the session (rule R5).
    pub(super) fn failed(&mut self, now: Instant) {
        (self.busy, self.reserved, self.since) = (false, 0, None);
        self.session.reset();
        self.not_before = Some(now + AGAIN.delay(self.failures, fastrand::f64()));
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
