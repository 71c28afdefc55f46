//! What can happen next.
//!
//! | who | what |
//! |---|---|
//! | network | a request comes to its broker; an answer comes back; a connection ends (a fault), and its broker notices at last |
//! | broker | a fetch that waits is answered, with news or without; a session, a leader, an answer goes wrong (faults) |
//! | coordinator, metadata | a beat, a look-up is answered |
//! | those who work | say what is to become of a record, or hold it |
//! | time | passes, whatever is on its way |
//! | the process | drains, closes |

use super::bounds::Fault;
use super::cluster::{Mood, named};
use super::member::{Held, Member, Told, broker_id};
use super::rules::Rule;
use super::shares::Standing;
use super::wire::{Answer, Stage};
use super::world::{Scene, World};
use crate::share::driver::Wish;
use crate::share::engine::Found;
use crate::share::grant::Fate;
use crate::wire::WireError;
use crate::wire::share::Acknowledgement;

/// One thing that happens; members, brokers and partitions by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// A request of a member comes to a broker.
    Serve(usize, usize, Served),
    /// A fetch that waits is answered.
    Unpark(usize, usize),
    /// An answer comes to a member.
    Answer(usize, usize),
    /// The connection ends; the member may know at once.
    Cut(usize, usize),
    /// The broker notices that a connection has ended.
    Notice(usize, usize),
    /// The broker forgets the session.
    Evict(usize, usize),
    /// A beat is answered, or its answer is lost.
    Beat(usize, bool),
    /// The coordinator forgets a member.
    Forget(usize),
    /// A member is to read the first partition, or all.
    Reassign(usize),
    /// Who leads is found out; of one partition it may be the leader of before.
    Look(usize, Option<usize>),
    /// Somebody is done with a record.
    Say(usize, usize, usize, Acknowledgement),
    /// Another broker leads a partition; whether the one of before knows of it.
    Move(usize, usize, bool),
    /// A leader of before learns that it leads no more.
    Learn(usize),
    Pass,
    Drain(usize),
    Close(usize),
}

/// How a request is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Served {
    Well,
    Away,
    Silent,
}

impl World {
    /// All that can happen next.
    pub(super) fn actions(&self, scene: &Scene) -> Vec<Action> {
        let mut actions = Vec::new();
        let faulty = |fault: Fault| self.budget > 0 && scene.bounds.may(fault);
        for (number, member) in self.members.iter().enumerate() {
            for broker in 0..scene.bounds.brokers {
                self.of_wire(number, broker, scene, &mut actions);
            }
            if member.beat.is_some() {
                actions.push(Action::Beat(number, true));
                actions.extend(faulty(Fault::Beat).then_some(Action::Beat(number, false)));
            }
            actions.extend((faulty(Fault::Forget) && member.seat.epoch > 0).then_some(Action::Forget(number)));
            actions.extend(faulty(Fault::Reassign).then_some(Action::Reassign(number)));
            if member.looking {
                actions.push(Action::Look(number, None));
                let others = (0..scene.bounds.brokers).filter(|_| faulty(Fault::Stale));
                let other = |broker: &usize| *broker != self.cluster.shares[0].leader;
                actions.extend(others.filter(other).map(|broker| Action::Look(number, Some(broker))));
            }
            for held in member.held.iter().filter(|held| held.said.is_none()) {
                let say = |kind| Action::Say(number, held.partition, held.offset, kind);
                actions.extend(scene.bounds.says.iter().copied().map(say));
            }
            if scene.bounds.ends {
                actions.extend((member.wish == Wish::Run).then_some(Action::Drain(number)));
                actions.extend((member.wish != Wish::Close).then_some(Action::Close(number)));
            }
        }
        for (partition, share) in self.cluster.shares.iter().enumerate() {
            for broker in (0..scene.bounds.brokers).filter(|broker| *broker != share.leader) {
                actions.extend(faulty(Fault::Move).then_some(Action::Move(partition, broker, true)));
                actions.extend(faulty(Fault::Hang).then_some(Action::Move(partition, broker, false)));
            }
            actions.extend(share.ghost.is_some().then_some(Action::Learn(partition)));
        }
        let mut under = self.wires.iter().flat_map(|wire| &wire.under);
        let slow = under.any(|under| self.now - under.at >= scene.bounds.patience);
        actions.extend((!slow).then_some(Action::Pass));
        actions
    }

