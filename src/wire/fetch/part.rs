//! One assigned partition, as the I/O thread knows it.

use std::time::{Duration, Instant};

use super::shared::UNPLACED;
use crate::backoff::Backoff;
use crate::position::TopicPartition;
use crate::wire::{Leader, TopicId};

/// The position of a partition whose owner wants to be told what there is.
pub(super) const NOWHERE: i64 = -2;

/// Where a partition's position is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whence {
    /// It was told, or has been found.
    Known,
    /// It is what the group has committed, which has to be asked for.
    Committed,
    /// There is none: the group has committed nothing, or nobody has said. The owner says, once it has been told what there is.
    Nowhere,
    /// It is not in the log. The same.
    OutOfRange,
}

/// A partition that is fetched.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) ticket: u64,
    pub(super) at: TopicPartition,
    /// Where the next fetch begins.
    pub(super) position: i64,
    pub(super) whence: Whence,
    pub(super) leader: Option<Leader>,
    /// What is known of its leader was wrong.
    pub(super) doubted: bool,
    /// Somebody is asking for its leader, its committed position, or its bounds.
    pub(super) asking: bool,
    pub(super) paused: bool,
    /// Nothing more before a seek.
    pub(super) stopped: bool,
    /// Bytes that wait for the stream thread.
    pub(super) buffered: usize,
    /// Where its end was told last.
    pub(super) ended: Option<i64>,
    /// When it had its turn last.
    pub(super) turn: u64,
    /// The topic's identity when it was looked up first.
    pub(super) id: Option<TopicId>,
    failures: u32,
    not_before: Option<Instant>,
    missing_since: Option<Instant>,
    told_missing: bool,
}

impl Part {
    pub(super) fn new(ticket: u64, at: TopicPartition, position: i64) -> Self {
        Part {
            ticket,
            at,
            position,
            whence: whence(position),
            leader: None,
            doubted: false,
            asking: false,
            paused: false,
            stopped: false,
            buffered: 0,
            ended: None,
            turn: 0,
            id: None,
            failures: 0,
            not_before: None,
            missing_since: None,
            told_missing: false,
        }
    }

    /// From another position on, with nothing buffered.
    pub(super) fn restart(&mut self, ticket: u64, position: i64) {
        (self.ticket, self.position, self.buffered, self.ended) = (ticket, position, 0, None);
        self.whence = whence(position);
    }

    /// Whether something can be asked for it.
    pub(super) fn is_free(&self) -> bool {
        !self.stopped && !self.asking
    }

    /// Whether it is to be fetched, room or not.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_free() && !self.paused && self.whence == Whence::Known
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|time| time <= now)
    }

    /// When it is due, if it waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.is_free())
    }

    /// The next try comes later.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.not_before = Some(now + Backoff::BROKER.delay(self.failures, fastrand::f64()));
        self.failures = self.failures.saturating_add(1);
    }

    /// What was known of its leader is wrong.
    pub(super) fn doubt(&mut self, now: Instant) {
        (self.leader, self.doubted) = (None, true);
        self.put_off(now);
    }

    /// It is not there; true when it is time to tell.
    pub(super) fn miss(&mut self, now: Instant, patience: Duration) -> bool {
        let since = *self.missing_since.get_or_insert(now);
        self.doubt(now);
        let tell = !self.told_missing && now.saturating_duration_since(since) >= patience;
        self.told_missing |= tell;
        tell
    }

    /// A fetch went well.
    pub(super) fn fetched(&mut self) {
        (self.failures, self.not_before, self.missing_since, self.told_missing) = (0, None, None, false);
    }
}

fn whence(position: i64) -> Whence {
    match position {
        UNPLACED => Whence::Committed,
        NOWHERE => Whence::Nowhere,
        _ => Whence::Known,
    }
}
