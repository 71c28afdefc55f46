//! What a member makes of an answer, and whether it may (rules R5, R7, R9, R12, R14, R15).
//!
//! The engine hears what a mutant leaves of an answer; what it has to know by then is judged by the answer itself.

use std::time::Duration;

use bytes::Bytes;

use super::clock::{LOCK, UNIT};
use super::cluster::{TOPIC, named, number};
use super::log::At;
use super::member::{Held, Member, Told, broker_id};
use super::rules::Rule;
use super::shares::{INVALID_RECORD_STATE, NOT_LEADER, Standing, each};
use super::wire::{Answer, Said, Sent, Stage, Under, Wire};
use super::world::{Scene, World};
use crate::share::driver::Wish;
use crate::share::engine::Flight;
use crate::share::grant::Fate;
use crate::wire::share::{AcknowledgedPart, Acknowledgement, Acquired, FetchedPart, ShareAcknowledged, ShareFetched};
use crate::wire::{Code, WireError};

/// COORDINATOR_LOAD_IN_PROGRESS and those like it: told again.
const LATER: [i16; 3] = [14, 15, 7];

impl World {
    /// The first answer that waits for a member comes to it.
    pub(super) fn answer(&mut self, member: usize, broker: usize, scene: &Scene) {
        let wire = &mut self.wires[scene.wire(member, broker)];
        let Some(Under { sent, flight, stage: Stage::Answered(answer), at }) = wire.under.pop_front() else { return };
        wire.hear(&sent, &answer);
        // What a broker hands out that leads no more, as far as is known, goes back.
        let stale = |partition: usize| {
            let leader = self.members[member].leader(partition);
            leader.is_some_and(|leader| leader != broker_id(broker))
        };
        let stale: Vec<bool> = (0..scene.bounds.partitions).map(stale).collect();
        if let Some(flight) = flight {
            let heard = scene.mutant.incoming(answer.clone(), &sent);
            tell(&mut self.members[member], (&sent, heard, flight), self.now, scene);
        }
        if sent.epoch() != -1 {
            match &answer {
                Answer::Said(0, parts) => {
                    self.judge(member, broker, (&sent, parts, at), scene);
                    self.receive(member, broker, (parts, at, &stale), scene);
                }
                _ => self.must_be_lost(member, Rule::R5IsTold, scene, |held| held.broker == broker),
            }
        }
        self.sweep(member, scene);
        self.pump(member, scene);
        self.after(member, scene);
    }

    /// What became of what was told.
    fn judge(&mut self, member: usize, broker: usize, (sent, parts, at): (&Sent, &[Said], u32), scene: &Scene) {
        for part in sent.parts().iter().filter(|part| !part.acknowledged.is_empty()) {
            let partition = number(part.partition);
            let code = parts.iter().find(|said| said.partition == partition).and_then(|said| said.told);
            let alone = each(&part.acknowledged).count() == 1;
            for (offset, kind) in each(&part.acknowledged) {
                let renews = kind == Acknowledgement::Renew;
                let of = &mut self.members[member];
                let is_it = |held: &Held| {
                    let told = if renews { held.renewal } else { held.told };
                    held.is_of(broker, partition) && held.offset == offset && told == Told::Flying
                };
                let Some(index) = of.held.iter().position(is_it) else { continue };
                let again = |held: &mut Held| *(if renews { &mut held.renewal } else { &mut held.told }) = Told::Again;
                match code {
                    Some(0) if renews => {
                        let held = &mut of.held[index];
                        (held.renewal, held.deadline) = (Told::No, held.deadline.max(at + LOCK));
                        of.renewable = true;
                    }
                    Some(0) => {
                        let held = of.held.remove(index);
                        let fate = of.fate(&held, scene.mutant);
                        let given_back = of.wish == Wish::Close && matches!(fate, Fate::Lost(_));
                        self.broken.unless(Rule::R14Verdicts, fate == Fate::Settled || given_back);
                        self.is_settled(&held, fate);
                    }
                    Some(INVALID_RECORD_STATE) if !alone => again(&mut of.held[index]),
                    Some(INVALID_RECORD_STATE) if renews && !of.renewable => of.held[index].renewal = Told::Refused,
                    Some(code) if LATER.contains(&code) => again(&mut of.held[index]),
                    // With all of the partition, below.
                    Some(NOT_LEADER) => {}
                    _ => self.must_be_lost(member, Rule::R14Verdicts, scene, |held| {
                        held.is_of(broker, partition) && held.offset == offset
                    }),
                }
            }
        }
        for said in parts.iter().filter(|said| said.error == NOT_LEADER || said.told == Some(NOT_LEADER)) {
            self.must_be_lost(member, Rule::R12IsTold, scene, |held| held.is_of(broker, said.partition));
            if let (Some(leader), NOT_LEADER) = (said.leader.filter(|leader| *leader != broker), said.error) {
                let of = &self.members[member];
                let asked = of.leader(said.partition).is_none_or(|known| known == broker_id(leader));
                let known = of.engine.parts.contains_key(&named(said.partition));
                self.broken.unless(Rule::R15Leader, !known || asked && of.leader(said.partition).is_some());
            }
        }
    }

