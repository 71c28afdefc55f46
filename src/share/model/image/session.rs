//! A session's copy, and what of it decides what happens next. Its epoch is compared with the broker's by the world's image.

use std::hash::{Hash as _, Hasher};

use super::super::Session;

impl Session {
    pub(in crate::share) fn fork(&self) -> Self {
        Session { epoch: self.epoch, told: self.told.clone(), wanted: self.wanted.clone() }
    }

    pub(in crate::share) fn image(&self, to: &mut impl Hasher) {
        (self.is_open(), &self.told, &self.wanted).hash(to);
    }
}