    fn of_wire(&self, member: usize, broker: usize, scene: &Scene, actions: &mut Vec<Action>) {
        let wire = &self.wires[scene.wire(member, broker)];
        let faulty = |fault: Fault| self.budget > 0 && scene.bounds.may(fault);
        match wire.under.front().map(|under| (&under.stage, under.sent.tells())) {
            Some((Stage::Travelling, tells)) => {
                actions.push(Action::Serve(member, broker, Served::Well));
                let away = (tells && faulty(Fault::Away)).then_some(Action::Serve(member, broker, Served::Away));
                let silent = (tells && faulty(Fault::Silent)).then_some(Action::Serve(member, broker, Served::Silent));
                actions.extend(away.into_iter().chain(silent));
            }
            Some((Stage::Parked(..), _)) => actions.push(Action::Unpark(member, broker)),
            Some((Stage::Answered(_), _)) => actions.push(Action::Answer(member, broker)),
            None => {}
        }
        actions.extend(wire.ended.then_some(Action::Notice(member, broker)));
        actions.extend((faulty(Fault::Cut) && wire.open).then_some(Action::Cut(member, broker)));
        actions.extend((faulty(Fault::Evict) && wire.session.is_some()).then_some(Action::Evict(member, broker)));
    }

    /// The world after something has happened.
    pub(super) fn step(&self, action: Action, scene: &Scene) -> World {
        let mut world = self.fork();
        world.budget -= u8::from(world.is_fault(action));
        match action {
            Action::Serve(member, broker, served) => world.serve(member, broker, served, scene),
            Action::Unpark(member, broker) => world.unpark(member, broker, scene),
            Action::Answer(member, broker) => world.answer(member, broker, scene),
            Action::Cut(member, broker) => world.cut(scene.wire(member, broker)),
            Action::Notice(member, broker) | Action::Evict(member, broker) => {
                let turn = world.turn(member, broker);
                let wire = &mut world.wires[scene.wire(member, broker)];
                wire.ended &= matches!(action, Action::Evict(..));
                world.cluster.end(wire, turn);
            }
            Action::Beat(member, heard) => world.beaten(member, heard, scene),
            Action::Forget(member) => world.members[member].seat.epoch = 0,
            Action::Reassign(member) => {
                let seat = &mut world.members[member].seat;
                let fewer = seat.target.len() > 1;
                let target = 0..if fewer { 1 } else { scene.bounds.partitions as i32 };
                seat.reassign(target.collect());
            }
            Action::Look(member, stale) => world.looked(member, stale, scene),
            Action::Say(member, partition, offset, kind) => {
                let is_it = |held: &Held| (held.partition, held.offset) == (partition, offset) && held.said.is_none();
                let index = world.members[member].held.iter().position(is_it).expect("an action of this state");
                world.members[member].settle(index, kind);
                world.pump(member, scene);
                world.after(member, scene);
            }
            Action::Move(partition, broker, knows) => world.cluster.shares[partition].move_to(broker, knows),
            Action::Learn(partition) => world.cluster.shares[partition].ghost = None,
            Action::Pass => world.pass(scene),
            Action::Drain(member) => world.wish(member, Wish::Drain, scene),
            Action::Close(member) => world.wish(member, Wish::Close, scene),
        }
        world
    }

    fn is_fault(&self, action: Action) -> bool {
        match action {
            Action::Serve(.., served) => served != Served::Well,
            Action::Beat(_, heard) => !heard,
            Action::Look(_, stale) => stale.is_some(),
            Action::Cut(..) | Action::Evict(..) | Action::Forget(_) | Action::Reassign(_) | Action::Move(..) => true,
            _ => false,
        }
    }

    fn serve(&mut self, member: usize, broker: usize, served: Served, scene: &Scene) {
        let mood = match served {
            Served::Well => Mood::Well,
            Served::Away => Mood::Away,
            Served::Silent => Mood::Silent,
        };
        let turn = self.turn(member, broker);
        let wire = &mut self.wires[scene.wire(member, broker)];
        let Some(under) = wire.under.pop_front() else { return };
        let stage = self.cluster.serve(&under.sent, wire, turn, mood);
        wire.under.push_front(super::wire::Under { stage, ..under });
    }

    fn unpark(&mut self, member: usize, broker: usize, scene: &Scene) {
        let turn = self.turn(member, broker);
        let wire = &mut self.wires[scene.wire(member, broker)];
        let Some(under) = wire.under.pop_front() else { return };
        let Stage::Parked(told, of) = under.stage else { return };
        let stage = Stage::Answered(self.cluster.unpark(&under.sent, told, &of, turn));
        wire.under.push_front(super::wire::Under { stage, ..under });
    }

    /// What is on its way is lost; the member hears of it as of an answer.
    fn cut(&mut self, wire: usize) {
        let wire = &mut self.wires[wire];
        (wire.open, wire.ended) = (false, true);
        wire.under.iter_mut().for_each(|under| under.stage = Stage::Answered(Answer::Cut));
    }