    /// What was acquired.
    fn receive(&mut self, number: usize, broker: usize, (parts, at, stale): (&[Said], u32, &[bool]), scene: &Scene) {
        let mut due = Vec::new();
        for said in parts {
            for (id, (offset, count)) in (said.id..).zip(said.offsets()) {
                // Who is handed it again knows that what it had of it before is over.
                let (member, kind) = (&mut self.members[number], scene.bounds.log[offset]);
                let before = |held: &&mut Held| held.is_of(broker, said.partition) && held.offset == offset;
                member.held.iter_mut().filter(before).for_each(|held| held.again = true);
                let place = (broker_id(broker), named(said.partition), offset as i64);
                let Some((grant, index)) = member.engine.ledger.find(place.0, place.1, place.2) else {
                    self.broken.add(Rule::R7Acquired);
                    continue;
                };
                let said_of = match kind {
                    _ if stale[said.partition] => Some(Acknowledgement::Release),
                    At::Gap => Some(Acknowledgement::Gap),
                    At::Damaged => Some(Acknowledgement::Release),
                    At::Record => None,
                };
                if said_of.is_none() {
                    due.push((said.partition, offset, count));
                }
                let (grant, told) = (std::sync::Arc::clone(grant), Told::No);
                let (partition, deadline) = (said.partition, at + LOCK);
                let (at, said, renewal, again) = (kind, said_of, Told::No, false);
                let stale = stale[partition];
                member.held.push(Held {
                    partition,
                    offset,
                    broker,
                    at,
                    grant,
                    index,
                    id,
                    deadline,
                    said,
                    told,
                    renewal,
                    again,
                    stale,
                });
            }
        }
        let member = &mut self.members[number];
        member.held.sort_by_key(|held| (held.partition, held.offset, held.broker));
        due.sort_unstable();
        if member.wish == Wish::Close {
            // Nobody listens any more: what comes is let go of.
            for index in 0..member.held.len() {
                member.settle(index, Acknowledgement::Release);
            }
        }
        self.broken.unless(Rule::R7Acquired, self.members[number].delivered() == due);
    }

    /// From now on the member knows that these are lost.
    pub(super) fn must_be_lost(&mut self, number: usize, rule: Rule, scene: &Scene, which: impl Fn(&Held) -> bool) {
        let member = &mut self.members[number];
        let (gone, kept): (Vec<Held>, Vec<Held>) = member.held.drain(..).partition(which);
        member.held = kept;
        for held in gone {
            let fate = member.fate(&held, scene.mutant);
            self.broken.unless(rule, matches!(fate, Fate::Lost(_)));
            member.speak_late(&held);
        }
    }

    fn is_settled(&mut self, held: &Held, fate: Fate) {
        let standing = self.cluster.shares[held.partition].books[held.offset].standing;
        let done = match held.said {
            Some(Acknowledgement::Accept) => standing == Standing::Done { accepted: true },
            Some(Acknowledgement::Reject | Acknowledgement::Gap) => standing == Standing::Done { accepted: false },
            _ => true,
        };
        self.broken.unless(Rule::R14Settled, fate != Fate::Settled || done);
    }

    /// What the engine has given up is not its any more.
    fn sweep(&mut self, number: usize, scene: &Scene) {
        let (now, calm) = (self.now, self.budget == scene.bounds.budget);
        for held in std::mem::take(&mut self.members[number].held) {
            let member = &mut self.members[number];
            let given_back = member.wish == Wish::Close && held.said == Some(Acknowledgement::Release);
            match member.fate(&held, scene.mutant) {
                Fate::Lost(_) if !given_back || held.told != Told::Flying && held.deadline <= now => {
                    // Nothing is given up for nothing.
                    self.broken.unless(Rule::R14Verdicts, !calm || held.deadline <= now || member.wish == Wish::Close);
                    member.speak_late(&held);
                }
                // Nobody has told it yet.
                Fate::Settled => self.broken.add(Rule::R14Settled),
                _ => member.held.push(held),
            }
        }
    }

