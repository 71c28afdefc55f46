//! What comes of a state when nothing goes wrong any more: everybody does what is to be done, and records are accepted.
//!
//! From a state there is one such next step, so that runs from different states soon follow the same way. What was followed once
//! to its end is not followed again, which is why this can be asked of every state.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::actions::{Action, Served};
use super::member::{Member, broker_id};
use super::wire::Stage;
use super::world::{Scene, World};
use crate::share::driver::Wish;
use crate::wire::share::Acknowledgement;

/// Steps after which there is no end to be expected.
const STEPS: usize = 500;

/// States from which all ends well.
#[derive(Debug, Default)]
pub(super) struct Rest {
    well: Mutex<HashSet<u64>>,
}

impl Rest {
    /// Whether in the end each record is done, everybody knows what it is to read, and nothing is left to be told.
    pub(super) fn ends_well(&self, world: &World, scene: &Scene) -> bool {
        self.follow(world, scene, &mut Vec::new())
    }

    /// The same, and what is done for it.
    pub(super) fn follow(&self, world: &World, scene: &Scene, actions: &mut Vec<Action>) -> bool {
        let mut way = HashSet::new();
        let mut now = world.fork();
        while way.len() < STEPS {
            let print = now.print(scene);
            let known = self.well.lock().unwrap_or_else(PoisonError::into_inner).contains(&print);
            if known || now.is_done(scene) {
                self.well.lock().unwrap_or_else(PoisonError::into_inner).extend(way);
                return true;
            }
            if !way.insert(print) || !now.broken.none() {
                return false;
            }
            let action = now.peaceful(scene);
            actions.push(action);
            now = now.step(action, scene);
        }
        false
    }
}

impl World {
    /// What happens next if nothing goes wrong.
    pub(super) fn peaceful(&self, scene: &Scene) -> Action {
        let wires =
            (0..self.members.len()).flat_map(|member| (0..scene.bounds.brokers).map(move |broker| (member, broker)));
        let stage = |(member, broker): (usize, usize)| {
            self.wires[scene.wire(member, broker)].under.front().map(|under| &under.stage)
        };
        let ended = wires.clone().find(|(member, broker)| self.wires[scene.wire(*member, *broker)].ended);
        if let Some((member, broker)) = ended {
            return Action::Notice(member, broker);
        }
        for (member, broker) in wires.clone() {
            match stage((member, broker)) {
                Some(Stage::Answered(_)) => return Action::Answer(member, broker),
                Some(Stage::Travelling) => return Action::Serve(member, broker, Served::Well),
                _ => {}
            }
        }
        if let Some(partition) = self.cluster.shares.iter().position(|share| share.ghost.is_some()) {
            return Action::Learn(partition);
        }
        for (number, member) in self.members.iter().enumerate() {
            if member.beat.is_some() {
                return Action::Beat(number, true);
            }
            if member.looking {
                return Action::Look(number, None);
            }
            if let Some(held) = member.held.iter().find(|held| held.said.is_none()) {
                return Action::Say(number, held.partition, held.offset, Acknowledgement::Accept);
            }
        }
        let parked = wires.filter(|wire| matches!(stage(*wire), Some(Stage::Parked(..))));
        let waits = |(member, broker): &(usize, usize)| self.waits(*member, *broker, scene);
        let answered = parked.into_iter().find(waits);
        answered.map_or(Action::Pass, |(member, broker)| Action::Unpark(member, broker))
    }

    /// Whether something waits for the end of a fetch: there is news, or the member has to tell something.
    fn waits(&self, number: usize, broker: usize, scene: &Scene) -> bool {
        let wire = &self.wires[scene.wire(number, broker)];
        let member: &Member = &self.members[number];
        let tells = member.engine.ledger.has_waiting(broker_id(broker)) || member.wish != Wish::Run;
        let parked = wire.under.front().and_then(|under| match &under.stage {
            Stage::Parked(_, of) => Some(of),
            _ => None,
        });
        let wanted = self.wanted(number, broker, scene);
        let over = wire.session.is_none();
        tells || over || parked.is_some_and(|of| *of != wanted || self.cluster.clone().has_news(of, broker))
    }
}
