//! A partition's copy, and what of it decides what happens next.

use std::hash::{Hash as _, Hasher};
use std::sync::Arc;

use super::{Instant, Part};
use crate::share::model::clock::ahead;

impl Part {
    pub(in crate::share) fn fork(&self) -> Self {
        Part { topic: Arc::clone(&self.topic), ..*self }
    }

    pub(in crate::share) fn image(&self, now: Instant, to: &mut impl Hasher) {
        (self.leader, self.not_before.map_or(0, |at| ahead(at, now))).hash(to);
    }
}