    /// What holds after each thing that has happened to a member, and what it has made of it.
    pub(super) fn after(&mut self, number: usize, scene: &Scene) {
        self.sweep(number, scene);
        let (member, now) = (&self.members[number], self.now);
        let given_back = |held: &Held| member.wish == Wish::Close && held.said == Some(Acknowledgement::Release);
        let beyond = |held: &Held| held.deadline <= now && held.told != Told::Flying && !given_back(held);
        self.broken.unless(Rule::R9NotBeyond, !member.held.iter().any(beyond));
        let again = |held: &Held| held.again && !given_back(held);
        let live: Vec<&Held> = member.held.iter().filter(|held| held.said.is_none()).collect();
        let twice = |pair: &[&Held]| (pair[0].partition, pair[0].offset) == (pair[1].partition, pair[1].offset);
        let once = !member.held.iter().any(again) && !live.windows(2).any(twice);
        self.broken.unless(Rule::R14Once, once);
        self.has_closed(number, scene);
    }

    /// A member that has closed, in a world where nothing went wrong, holds nothing.
    fn has_closed(&mut self, member: usize, scene: &Scene) {
        let calm = self.budget == scene.bounds.budget;
        let is_its = |standing| matches!(standing, Standing::Acquired { by, .. } if by == member);
        let mut pages = self.cluster.shares.iter().flat_map(|share| &share.books);
        let holds = pages.any(|page| is_its(page.standing));
        let closed = self.members[member].engine.is_closed();
        self.broken.unless(Rule::R16Close, !(calm && closed && holds));
    }
}

impl Wire {
    /// What is known of the session by an answer.
    fn hear(&mut self, sent: &Sent, answer: &Answer) {
        if answer.ends() {
            // A session that has failed goes with its connection.
            (self.open, self.ended) = (false, true);
        }
        if answer.ends() || sent.epoch() == -1 {
            self.epoch = 0;
            self.told.clear();
            return;
        }
        self.epoch = Wire::next(self.epoch);
        if let Sent::Fetch(request) = sent {
            self.told.extend(request.parts.iter().map(|part| number(part.partition)));
            self.told.retain(|partition| !request.forgotten.contains(&named(*partition)));
        }
    }
}

/// An answer comes to the engine.
fn tell(member: &mut Member, (sent, answer, flight): (&Sent, Answer, Flight), now: u32, scene: &Scene) {
    let now = scene.at(now);
    let lock = scene.mutant.lock(UNIT * LOCK);
    let cut = || WireError::Closed { address: "model".to_owned(), reason: "cut".to_owned() };
    let (message, endpoints, throttle) = (None, Vec::new(), Duration::ZERO);
    match (sent, answer) {
        (Sent::Fetch(_), Answer::Cut) => member.engine.fetched(flight, Err(cut()), now),
        (Sent::Acknowledge(_), Answer::Cut) => member.engine.acknowledged(flight, Err(cut()), now),
        (Sent::Fetch(_), Answer::Said(code, parts)) => {
            let parts = parts.iter().map(|said| fetched(said, scene)).collect();
            let lock = if code == 0 { lock } else { Duration::ZERO };
            let answer = ShareFetched { throttle, error: Code::new(code), message, lock, parts, endpoints };
            member.engine.fetched(flight, Ok(answer), now);
        }
        (Sent::Acknowledge(_), Answer::Said(code, parts)) => {
            let parts = parts.iter().map(acknowledged).collect();
            let lock = Some(lock).filter(|_| code == 0);
            let answer = ShareAcknowledged { throttle, error: Code::new(code), message, lock, parts, endpoints };
            member.engine.acknowledged(flight, Ok(answer), now);
        }
    }
}

fn fetched(said: &Said, scene: &Scene) -> FetchedPart {
    let range = |(first, last, count): &(usize, usize, u8)| Acquired {
        first: *first as i64,
        last: *last as i64,
        delivery_count: i16::from(*count),
    };
    FetchedPart {
        topic: TOPIC,
        partition: said.partition as i32,
        error: Code::new(said.error),
        acknowledge_error: Code::new(said.told.unwrap_or(0)),
        leader: said.leader.map(|leader| (broker_id(leader), 1)),
        records: if said.acquired.is_empty() { Bytes::new() } else { scene.bytes.clone() },
        acquired: said.acquired.iter().map(range).collect(),
    }
}

fn acknowledged(said: &Said) -> AcknowledgedPart {
    let error = Code::new(said.told.unwrap_or(0));
    AcknowledgedPart { topic: TOPIC, partition: said.partition as i32, error, leader: None }
}
