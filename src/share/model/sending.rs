//! What a member sends, and whether it may (rules R1, R3, R4, R6, R7, R8, R9, R11, R12, R13, R16).
//!
//! A member acts whenever something has happened to it, and until it has nothing to do, as its driver has it.

use std::collections::BTreeSet;

use super::cluster::{named, number};
use super::log::At;
use super::member::{GROUP, Held, NAME, RACK, Told, broker_id, id};
use super::rules::Rule;
use super::shares::{each, well_formed};
use super::wire::{Answer, Sent, Stage, Under};
use super::world::{Scene, World};
use crate::share::driver::Wish;
use crate::share::engine::{Call, Flight};
use crate::share::grant::Fate;
use crate::wire::share::{Acknowledgement, Beat, ShareFetch};

/// More calls than that at once are a loop.
const CALLS: usize = 20;

impl World {
    /// A member sends what it has to send.
    pub(super) fn pump(&mut self, member: usize, scene: &Scene) {
        let now = scene.at(self.now);
        for _ in 0..CALLS {
            match self.members[member].engine.next(now) {
                None => {
                    let wakes = self.members[member].engine.wakes(now);
                    return self.broken.unless(Rule::Wakes, scene.mutant.wakes(wakes, now).is_none_or(|at| at > now));
                }
                Some(Call::Beat(beat)) => self.beat(member, scene.mutant.beat(beat)),
                Some(Call::Look(_)) => self.members[member].looking = true,
                Some(Call::Fetch(request, flight)) => self.send(member, Sent::Fetch(*request), flight, scene),
                Some(Call::Acknowledge(request, flight)) => {
                    self.send(member, Sent::Acknowledge(request), flight, scene);
                }
            }
        }
        self.broken.add(Rule::Wakes);
    }

    fn beat(&mut self, number: usize, beat: Beat) {
        let member = &mut self.members[number];
        let (epoch, full) = member.next;
        let all = beat.topics.as_deref() == Some(&[NAME.to_owned()]) && beat.rack.as_deref() == Some(RACK);
        let fits = (beat.epoch, beat.member.as_str(), beat.group.as_str()) == (epoch, &id(number), GROUP);
        self.broken.unless(Rule::R1Beats, fits && (all || !full) && member.beat.is_none());
        member.beat = Some(beat);
    }

    fn send(&mut self, member: usize, sent: Sent, flight: Flight, scene: &Scene) {
        let broker = (0..scene.bounds.brokers).find(|broker| broker_id(*broker) == flight.broker);
        let Some(broker) = broker else { return self.broken.add(Rule::R12Acquirer) };
        let wire = &self.wires[scene.wire(member, broker)];
        let requests = scene.mutant.outgoing(sent, &mut self.members[member], broker, wire);
        let mut flight = Some(flight);
        for sent in requests {
            self.look_at(member, broker, &sent, scene);
            let wire = &mut self.wires[scene.wire(member, broker)];
            wire.open |= sent.epoch() == 0;
            // Without its connection there is no session.
            let stage = if wire.open { Stage::Travelling } else { Stage::Answered(Answer::Cut) };
            wire.under.push_back(Under { sent, flight: flight.take(), stage, at: self.now });
        }
    }

    /// Whether a request may be sent.
    fn look_at(&mut self, member: usize, broker: usize, sent: &Sent, scene: &Scene) {
        let wire = &self.wires[scene.wire(member, broker)];
        let of = &self.members[member];
        self.broken.unless(Rule::R3OneAtATime, wire.under.is_empty());
        match (wire.epoch, sent) {
            (0, Sent::Fetch(request)) => {
                let opens = request.epoch == 0 && !sent.tells() && request.forgotten.is_empty();
                self.broken.unless(Rule::R4Opens, opens);
            }
            (0, Sent::Acknowledge(_)) => self.broken.add(Rule::R4Opens),
            (_, Sent::Acknowledge(request)) if request.epoch == -1 => {
                self.broken.unless(Rule::R16Close, of.wish == Wish::Close && !sent.tells());
            }
            (epoch, sent) => self.broken.unless(Rule::R4Counts, sent.epoch() == epoch),
        }
        let still = match sent {
            Sent::Fetch(request) => {
                request.max_wait.is_zero() && (request.min_bytes, request.max_bytes, request.max_records) == (0, 0, 0)
            }
            Sent::Acknowledge(_) => true,
        };
        self.broken.unless(Rule::R13Renewals, sent.renews() == sent.has_renewal() && (!sent.renews() || still));
        let in_order = |pair: &[crate::wire::share::SharePart]| pair[0].partition < pair[1].partition;
        let well = sent.parts().iter().all(|part| well_formed(&part.acknowledged));
        self.broken.unless(Rule::R11WellFormed, well && sent.parts().windows(2).all(in_order));
        if let Sent::Fetch(request) = sent {
            self.look_at_delta(member, broker, request, scene);
        }
        self.hear_gaps(member, broker, sent, scene);
        for part in sent.parts() {
            for (offset, kind) in each(&part.acknowledged) {
                self.hear(member, broker, (number(part.partition), offset), kind);
            }
        }
        if let Sent::Fetch(request) = sent {
            // What has run out by now takes no place.
            let takes = |held: &&Held| held.told == Told::No && !matches!(held.grant.fate(held.index), Fate::Lost(_));
            let held = self.members[member].held.iter().filter(takes).count();
            let most = i64::from(request.max_records);
            self.broken.unless(Rule::R8Room, most + held as i64 <= scene.bounds.window as i64);
            self.broken.unless(Rule::R16Drain, most == 0 || self.members[member].wish == Wish::Run);
        }
    }

