//! The worlds that are gone through: each as small as it can be for what is to happen in it, and then as slow as there is time for.
//!
//! A request may take as many steps of time as a world has patience. With one, nothing of a broker that turns slow is seen; with two
//! or three, the member asks who leads instead, and a lock ends while words are on their way.

use super::bounds::{Bounds, Fault};
use super::clock::LOCK;
use super::log::At;
use crate::wire::share::Acknowledgement::{Accept, Reject, Release};

const R: At = At::Record;
const G: At = At::Gap;
const D: At = At::Damaged;

/// Nothing goes wrong, but all may be slow.
pub(super) const ONE: Bounds = Bounds {
    members: 1,
    brokers: 1,
    partitions: 1,
    log: &[R, G],
    window: 3,
    limit: 2,
    faults: &[],
    budget: 0,
    says: &[Accept],
    beats: false,
    ends: false,
    patience: LOCK,
};

/// Ranges of which parts are done sooner than others.
pub(super) const THREE: Bounds = Bounds { log: &[R, G, R], patience: 2, ..ONE };

/// All that can be said of records.
pub(super) const SAYS: Bounds = Bounds { log: &[R, R], window: 1, says: &[Accept, Release, Reject], ..ONE };

/// A record can't be read.
pub(super) const DAMAGED: Bounds = Bounds { log: &[R, D], ..ONE };

/// Connections and sessions end.
pub(super) const CUTS: Bounds = Bounds { faults: &[Fault::Cut, Fault::Evict], budget: 2, patience: 2, ..ONE };

/// Answers lack something.
pub(super) const REFUSALS: Bounds = Bounds { faults: &[Fault::Away, Fault::Silent], budget: 2, patience: 2, ..ONE };

/// A partition gets another leader, of which the one of before may not know.
pub(super) const MOVES: Bounds =
    Bounds { brokers: 2, log: &[R], window: 1, faults: &[Fault::Move, Fault::Hang], budget: 2, patience: 2, ..ONE };

/// The same, and metadata may not know of it either.
pub(super) const STALE: Bounds =
    Bounds { window: 3, faults: &[Fault::Move, Fault::Hang, Fault::Stale], patience: 1, ..MOVES };

/// A leader of before is silent for as long as a lock holds.
pub(super) const HANGS: Bounds = Bounds { faults: &[Fault::Hang], budget: 1, patience: LOCK, ..MOVES };

/// A partition moves, and connections end.
pub(super) const CUT_OFF: Bounds = Bounds { faults: &[Fault::Move, Fault::Cut], ..MOVES };

/// Two members want the same record.
pub(super) const RIVALS: Bounds = Bounds { members: 2, log: &[R], window: 1, patience: 2, ..ONE };

/// A member drains, and closes.
pub(super) const ENDS: Bounds = Bounds { ends: true, ..ONE };

/// The coordinator forgets a member, has it read something else, and is not always heard.
pub(super) const BEATS: Bounds = Bounds {
    partitions: 2,
    log: &[R],
    limit: 1,
    beats: true,
    faults: &[Fault::Beat, Fault::Forget, Fault::Reassign],
    budget: 2,
    patience: 1,
    ..ONE
};

/// Two brokers lead a partition each, until one has both.
pub(super) const SPREAD: Bounds = Bounds {
    brokers: 2,
    partitions: 2,
    log: &[R],
    window: 2,
    limit: 1,
    faults: &[Fault::Move],
    budget: 1,
    patience: 1,
    ..ONE
};
