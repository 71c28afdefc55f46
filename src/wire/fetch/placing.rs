//! Where a partition begins that was assigned without an offset, and where one stands whose offset is not in the log.

use std::time::Instant;

use super::engine::{Call, Engine, wanted};
use super::event::Event;
use super::part::{Part, Whence};
use super::shared::Waiting;
use crate::position::Offset;
use crate::wire::WireError;

/// The answer for one partition: its slot, its ticket, and what the group has committed of it.
pub(super) type Committed = (usize, u64, Result<Option<i64>, WireError>);

impl Engine {
    /// All whose committed positions are wanted: one request asks for them together.
    pub(super) fn next_committed(&mut self, now: Instant) -> Option<Call> {
        let lacks = |part: &Part| part.whence == Whence::Committed && part.is_free() && part.is_due(now);
        let mut all = Vec::new();
        for (slot, part) in self.parts.iter_mut().enumerate() {
            let Some(part) = part.as_mut().filter(|part| lacks(part)) else { continue };
            part.asking = true;
            all.push((slot, part.ticket, part.at.clone()));
        }
        (!all.is_empty()).then_some(Call::Committed(all))
    }

    /// The coordinator has answered, or has not.
    pub(super) fn committed(&mut self, found: Vec<Committed>, now: Instant) {
        for (slot, ticket, committed) in found {
            let Some(part) = self.part(slot, ticket) else { continue };
            part.asking = false;
            match committed {
                Ok(Some(position)) => {
                    (part.position, part.whence) = (position, Whence::Known);
                    self.deliveries.push((slot, ticket, Waiting::Skip(position)));
                }
                Ok(None) => part.whence = Whence::Nowhere,
                Err(error) => {
                    part.put_off(now);
                    // A coordinator that moves, or a transaction that is about to end: nobody's trouble.
                    if error.code().is_none() || !error.is_retriable() {
                        self.tell_trouble(None, error);
                    }
                }
            }
        }
    }

    /// The next partition whose owner has to be told what there is.
    pub(super) fn next_bounds(&mut self, now: Instant) -> Option<Call> {
        let asks = |part: &Part| matches!(part.whence, Whence::Nowhere | Whence::OutOfRange);
        let ready = |part: &Part| asks(part) && part.leader.is_some() && part.is_free() && part.is_due(now);
        let mut parts = self.parts.iter_mut().enumerate();
        let (slot, part) = parts.find_map(|(slot, part)| Some((slot, part.as_mut().filter(|part| ready(part))?)))?;
        part.asking = true;
        Some(Call::Bounds(wanted(slot, part)?, part.leader?.broker))
    }

    /// Start and end of a partition that has no position within them.
    pub(super) fn bounds(&mut self, slot: usize, ticket: u64, found: Result<(i64, i64), WireError>, now: Instant) {
        let Some(part) = self.part(slot, ticket) else { return };
        part.asking = false;
        let is_lost = part.whence == Whence::OutOfRange;
        match found {
            // Meanwhile it is: a new leader has caught up.
            Ok((start, end)) if is_lost && (start..=end).contains(&part.position) => {
                part.whence = Whence::Known;
                part.doubt(now);
            }
            Ok((start, end)) => {
                part.stopped = true;
                let (at, position) = (part.at.clone(), is_lost.then_some(Offset(part.position)));
                // A transaction that is open since before the start holds the stable end back further still.
                let event = Event::OutOfRange { at, position, start: Offset(start), end: Offset(end.max(start)) };
                self.tell(slot, ticket, event);
            }
            Err(_) => part.doubt(now),
        }
    }
}

#[cfg(test)]
#[path = "placing_tests.rs"]
mod tests;
