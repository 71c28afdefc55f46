//! Two transactional ids that take turns: a transaction begins on the wire while the one before it ends there (rule N-5).
//!
//! ```text
//!  app-one-0     ├─ n: records ─┤ positions, EndTxn, markers ┊         ├─ n+2: records …
//!  app-one-0.2             ┊     ├─ n+1: records ────────────┤ positions, EndTxn, markers
//! ```
//!
//! A producer id has one transaction at a time. At its end there are some round trips in which nothing may be written with it,
//! and the broker and this side would have nothing to do in turn. The order is kept all the same:
//!
//! - a partition takes a record of n+1 when it has acknowledged all of n, so its log is in the order of the appends;
//! - positions and EndTxn of n+1 are sent when EndTxn of n has answered, and that answer is a decision that stays;
//! - whatever ends n in another way ends n+1 too, and initialising takes over both ids: what they have open is aborted.
//!
//! The markers of the two come from their coordinators and may be written in either order. A reader sees neither before its
//! marker, nor anything behind a transaction that is open; the group's coordinator keeps the positions that were written last
//! into its log, whichever marker comes last.
//!
//! A user who may write under the first id only has one id: each transaction then waits for the one before.

/// The transactional ids of a producer, by the identities that the coordinator has given to them.
#[derive(Debug, Default)]
pub(super) struct Sides {
    identities: [Option<Identity>; 2],
    /// There is only the first one.
    alone: bool,
}

/// Who produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    First,
    Second,
}

/// Which transaction of a session this is, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) number: u64,
    pub(super) side: Side,
}

impl Turn {
    pub(super) const FIRST: Turn = Turn { number: 0, side: Side::First };
}

impl Sides {
    /// None of them has an identity yet.
    pub(super) fn new(alone: bool) -> Self {
        Sides { identities: [None; 2], alone }
    }

    pub(super) fn get(&self, side: Side) -> Option<Identity> {
        self.identities[side as usize]
    }

    pub(super) fn set(&mut self, side: Side, identity: Identity) {
        self.identities[side as usize] = Some(identity);
    }

    /// The next one to be initialised.
    pub(super) fn missing(&self) -> Option<Side> {
        match self.identities {
            [None, _] => Some(Side::First),
            [_, None] if !self.alone => Some(Side::Second),
            _ => None,
        }
    }

    /// There is no second one.
    pub(super) fn leave_alone(&mut self) {
        self.alone = true;
    }

    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// The turn after this one.
    pub(super) fn after(&self, turn: Turn) -> Turn {
        let side = match turn.side {
            Side::First if !self.alone => Side::Second,
            _ => Side::First,
        };
        Turn { number: turn.number + 1, side }
    }
}

/// What the second id has behind the first one. It begins with it, so whatever finds an instance's ids by what they begin with
/// finds both.
const SECOND: &str = ".2";

/// The second id that belongs to this first one.
pub(super) fn second(id: &str) -> String {
    format!("{id}{SECOND}")
}

/// The other id of the same producer.
pub(in crate::wire) fn twin(id: &str) -> String {
    id.strip_suffix(SECOND).map_or_else(|| second(id), str::to_owned)
}
