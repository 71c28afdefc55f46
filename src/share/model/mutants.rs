//! Members that break a rule: the real engine, and something between it and the world that mangles what it says or hears.
//!
//! Each has to be caught by the property that has the rule's name. A property that catches none proves nothing.

use std::time::{Duration, Instant};

use super::cluster::number;
use super::member::Member;
use super::shares::{INVALID_RECORD_STATE, NOT_LEADER};
use super::wire::{Answer, Said, Sent, Wire};
use crate::share::session::Named;
use crate::wire::BrokerId;
use crate::wire::share::{AcknowledgedBatch, Acknowledgement, Beat, ShareAcknowledge, SharePart};

/// What is wrong with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// Nothing.
    None,
    /// Its second beat is that of somebody who joins.
    JoinsEachTime,
    /// It joins without saying what it reads.
    JoinsBare,
    /// It sends another request behind each fetch.
    SecondRequest,
    /// Its requests in a session all have the same epoch.
    EpochStands,
    /// It tells something in the request that opens a session.
    OpensWithWords,
    /// What it has told in a session, it tells in the next one too.
    TellsAgain,
    /// Each fetch names all partitions.
    NamesAll,
    /// It does not say what it does not read any more.
    ForgetsNothing,
    /// It takes the neighbours of what was acquired along.
    TakesAll,
    /// It tells no gaps.
    DropsGaps,
    /// It accepts gaps.
    AcceptsGaps,
    /// It asks for one record too many.
    AsksTooMuch,
    /// It believes that locks hold for twice as long.
    LongLocks,
    /// It tells the last batch first.
    Unordered,
    /// It tells the leader of now what it was told by the one of before.
    Forwards,
    /// It renews without saying so.
    RenewsUnflagged,
    /// It renews nothing.
    RenewsNothing,
    /// It does not hear that a session is over.
    EndIsSilent,
    /// It does not hear that a partition has moved.
    MoveIsSilent,
    /// It does not hear that something was refused.
    RefusalIsSilent,
    /// What an answer does not speak of, it takes for done.
    MissingIsDone,
    /// It accepts in words only.
    SwallowsAccepts,
    /// Whoever works on a record is told nothing.
    LeaseIsSilent,
    /// It does not look at the leader that a refusal names.
    NoHints,
    /// Nobody tells it who leads.
    NoLeaders,
    /// It does not hear that it is to drain.
    FetchesOn,
    /// It gives nothing back at its end.
    KeepsAll,
    /// It wants to be woken at once, always.
    Spins,
}

impl Mutant {
    /// What it sends to a broker in place of this.
    pub(super) fn outgoing(self, mut sent: Sent, member: &mut Member, broker: usize, wire: &Wire) -> Vec<Sent> {
        if self == Mutant::TellsAgain || self == Mutant::Forwards {
            return vec![self.remembered(sent, member, broker)];
        }
        let epoch = sent.epoch();
        match (self, &mut sent) {
            (Mutant::SecondRequest, Sent::Fetch(request)) if epoch > 0 => {
                let (group, name) = (request.group.clone(), request.member.clone());
                let second = ShareAcknowledge { group, member: name, epoch, renews: false, parts: Vec::new() };
                return vec![sent, Sent::Acknowledge(second)];
            }
            (Mutant::EpochStands, sent) if epoch > 1 => *sent.epoch_mut() = 1,
            (Mutant::OpensWithWords, sent) if epoch == 0 => {
                let word = AcknowledgedBatch { first: 0, last: 0, kinds: vec![Acknowledgement::Accept] };
                sent.parts_mut().iter_mut().for_each(|part| part.acknowledged.push(word.clone()));
            }
            (Mutant::NamesAll, Sent::Fetch(request)) => {
                let named = |part: &SharePart| number(part.partition);
                let names: Vec<usize> = request.parts.iter().map(named).collect();
                for partition in wire.told.iter().filter(|partition| !names.contains(partition)) {
                    let (topic, partition): Named = super::cluster::named(*partition);
                    request.parts.push(SharePart { topic, partition, acknowledged: Vec::new() });
                }
                request.parts.sort_by_key(|part| part.partition);
            }
            (Mutant::ForgetsNothing, Sent::Fetch(request)) => request.forgotten.clear(),
            (Mutant::DropsGaps, sent) => without(sent, Acknowledgement::Gap),
            (Mutant::SwallowsAccepts, sent) => without(sent, Acknowledgement::Accept),
            (Mutant::KeepsAll, sent) if member.wish == crate::share::driver::Wish::Close => {
                without(sent, Acknowledgement::Release);
                if epoch == -1 {
                    *sent.epoch_mut() = wire.epoch;
                }
            }
            (Mutant::AcceptsGaps, sent) => {
                let kinds = batches(sent).flat_map(|batch| &mut batch.kinds);
                kinds.filter(|kind| **kind == Acknowledgement::Gap).for_each(|kind| *kind = Acknowledgement::Accept);
            }
            (Mutant::AsksTooMuch, Sent::Fetch(request)) if request.max_records > 0 => request.max_records += 1,
            (Mutant::Unordered, sent) => sent.parts_mut().iter_mut().for_each(|part| part.acknowledged.reverse()),
            (Mutant::RenewsUnflagged, Sent::Acknowledge(request)) => request.renews = false,
            _ => {}
        }
        vec![sent]
    }

