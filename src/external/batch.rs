//! Requests that travel together, and the rounds in which those are sent whose answers are heard.

use std::collections::HashSet;
use std::ops::Range;

use crate::position::Origin;
use crate::processor::{CallMark, Request};

/// One of them.
#[derive(Debug)]
pub(super) struct Entry {
    body: Range<usize>,
    pub(super) order: u64,
    pub(super) call: Option<CallMark>,
    pub(super) origin: Origin,
}

/// Requests that are sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) generation: u64,
    pub(super) era: u64,
    arena: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

impl Batch {
    pub(super) fn push(&mut self, request: &Request, body: &[u8], origin: Origin) {
        let start = self.arena.len();
        self.arena.extend_from_slice(body);
        let body = start..self.arena.len();
        self.entries.push(Entry { body, order: request.order, call: request.call, origin });
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn body(&self, entry: usize) -> &[u8] {
        &self.arena[self.entries[entry].body.clone()]
    }
}

/// Order keys of which something was not done: what comes behind it is held.
#[derive(Debug, Default)]
pub(super) struct Held {
    era: u64,
    generation: u64,
    orders: HashSet<u64, ahash::RandomState>,
}

/// What becomes of a batch's calls next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// To be sent now: one of each order key.
    pub(super) sent: Vec<usize>,
    /// Not to be sent at all.
    pub(super) held: Vec<usize>,
    /// For the rounds to come.
    pub(super) left: Vec<usize>,
}

impl Held {
    /// Before a batch. What was held in a time before is known to those who ask now.
    pub(super) fn begin(&mut self, batch: &Batch) {
        if (self.era, self.generation) != (batch.era, batch.generation) {
            (self.era, self.generation) = (batch.era, batch.generation);
            self.orders.clear();
        }
    }

    /// One of this order key was not done.
    pub(super) fn hold(&mut self, order: u64) {
        self.orders.insert(order);
    }

    /// The first of each order key, of those that are left, in their order.
    pub(super) fn round(&mut self, batch: &Batch, left: &[usize]) -> Round {
        let (mut round, mut seen) = (Round::default(), HashSet::<u64, ahash::RandomState>::default());
        for &at in left {
            let (order, call) = (batch.entries[at].order, batch.entries[at].call);
            if seen.contains(&order) {
                round.left.push(at);
                continue;
            }
            if call.is_some_and(|call| call.anew) {
                self.orders.remove(&order);
            }
            if self.orders.contains(&order) {
                round.held.push(at);
            } else {
                seen.insert(order);
                round.sent.push(at);
            }
        }
        round
    }
}
