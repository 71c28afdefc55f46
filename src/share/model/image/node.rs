//! A node's copy, and what of it decides what happens next. How often it has failed is not part of that: each back-off is over
//! after one step of the model's time.

use std::hash::{Hash as _, Hasher};

use super::super::{Instant, Node};
use crate::share::model::clock::ahead;

impl Node {
    pub(in crate::share) fn fork(&self) -> Self {
        Node { session: self.session.fork(), ..*self }
    }

    pub(in crate::share) fn image(&self, now: Instant, to: &mut impl Hasher) {
        self.session.image(to);
        (self.busy, self.reserved, self.slow, self.since.is_some()).hash(to);
        (self.not_before.map_or(0, |at| ahead(at, now)), self.slow_at.map(|at| ahead(at, now))).hash(to);
    }
}