    /// Partitions that a member wants of a broker.
    pub(super) fn wanted(&self, member: usize, broker: usize, scene: &Scene) -> BTreeSet<usize> {
        let (of, now) = (&self.members[member].engine.parts, scene.at(self.now));
        let is_wanted = |partition: &usize| {
            of.get(&named(*partition)).and_then(|part| part.asked_of(now)) == Some(broker_id(broker))
        };
        (0..scene.bounds.partitions).filter(is_wanted).collect()
    }

    /// After each fetch a broker reads what the member wants of it; nothing is named that has not changed.
    fn look_at_delta(&mut self, member: usize, broker: usize, request: &ShareFetch, scene: &Scene) {
        let told = &self.wires[scene.wire(member, broker)].told;
        let names: BTreeSet<usize> = request.parts.iter().map(|part| number(part.partition)).collect();
        let mut bare = request.parts.iter().filter(|part| part.acknowledged.is_empty());
        let forgotten: BTreeSet<usize> = request.forgotten.iter().map(|(_, partition)| number(*partition)).collect();
        let new = bare.all(|part| !told.contains(&number(part.partition)));
        let after: BTreeSet<usize> = (told | &names).difference(&forgotten).copied().collect();
        let wanted = self.wanted(member, broker, scene);
        let fits = new && forgotten.is_subset(told) && forgotten.is_disjoint(&names) && after == wanted;
        self.broken.unless(Rule::R6Deltas, fits);
    }

    /// A request that tells anything but renewals tells all gaps, but for those that have to wait for what is told again.
    fn hear_gaps(&mut self, member: usize, broker: usize, sent: &Sent, scene: &Scene) {
        if sent.has_renewal() || sent.epoch() <= 0 || self.wires[scene.wire(member, broker)].epoch == 0 {
            return;
        }
        let held = &self.members[member].held;
        let again = |of: &Held| of.told == Told::Again || of.renewal == Told::Again;
        let waits = |gap: &&Held| {
            let behind = held.iter().any(|of| of.is_of(broker, gap.partition) && again(of));
            let waits = gap.told == Told::No && gap.grant.fate(gap.index) == Fate::Held;
            gap.at == At::Gap && gap.broker == broker && waits && !behind
        };
        let gaps = held.iter().filter(waits);
        let is_told = |gap: &Held| super::cluster::tells(sent, gap.partition, gap.offset).is_some();
        let all = gaps.into_iter().all(is_told);
        self.broken.unless(Rule::R7Gaps, all);
    }

    /// Whether a member may say this of a record.
    fn hear(&mut self, member: usize, broker: usize, at: (usize, usize), kind: Acknowledgement) {
        let now = self.now;
        let closes = self.members[member].wish == Wish::Close;
        let is_it = |held: &&mut Held| {
            let lost = matches!(held.grant.fate(held.index), Fate::Lost(_));
            (held.partition, held.offset) == at && (closes || !lost)
        };
        let mut same: Vec<&mut Held> = self.members[member].held.iter_mut().filter(is_it).collect();
        let Some(held) = same.iter_mut().find(|held| held.broker == broker) else {
            let rule = if same.is_empty() { Rule::R5NeverAgain } else { Rule::R12Acquirer };
            return self.broken.add(rule);
        };
        self.broken.unless(Rule::R9InTime, held.deadline > now);
        if kind == Acknowledgement::Renew {
            self.broken.unless(Rule::R5NeverAgain, !matches!(held.renewal, Told::Flying | Told::Refused));
            self.broken.unless(Rule::R11WellFormed, held.said.is_none());
            held.renewal = Told::Flying;
            return;
        }
        let gap = held.at == At::Gap || kind == Acknowledgement::Gap;
        self.broken.unless(if gap { Rule::R7Gaps } else { Rule::R11WellFormed }, held.said == Some(kind));
        self.broken.unless(Rule::R5NeverAgain, held.told != Told::Flying);
        held.told = Told::Flying;
    }
}
