//! A member of a share group, as its coordinator knows it (rule R1). Pure: beats go out and answers come in.
//!
//! ```text
//!  Joining (epoch 0, all fields) ─▶ Member (the epoch that was given, only what has changed) ─▶ Leaving (-1)
//!      ▲── unknown or fenced ────────────┘
//! ```
//!
//! The member's id is its own, and stays for its life. What it is assigned is not exclusive, so a member that was forgotten
//! goes on with what it has until it is told anew. An assignment is told once: whenever an answer may have been lost, the
//! next beat names the topics again, which makes the coordinator repeat it.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::wire::share::{Assigned, Beat, Beaten};
use crate::wire::{Code, WireError};

/// Before the first answer says how often.
const INTERVAL: Duration = Duration::from_secs(5);
/// After an assignment of nothing: the coordinator prepares new partitions, and works assignments out at the next beat only.
const SOON: Duration = Duration::from_secs(1);

const JOIN: i32 = 0;
const LEAVE: i32 = -1;
/// UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH, and GROUP_ID_NOT_FOUND of a group that is gone.
const FORGOTTEN: [i16; 3] = [25, 110, 69];
/// NOT_COORDINATOR and COORDINATOR_NOT_AVAILABLE.
const ELSEWHERE: [i16; 2] = [15, 16];
const GROUP_MAX_SIZE_REACHED: i16 = 81;
const GROUP_ID_NOT_FOUND: i16 = 69;
const UNSUPPORTED_VERSION: i16 = 35;

/// What an answer to a beat leads to.
#[derive(Debug)]
pub(super) enum Change {
    /// Nothing that concerns others.
    None,
    /// These are to be fetched from now on, and no others.
    Assigned(Vec<Assigned>),
    /// Somebody else coordinates the group.
    Moved,
    /// It can't be a member, and another try would not help.
    Refused(WireError),
}

/// The membership.
#[derive(Debug)]
pub(super) struct Membership {
    group: String,
    member: String,
    rack: Option<String>,
    /// Sorted, as the coordinator compares them.
    topics: Vec<String>,
    epoch: i32,
    /// The coordinator is to be told all, and to tell all.
    full: bool,
    interval: Duration,
    at: Instant,
    under_way: bool,
    failures: u32,
}

impl Membership {
    pub(super) fn new(
        group: String,
        member: String,
        rack: Option<String>,
        mut topics: Vec<String>,
        now: Instant,
    ) -> Self {
        topics.sort_unstable();
        topics.dedup();
        let (epoch, full, interval, at, under_way, failures) = (JOIN, true, INTERVAL, now, false, 0);
        Membership { group, member, rack, topics, epoch, full, interval, at, under_way, failures }
    }

    /// Whether the coordinator knows it.
    pub(super) fn is_member(&self) -> bool {
        self.epoch > JOIN
    }

    /// The next beat, if it is time. One at a time.
    pub(super) fn beat(&mut self, now: Instant) -> Option<Beat> {
        if self.under_way || now < self.at {
            return None;
        }
        self.under_way = true;
        Some(Beat {
            topics: self.full.then(|| self.topics.clone()),
            rack: self.rack.clone().filter(|_| self.full),
            ..self.bare(self.epoch)
        })
    }

    /// The last beat, with which it leaves.
    pub(super) fn leave(&self) -> Option<Beat> {
        self.is_member().then(|| self.bare(LEAVE))
    }

    fn bare(&self, epoch: i32) -> Beat {
        Beat { group: self.group.clone(), member: self.member.clone(), epoch, rack: None, topics: None }
    }

    /// When the next beat is due, unless one is under way.
    pub(super) fn wakes(&self) -> Option<Instant> {
        (!self.under_way).then_some(self.at)
    }

    pub(super) fn beaten(&mut self, answer: Result<Beaten, WireError>, now: Instant) -> Change {
        self.under_way = false;
        let error = match answer {
            Ok(Beaten { error: None, epoch, interval, assigned, .. }) => {
                (self.epoch, self.full, self.interval, self.failures) = (epoch, false, interval, 0);
                let nothing = assigned.as_ref().is_some_and(|assigned| assigned.iter().all(Assigned::is_empty));
                self.at = now + if nothing { interval.min(SOON) } else { interval };
                return assigned.map_or(Change::None, Change::Assigned);
            }
            Ok(Beaten { error: Some(code), message, .. }) => return self.refused(code, message, now),
            Err(error) => error,
        };
        self.put_off(now);
        // Whoever does not answer may not be the coordinator any more.
        if error.is_retriable() { Change::Moved } else { Change::Refused(error) }
    }

    fn refused(&mut self, code: Code, message: Option<String>, now: Instant) -> Change {
        // At epoch 0 it is no member that was forgotten: the group is of another kind.
        if FORGOTTEN.contains(&code.number()) && self.epoch != JOIN {
            (self.epoch, self.full, self.at) = (JOIN, true, now);
            return Change::None;
        }
        self.put_off(now);
        if ELSEWHERE.contains(&code.number()) {
            return Change::Moved;
        }
        if code.is_retriable() && !code.is_authorisation() {
            return Change::None;
        }
        let way_out = match code.number() {
            GROUP_MAX_SIZE_REACHED => "; the broker's group.share.max.size says how many members there may be",
            GROUP_ID_NOT_FOUND => "; a group of this name exists and is no share group: take another name",
            UNSUPPORTED_VERSION => "; enable them: kafka-features upgrade --feature share.version=1",
            _ => "",
        };
        let said = message.map(|message| format!(": {message}")).unwrap_or_default();
        Change::Refused(WireError::from_code(format!("join share group {}{said}{way_out}", self.group), code))
    }

    fn put_off(&mut self, now: Instant) {
        self.full = true;
        self.at = now + Backoff::BROKER.delay(self.failures, fastrand::f64());
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
