//! A state of the whole: members, brokers, what is between them, and the time.
//!
//! Two states are the same if nothing that can still happen tells them apart. So what only grows is left out or compared: epochs with
//! those of the other end, instants with now, numbers of acquisitions with those that stand. How that is done is in
//! [`World::image`], and that nothing is missing there is tested (`checks`): whenever a state is reached a second time, the same
//! actions have to lead to the same states.

use std::hash::{BuildHasher as _, Hash, Hasher};
use std::time::Instant;

use super::bounds::Bounds;
use super::clock::{LOCK, UNIT};
use super::cluster::{Cluster, Turn};
use super::log::bytes;
use super::member::{Member, broker_id};
use super::mutants::Mutant;
use super::rules::Broken;
use super::shared::Shared;
use super::shares::{Page, Share, Standing};
use super::wire::{Answer, Sent, Stage, Under, Wire};
use crate::share::grant::Fate;
use crate::wire::share::SharePart;

/// What does not change within an exploration.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) bounds: Bounds,
    pub(super) mutant: Mutant,
    pub(super) bytes: bytes::Bytes,
    /// Step 0.
    pub(super) base: Instant,
}

/// A state.
pub(super) struct World {
    /// In steps of time.
    pub(super) now: u32,
    pub(super) members: Vec<Shared<Member>>,
    /// By member, then by broker.
    pub(super) wires: Vec<Shared<Wire>>,
    pub(super) cluster: Shared<Cluster>,
    /// Faults that are left.
    pub(super) budget: u8,
    pub(super) broken: Broken,
}

impl Scene {
    pub(super) fn new(bounds: Bounds, mutant: Mutant) -> Self {
        Scene { bounds, mutant, bytes: bytes(bounds.log), base: Instant::now() }
    }

    pub(super) fn at(&self, now: u32) -> Instant {
        self.base + UNIT * now
    }

    pub(super) fn wire(&self, member: usize, broker: usize) -> usize {
        member * self.bounds.brokers + broker
    }

    /// Members that have joined, or are about to.
    pub(super) fn first(&self) -> World {
        let Bounds { members, brokers, partitions, log, limit, budget, .. } = self.bounds;
        let shares = (0..partitions).map(|number| Share::new(log, number % brokers)).collect();
        let mut world = World {
            now: 0,
            members: (0..members).map(|number| Shared::new(Member::new(number, self))).collect(),
            wires: (0..members * brokers).map(|_| Shared::new(Wire::new())).collect(),
            cluster: Shared::new(Cluster { shares, limit, next: 0 }),
            budget,
            broken: Broken::default(),
        };
        for member in 0..members {
            world.pump(member, self);
            if !self.bounds.beats {
                world.beaten(member, true, self);
                world.looked(member, None, self);
            }
        }
        world
    }
}

impl World {
    pub(super) fn turn(&self, member: usize, broker: usize) -> Turn {
        Turn { member, broker, now: self.now }
    }

    pub(super) fn fork(&self) -> Self {
        World { members: self.members.clone(), wires: self.wires.clone(), cluster: self.cluster.clone(), ..*self }
    }

    /// What of the state decides what can still happen.
    fn image(&self, scene: &Scene, to: &mut impl Hasher) {
        let now = scene.at(self.now);
        (self.budget, self.broken).hash(to);
        for share in &self.cluster.shares {
            share.leader.hash(to);
            share.books.iter().for_each(|page| self.page(page, to));
            if let Some((ghost, books)) = &share.ghost {
                ghost.hash(to);
                books.iter().for_each(|page| self.page(page, to));
            }
        }
        for (number, member) in self.members.iter().enumerate() {
            member.engine.image(now, to);
            self.member(member, to);
            for broker in 0..scene.bounds.brokers {
                let wire = &self.wires[scene.wire(number, broker)];
                let known = member.engine.nodes.get(&broker_id(broker)).map_or(0, |node| node.session.epoch());
                (wire.open, wire.ended, apart(wire.epoch, known), &wire.told, wire.under.len()).hash(to);
                wire.session.as_ref().map(|(epoch, parts)| (apart(*epoch, known), parts)).hash(to);
                for under in &wire.under {
                    apart(under.sent.epoch(), known).hash(to);
                    self.under(under, to);
                    if let Some(flight) = &under.flight {
                        member.engine.ledger.image_of(&flight.load, flight.sent, now, to);
                        (flight.delta.as_ref().map(|delta| (&delta.added, &delta.forgotten)), flight.closes).hash(to);
                    }
                }
            }
        }
    }

