//! A membership's copy, and what of it decides what happens next. Its epoch is compared with the coordinator's by the world's
//! image.

use std::hash::{Hash as _, Hasher};

use super::super::{Instant, JOIN, Membership};
use crate::share::model::clock::ahead;

impl Membership {
    pub(in crate::share) fn fork(&self) -> Self {
        let (group, member) = (self.group.clone(), self.member.clone());
        Membership { group, member, rack: self.rack.clone(), topics: self.topics.clone(), ..*self }
    }

    /// The epoch of its next beat.
    pub(in crate::share) fn epoch(&self) -> i32 {
        self.epoch
    }

    pub(in crate::share) fn image(&self, now: Instant, to: &mut impl Hasher) {
        (self.epoch == JOIN, self.full, self.under_way, self.interval, ahead(self.at, now)).hash(to);
    }
}