    /// A beat is answered, or is not.
    pub(super) fn beaten(&mut self, number: usize, heard: bool, scene: &Scene) {
        let member = &mut self.members[number];
        let Some(beat) = member.beat.take() else { return };
        let answer = member.seat.beat(&beat);
        member.next = match &answer {
            _ if !heard => (member.next.0, true),
            answer if answer.error.is_some() => (0, true),
            answer => (answer.epoch, false),
        };
        let lost = WireError::Closed { address: "model".to_owned(), reason: "lost".to_owned() };
        member.engine.beaten(if heard { Ok(answer) } else { Err(lost) }, scene.at(self.now));
        self.pump(number, scene);
        self.after(number, scene);
    }

    /// It is found out who leads; `stale` is who is said to lead the first partition.
    pub(super) fn looked(&mut self, number: usize, stale: Option<usize>, scene: &Scene) {
        let leads = |partition: usize| match stale {
            Some(broker) if partition == 0 => broker,
            _ => self.cluster.shares[partition].leader,
        };
        let leaders: Vec<usize> = (0..scene.bounds.partitions).map(leads).collect();
        let topic: std::sync::Arc<str> = super::member::NAME.into();
        let found = |(partition, leader): (usize, &usize)| -> Found {
            let leader = scene.mutant.leader(broker_id(*leader));
            (std::sync::Arc::clone(&topic), named(partition).0, partition as i32, leader)
        };
        let member = &mut self.members[number];
        member.looking = false;
        member.engine.found(Ok(leaders.iter().enumerate().map(found).collect()), scene.at(self.now));
        let assigned = member.engine.assigned.clone();
        let moved = |held: &Held| {
            assigned.contains(&named(held.partition)) && leaders[held.partition] != held.broker && !held.stale
        };
        self.must_be_lost(number, Rule::R12IsTold, scene, moved);
        self.pump(number, scene);
        self.after(number, scene);
    }

    /// Time passes: locks end at brokers, and members do what is due.
    fn pass(&mut self, scene: &Scene) {
        let before = scene.at(self.now);
        self.now += 1;
        self.cluster.expire(self.now);
        for number in 0..self.members.len() {
            let idle = |member: &Member, held: &Held| {
                let wire = &self.wires[scene.wire(number, held.broker)];
                let node = member.engine.nodes.get(&broker_id(held.broker));
                wire.under.is_empty() && node.is_some_and(|node| node.is_free(before))
            };
            let member = &self.members[number];
            let may_renew = |held: &Held| held.said.is_none() && held.renewal != Told::Refused;
            let runs_out = |held: &&Held| may_renew(held) && held.deadline <= self.now && held.told == Told::No;
            let missed = member.held.iter().filter(runs_out).any(|held| idle(member, held));
            self.broken.unless(Rule::R13HalfTime, !missed);
            self.pump(number, scene);
            self.after(number, scene);
        }
    }

    fn wish(&mut self, number: usize, wish: Wish, scene: &Scene) {
        let member = &mut self.members[number];
        member.wish = wish;
        match wish {
            Wish::Close => {
                member.engine.close();
                for held in member.held.iter_mut().filter(|held| held.said.is_none()) {
                    held.said = Some(Acknowledgement::Release);
                    let told = matches!(held.grant.fate(held.index), Fate::Lost(_));
                    self.broken.unless(Rule::R16Close, told);
                }
            }
            _ if scene.mutant.hears_drain() => member.engine.drain(),
            _ => {}
        }
        self.pump(number, scene);
        self.after(number, scene);
    }

    /// Whether each record is done, or nobody is left to do it and nobody has it.
    pub(super) fn is_done(&self, scene: &Scene) -> bool {
        let is_read = |partition: usize| {
            let reads = |member: &Member| member.seat.target.contains(&(partition as i32));
            self.members.iter().any(|member| member.wish == Wish::Run && reads(member))
        };
        let settled = self.cluster.shares.iter().enumerate().all(|(partition, share)| {
            share.books.iter().all(|page| match page.standing {
                Standing::Done { .. } => true,
                Standing::Available => !is_read(partition),
                Standing::Acquired { .. } => false,
            })
        });
        let quiet = |member: &Member| {
            let engine = &member.engine;
            let target = member.seat.target.iter().map(|partition| named(*partition as usize)).collect();
            let knows = member.wish == Wish::Close || engine.assigned == target;
            let told = (0..scene.bounds.brokers).all(|broker| !engine.ledger.has_waiting(broker_id(broker)));
            let over = member.wish != Wish::Close || engine.is_closed();
            knows && told && over && engine.ledger.held() == 0
        };
        settled && self.members.iter().all(|member| quiet(member))
    }
}