    fn page(&self, page: &Page, to: &mut impl Hasher) {
        page.count.hash(to);
        match page.standing {
            Standing::Available => 0.hash(to),
            Standing::Acquired { by, until, .. } => (1, by, until.saturating_sub(self.now)).hash(to),
            Standing::Done { accepted } => (2, accepted).hash(to),
        }
    }

    fn member(&self, member: &Member, to: &mut impl Hasher) {
        let (seat, beat) = (&member.seat, &member.beat);
        let known = member.engine.membership.epoch();
        (apart(seat.epoch, known), &seat.target, seat.told).hash(to);
        beat.as_ref().map(|beat| (apart(beat.epoch, seat.epoch), beat.topics.is_some())).hash(to);
        (member.looking, member.wish as u8, member.renewable, member.next.1, apart(member.next.0, known)).hash(to);
        (member.held.len(), member.memory.len()).hash(to);
        for held in &member.held {
            (held.partition, held.offset, held.broker, held.deadline.saturating_sub(self.now)).hash(to);
            (
                held.said,
                held.told,
                held.renewal,
                held.again,
                held.stale,
                self.stands(held.partition, held.offset, held.id),
            )
                .hash(to);
            matches!(held.grant.fate(held.index), Fate::Lost(_)).hash(to);
        }
        for (broker, part) in &member.memory {
            broker.hash(to);
            words(part, to);
        }
    }

    fn under(&self, under: &Under, to: &mut impl Hasher) {
        ((self.now - under.at).min(LOCK), under.flight.is_some(), under.sent.parts().len()).hash(to);
        under.sent.parts().iter().for_each(|part| words(part, to));
        if let Sent::Fetch(request) = &under.sent {
            (request.max_records, request.renews, &request.forgotten).hash(to);
        }
        match &under.stage {
            Stage::Travelling => 0.hash(to),
            Stage::Parked(told, of) => (1, told, of).hash(to),
            Stage::Answered(Answer::Cut) => 2.hash(to),
            Stage::Answered(Answer::Said(code, parts)) => {
                (3, code, parts.len()).hash(to);
                for said in parts {
                    (said.partition, said.error, said.leader, said.told, &said.acquired).hash(to);
                    for (id, (offset, _)) in (said.id..).zip(said.offsets()) {
                        self.stands(said.partition, offset, id).hash(to);
                    }
                }
            }
        }
    }

    /// Whether an acquisition is still what the leader knows of a record.
    fn stands(&self, partition: usize, offset: usize, id: u32) -> bool {
        let page = &self.cluster.shares[partition].books[offset];
        matches!(page.standing, Standing::Acquired { id: of, .. } if of == id)
    }

    /// The image as one number.
    pub(super) fn print(&self, scene: &Scene) -> u64 {
        // Of fixed keys, so that a path can be followed again.
        let mut to = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
        self.image(scene, &mut to);
        to.finish()
    }
}

/// Of two epochs it only matters which of them are any, and how far they are apart: what has none starts anew.
fn apart(one: i32, other: i32) -> (bool, bool, i32) {
    let (has, known) = (one > 0, other > 0);
    (has, known, if has && known { one - other } else { 0 })
}

/// What is said of a partition.
fn words(part: &SharePart, to: &mut impl Hasher) {
    (part.partition, part.acknowledged.len()).hash(to);
    part.acknowledged.iter().for_each(|batch| (batch.first, batch.last, &batch.kinds).hash(to));
}
