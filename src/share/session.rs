//! A share session: what one broker knows of one member (rules R4 to R6). Pure.
//!
//! ```text
//!  epoch 0: opens, names all partitions, acknowledges nothing
//!        1, 2, 3 … MAX, 1: each request one more; names only what is new, what is forgotten, what is acknowledged
//!       -1: closes; the broker lets go of what the member still holds
//! ```
//!
//! The session lives as long as the connection that has opened it. After any error of the whole request, or of the
//! connection, both sides are to forget it: the member opens another one, and what it held is gone.

use std::collections::BTreeSet;

use crate::wire::TopicId;

/// A partition, as the protocol names it.
pub(super) type Named = (TopicId, i32);

const OPENS: i32 = 0;
const CLOSES: i32 = -1;

/// One broker's session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Of the next request.
    epoch: i32,
    /// What the broker has been told to read from.
    told: BTreeSet<Named>,
    /// What it ought to.
    wanted: BTreeSet<Named>,
}

/// What of a session one request carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) epoch: i32,
    pub(super) added: Vec<Named>,
    pub(super) forgotten: Vec<Named>,
}

impl Session {
    /// Whether the broker has it.
    pub(super) fn is_open(&self) -> bool {
        self.epoch != OPENS
    }

    /// From now on these partitions are to be read.
    pub(super) fn want(&mut self, wanted: BTreeSet<Named>) {
        self.wanted = wanted;
    }

    /// Whether there is anything to be read.
    pub(super) fn wants(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether the broker reads from partitions that are not wanted any more.
    pub(super) fn is_overfull(&self) -> bool {
        !self.told.is_subset(&self.wanted)
    }

    /// What the next fetch tells of partitions.
    pub(super) fn delta(&self) -> Delta {
        Delta {
            epoch: self.epoch,
            added: self.wanted.difference(&self.told).copied().collect(),
            forgotten: self.told.difference(&self.wanted).copied().collect(),
        }
    }

    /// The epoch of a request that tells nothing of partitions.
    pub(super) fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The epoch of the last request.
    pub(super) fn closing() -> i32 {
        CLOSES
    }

    /// A request was answered without an error of its own; `delta` is what it told.
    pub(super) fn answered(&mut self, delta: Option<&Delta>) {
        self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        if let Some(delta) = delta {
            self.told.extend(&delta.added);
            self.told.retain(|named| !delta.forgotten.contains(named));
        }
    }

    /// The broker has it no more (rule R5).
    pub(super) fn reset(&mut self) {
        self.epoch = OPENS;
        self.told.clear();
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
