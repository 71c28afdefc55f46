//! The group's coordinator: who is a member, and what each is to read (rule R1).
//!
//! An assignment is told once, and again to whoever names its topics.

use std::time::Duration;

use super::clock::UNIT;
use super::cluster::TOPIC;
use crate::wire::Code;
use crate::wire::share::{Assigned, Beat, Beaten};

const UNKNOWN_MEMBER: i16 = 25;

/// What it knows of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    /// Its epoch; 0 of one that is no member.
    pub(super) epoch: i32,
    /// Partitions that it is to read.
    pub(super) target: Vec<i32>,
    /// Whether it was told.
    pub(super) told: bool,
    /// Between two beats. So long that there is only the first one, where beats are not what is looked at.
    pub(super) interval: Duration,
}

impl Seat {
    pub(super) fn new(target: Vec<i32>, beats: bool) -> Self {
        Seat { epoch: 0, target, told: false, interval: if beats { UNIT } else { UNIT * 1_000_000 } }
    }

    /// It is to read something else.
    pub(super) fn reassign(&mut self, target: Vec<i32>) {
        (self.target, self.told) = (target, false);
        self.epoch += i32::from(self.epoch > 0);
    }

    /// Answers a beat.
    pub(super) fn beat(&mut self, beat: &Beat) -> Beaten {
        let refused = beat.epoch != 0 && (self.epoch == 0 || beat.epoch > self.epoch);
        if refused {
            let error = Code::new(UNKNOWN_MEMBER);
            return Beaten { error, message: None, epoch: 0, interval: Duration::ZERO, assigned: None };
        }
        self.epoch = self.epoch.max(1);
        let tells = !self.told || beat.topics.is_some();
        self.told = true;
        let all = || vec![Assigned { topic: TOPIC, partitions: self.target.clone() }];
        let (epoch, interval) = (self.epoch, self.interval);
        Beaten { error: None, message: None, epoch, interval, assigned: tells.then(all) }
    }
}
