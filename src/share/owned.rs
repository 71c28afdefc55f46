//! A range of records that this member holds: where each of them stands, and when its lock ends. Pure.
//!
//! A range is acquired together, and then its records part: what is settled while others are worked on is not renewed with them. So
//! each has an end of its own, and the range knows the first one, so that the others need not be looked at:
//!
//! ```text
//!  states     Out    Waiting(Accept)  Out    Done
//!  deadlines  30 s   15 s             30 s   15 s
//!  deadline          15 s
//! ```

use std::sync::Arc;
use std::time::Instant;

use super::grant::Grant;
use super::session::Named;
use crate::wire::BrokerId;
use crate::wire::share::Acknowledgement;

/// Where one record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// With its holder.
    Out,
    /// Its acknowledgement waits for a request.
    Waiting(Acknowledgement),
    /// Its acknowledgement is on the wire, or is to be sent again.
    Flying(Acknowledgement),
    Done,
}

/// A range of records that this member holds.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) shared: Arc<Grant>,
    pub(super) named: Named,
    pub(super) broker: BrokerId,
    pub(super) states: Box<[State]>,
    pub(super) out: usize,
    /// Which records wait, in the order of their settlement.
    pub(super) waiting: Vec<u32>,
    pub(super) flying: usize,
    /// When each record's lock ends.
    pub(super) deadlines: Box<[Instant]>,
    /// Before this none ends of those that are live.
    pub(super) deadline: Instant,
    pub(super) renew_at: Option<Instant>,
}

impl Owned {
    /// Records that are out, or wait, with their locks' ends.
    pub(super) fn live(&self) -> impl Iterator<Item = (u32, Instant)> {
        let is_live = |state: &State| matches!(state, State::Out | State::Waiting(_));
        let all = (0..).zip(&self.states).zip(&self.deadlines);
        all.filter(move |((_, state), _)| is_live(state)).map(|((index, _), end)| (index, *end))
    }

    /// The locks of these records were renewed, and end then.
    pub(super) fn renewed(&mut self, first: u32, last: u32, end: Instant) {
        for deadline in &mut self.deadlines[first as usize..=last as usize] {
            *deadline = end.max(*deadline);
        }
        self.look_again();
    }

    /// Some locks have other ends, or are over.
    pub(super) fn look_again(&mut self) {
        self.deadline = self.live().map(|(_, end)| end).min().unwrap_or(self.deadline);
    }
}
