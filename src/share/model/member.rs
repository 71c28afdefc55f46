//! A member: the real engine, whoever works on its records, and what it can know of each record that it was handed.

use std::sync::Arc;

use super::cluster::named;
use super::coordinator::Seat;
use super::log::At;
use super::mutants::Mutant;
use super::shared::Fork;
use super::world::Scene;
use crate::share::delivery::{Desk, Settlement};
use crate::share::driver::Wish;
use crate::share::engine::Engine;
use crate::share::grant::{Fate, Grant};
use crate::share::settings::ShareSettings;
use crate::wire::BrokerId;
use crate::wire::share::{Acknowledgement, Beat, SharePart};

pub(super) const GROUP: &str = "group";
pub(super) const NAME: &str = "tasks";
pub(super) const RACK: &str = "rack";

/// How far it is with telling something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Told {
    No,
    Flying,
    /// Its request was answered, and it is to be told again.
    Again,
    /// It was refused, which may be because the group has no renewals at all: the lock stands until its end.
    Refused,
}

/// An offset that was handed over. It ends when its acknowledgement is taken, or when the member has to know that it is lost.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) partition: usize,
    pub(super) offset: usize,
    pub(super) broker: usize,
    pub(super) at: At,
    pub(super) grant: Arc<Grant>,
    pub(super) index: u32,
    /// Which acquisition it is, at the broker.
    pub(super) id: u32,
    /// When its lock may be over, by the clock of here, in steps of time.
    pub(super) deadline: u32,
    /// What is to become of it; none while it is worked on.
    pub(super) said: Option<Acknowledgement>,
    pub(super) told: Told,
    pub(super) renewal: Told,
    /// It was handed over once more since: what was had of it before is over.
    pub(super) again: bool,
    /// It came from one that was known to lead no more: it is to go back there.
    pub(super) stale: bool,
}

impl Held {
    pub(super) fn is_of(&self, broker: usize, partition: usize) -> bool {
        (self.broker, self.partition) == (broker, partition)
    }
}

/// A member.
pub(super) struct Member {
    pub(super) engine: Engine,
    pub(super) held: Vec<Held>,
    pub(super) seat: Seat,
    /// A beat is on its way.
    pub(super) beat: Option<Beat>,
    /// It is looking for leaders.
    pub(super) looking: bool,
    pub(super) wish: Wish,
    /// The epoch of its next beat, and whether that is to name all.
    pub(super) next: (i32, bool),
    /// Whether a lock was ever renewed for it.
    pub(super) renewable: bool,
    /// What a mutant remembers: what was told to whom.
    pub(super) memory: Vec<(usize, SharePart)>,
}

pub(super) fn broker_id(broker: usize) -> BrokerId {
    BrokerId(broker as i32 + 1)
}

pub(super) fn id(member: usize) -> String {
    format!("member-{member}")
}

impl Fork for Member {
    fn fork(&self) -> Self {
        let engine = self.engine.fork();
        let held = |held: &Held| {
            // What the ledger holds no more does not change any more.
            let grant = engine.ledger.grant(held.grant.number).unwrap_or(&held.grant);
            Held { grant: Arc::clone(grant), ..held.clone() }
        };
        Member {
            held: self.held.iter().map(held).collect(),
            engine,
            seat: self.seat.clone(),
            beat: self.beat.clone(),
            memory: self.memory.clone(),
            ..*self
        }
    }
}

impl Member {
    pub(super) fn new(member: usize, scene: &Scene) -> Self {
        let Scene { bounds, mutant, base, .. } = scene;
        let settings = ShareSettings {
            window: bounds.window,
            rack: Some(RACK.to_owned()),
            linger: std::time::Duration::ZERO,
            renew: *mutant != Mutant::RenewsNothing,
            ..ShareSettings::new(GROUP, [NAME])
        };
        let engine = Engine::new(settings, id(member), Arc::new(Desk::new(bounds.window)), *base);
        let target = (0..bounds.partitions as i32).collect();
        Member {
            engine,
            held: Vec::new(),
            seat: Seat::new(target, bounds.beats),
            beat: None,
            looking: false,
            wish: Wish::Run,
            next: (0, true),
            renewable: false,
            memory: Vec::new(),
        }
    }

    /// What has become of an offset, as whoever works on it is told.
    pub(super) fn fate(&self, held: &Held, mutant: Mutant) -> Fate {
        if mutant == Mutant::LeaseIsSilent { Fate::Held } else { held.grant.fate(held.index) }
    }

    /// Whoever works on a record says what is to become of it.
    pub(super) fn settle(&mut self, index: usize, kind: Acknowledgement) {
        let held = &mut self.held[index];
        if held.said.is_none() {
            held.said = Some(kind);
        }
        let settlement = Settlement { grant: held.grant.number, index: held.index, kind };
        self.engine.settle(&[settlement]);
    }

    /// Who has not heard that a record is lost says something all the same.
    pub(super) fn speak_late(&mut self, held: &Held) {
        let settlement = Settlement { grant: held.grant.number, index: held.index, kind: Acknowledgement::Accept };
        self.engine.settle(&[settlement]);
    }

    /// The leader of a partition, as far as the engine knows.
    pub(super) fn leader(&self, partition: usize) -> Option<BrokerId> {
        self.engine.parts.get(&named(partition)).and_then(|part| part.leader)
    }

    /// What has come since this was asked before: partition, offset, how often delivered. Dropped, the deliveries leave a word on
    /// the desk, which the model does not hear: here those speak who hold the records.
    pub(super) fn delivered(&mut self) -> Vec<(usize, usize, u8)> {
        let come = std::mem::take(&mut self.engine.deliveries);
        let of = |delivery: crate::share::Delivery| {
            let (partition, offset) = (delivery.partition().0 as usize, delivery.offset().0 as usize);
            (partition, offset, delivery.delivery_count as u8)
        };
        let mut come: Vec<_> = come.into_iter().map(of).collect();
        self.engine.desk.take(&mut Vec::new());
        come.sort_unstable();
        come
    }
}