    /// With what it has told before, to whomever: to the same broker in its next session, or to another one.
    fn remembered(self, mut sent: Sent, member: &mut Member, broker: usize) -> Sent {
        // The first request behind the one that opens is of another session than what is remembered.
        if sent.epoch() == 1 || sent.epoch() > 0 && self == Mutant::Forwards {
            let fits = |before: usize| (before == broker) == (self == Mutant::TellsAgain);
            let parts: Vec<SharePart> =
                member.memory.iter().filter(|(before, _)| fits(*before)).map(|(_, part)| part.clone()).collect();
            for part in parts {
                let same = sent
                    .parts()
                    .iter()
                    .any(|other| other.partition == part.partition && !other.acknowledged.is_empty());
                if !same {
                    sent.parts_mut().retain(|other| other.partition != part.partition);
                    sent.parts_mut().push(part);
                }
            }
        }
        if member.memory.is_empty() && !sent.has_renewal() {
            let told = sent.parts().iter().filter(|part| !part.acknowledged.is_empty());
            member.memory = told.map(|part| (broker, part.clone())).collect();
        }
        sent
    }

    /// What it hears in place of this.
    pub(super) fn incoming(self, mut answer: Answer, sent: &Sent) -> Answer {
        if self == Mutant::EndIsSilent && answer.ends() {
            let done = |part: &SharePart| done(number(part.partition));
            let told = sent.parts().iter().filter(|part| !part.acknowledged.is_empty());
            return Answer::Said(0, told.map(done).collect());
        }
        let Answer::Said(0, parts) = &mut answer else { return answer };
        match self {
            Mutant::TakesAll => {
                let ranges = parts.iter_mut().filter_map(|said| said.acquired.first_mut());
                ranges.for_each(|(first, _, _)| *first = 0);
            }
            Mutant::MoveIsSilent => {
                let moved = |code: i16| if code == NOT_LEADER { 0 } else { code };
                parts.iter_mut().for_each(|said| (said.error, said.told) = (moved(said.error), said.told.map(moved)));
            }
            Mutant::RefusalIsSilent => {
                let refused = parts.iter_mut().filter(|said| said.told == Some(INVALID_RECORD_STATE));
                refused.for_each(|said| said.told = Some(0));
            }
            Mutant::MissingIsDone => {
                let spoken: Vec<usize> = parts.iter().map(|said| said.partition).collect();
                let told = sent.parts().iter().filter(|part| !part.acknowledged.is_empty());
                let missing = told.map(|part| number(part.partition)).filter(|partition| !spoken.contains(partition));
                parts.extend(missing.map(done));
            }
            Mutant::SwallowsAccepts | Mutant::KeepsAll | Mutant::DropsGaps => {
                // What was not sent is taken for done.
                for partition in [0, 1] {
                    match parts.iter_mut().find(|said| said.partition == partition) {
                        Some(said) => said.told = said.told.or(Some(0)),
                        None => parts.push(done(partition)),
                    }
                }
            }
            Mutant::NoHints => parts.iter_mut().for_each(|said| said.leader = None),
            _ => {}
        }
        answer
    }

    pub(super) fn lock(self, lock: Duration) -> Duration {
        if self == Mutant::LongLocks { lock * 2 } else { lock }
    }

    pub(super) fn beat(self, mut beat: Beat) -> Beat {
        match self {
            Mutant::JoinsEachTime => beat.epoch = 0,
            Mutant::JoinsBare => beat.topics = None,
            _ => {}
        }
        beat
    }

    pub(super) fn leader(self, leader: BrokerId) -> Option<BrokerId> {
        (self != Mutant::NoLeaders).then_some(leader)
    }

    pub(super) fn hears_drain(self) -> bool {
        self != Mutant::FetchesOn
    }

    pub(super) fn wakes(self, at: Option<Instant>, now: Instant) -> Option<Instant> {
        if self == Mutant::Spins { Some(now) } else { at }
    }
}

fn batches(sent: &mut Sent) -> impl Iterator<Item = &mut AcknowledgedBatch> {
    sent.parts_mut().iter_mut().flat_map(|part| &mut part.acknowledged)
}

fn without(sent: &mut Sent, kind: Acknowledgement) {
    sent.parts_mut().retain_mut(|part| {
        let bare = part.acknowledged.is_empty();
        part.acknowledged.retain(|batch| !batch.kinds.contains(&kind));
        bare || !part.acknowledged.is_empty()
    });
}

fn done(partition: usize) -> Said {
    Said { partition, error: 0, leader: None, told: Some(0), acquired: Vec::new(), id: 0 }
}
