//! Brokers: what they answer, as Kafka 4.3 and 4.4 do (`SharePartitionManager.newContext`, `acknowledgeSessionUpdate`,
//! `ShareSessionCache`, `SharePartition.acknowledge`).
//!
//! | request | session | then |
//! |---|---|---|
//! | fetch of epoch 0 | a new one in place of what there was; with acknowledgements: refused | acquires |
//! | fetch, acknowledge of another epoch | has to be there, and of that epoch, which is counted up | acknowledges, all or none of a partition; acquires |
//! | acknowledge of epoch -1 | ends | acknowledges, then lets go of what the member holds |
//! | a connection has ended | the member's ends, also a newer one than the connection's | lets go of what the member holds |

use std::collections::BTreeSet;

use super::shared::Fork;
use super::shares::{INVALID_REQUEST, NOT_LEADER, Page, Share, Standing, each};
use super::wire::{Answer, Said, Sent, Stage, Wire};
use crate::share::session::Named;
use crate::wire::TopicId;
use crate::wire::share::{Acknowledgement, ShareFetch, SharePart};

const SESSION_NOT_FOUND: i16 = 122;
const INVALID_SESSION_EPOCH: i16 = 123;
/// COORDINATOR_NOT_AVAILABLE: the keeper of the group's state is away.
const AWAY: i16 = 15;

/// The one topic.
pub(super) const TOPIC: TopicId = TopicId([7; 16]);

/// How a broker fails a request that it has understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    /// It can't write what is acknowledged.
    Away,
    /// It says nothing of any partition, and has done nothing.
    Silent,
}

/// All share-partitions.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) shares: Vec<Share>,
    /// How often a record is delivered.
    pub(super) limit: u8,
    /// The number of the next acquisition.
    pub(super) next: u32,
}

/// Who asks whom, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) member: usize,
    pub(super) broker: usize,
    pub(super) now: u32,
}

pub(super) fn named(partition: usize) -> Named {
    (TOPIC, partition as i32)
}

/// What can be heard of a partition's number, which is never another topic's here.
pub(super) fn number(partition: i32) -> usize {
    usize::try_from(partition).expect("the model's own")
}

impl Fork for Cluster {
    fn fork(&self) -> Self {
        self.clone()
    }
}

impl Cluster {
    /// A request has come.
    pub(super) fn serve(&mut self, sent: &Sent, wire: &mut Wire, turn: Turn, mood: Mood) -> Stage {
        if let Err(code) = admit(sent, wire) {
            return Stage::Answered(Answer::Said(code, Vec::new()));
        }
        if mood == Mood::Silent {
            return Stage::Answered(Answer::Said(0, Vec::new()));
        }
        let told = self.acknowledge(sent.parts(), turn, mood);
        match sent {
            Sent::Acknowledge(request) => {
                if request.epoch < 0 {
                    self.end(wire, turn);
                }
                Stage::Answered(Answer::Said(0, answers(told)))
            }
            Sent::Fetch(request) if request.renews || request.max_records == 0 => {
                Stage::Answered(Answer::Said(0, answers(told)))
            }
            Sent::Fetch(request) => self.fetch(request, wire, turn, told),
        }
    }

    /// A fetch gets what there is, or waits.
    fn fetch(&mut self, request: &ShareFetch, wire: &Wire, turn: Turn, told: Vec<(usize, i16)>) -> Stage {
        let of = wire.session.as_ref().map(|(_, of)| of.clone()).unwrap_or_default();
        let parts = self.take(request, &of, turn);
        if parts.is_empty() { Stage::Parked(told, of) } else { Stage::Answered(Answer::Said(0, joined(parts, told))) }
    }

    /// A fetch that has waited gets what there is, or nothing; also if its session has ended meanwhile.
    pub(super) fn unpark(&mut self, sent: &Sent, told: Vec<(usize, i16)>, of: &BTreeSet<usize>, turn: Turn) -> Answer {
        let parts = match sent {
            Sent::Fetch(request) => self.take(request, of, turn),
            Sent::Acknowledge(_) => Vec::new(),
        };
        Answer::Said(0, joined(parts, told))
    }

    /// Partitions of which there is anything to say.
    fn take(&mut self, request: &ShareFetch, of: &BTreeSet<usize>, turn: Turn) -> Vec<Said> {
        let Turn { member, broker, now } = turn;
        let mut left = usize::try_from(request.max_records).unwrap_or(0);
        let mut parts = Vec::new();
        for partition in of.iter().copied() {
            let share = &mut self.shares[partition];
            let mut said = Said { partition, error: 0, leader: None, told: None, acquired: Vec::new(), id: self.next };
            if share.books_of(broker).is_none() {
                (said.error, said.leader) = (NOT_LEADER, Some(share.leader));
                parts.push(said);
                continue;
            }
            (said.acquired, self.next) = share.acquire(broker, member, left, (now, self.next));
            left -= usize::try_from(self.next - said.id).unwrap_or(0);
            if !said.acquired.is_empty() {
                parts.push(said);
            }
        }
        parts
    }

    fn acknowledge(&mut self, parts: &[SharePart], turn: Turn, mood: Mood) -> Vec<(usize, i16)> {
        let Turn { member, broker, now } = turn;
        let mut told = Vec::new();
        for part in parts.iter().filter(|part| !part.acknowledged.is_empty()) {
            let partition = number(part.partition);
            let share = &mut self.shares[partition];
            match mood {
                Mood::Well => {
                    let code = share.acknowledge(broker, member, &part.acknowledged, (now, self.limit));
                    told.push((partition, code));
                }
                Mood::Away | Mood::Silent => told.push((partition, AWAY)),
            }
        }
        told
    }

    /// A member's session ends, and it holds nothing any more.
    pub(super) fn end(&mut self, wire: &mut Wire, turn: Turn) {
        let (_, parts) = wire.session.take().unwrap_or_default();
        for partition in parts {
            self.shares[partition].release(turn.broker, turn.member, self.limit);
        }
    }

    /// Whether a fetch that waits would be told something.
    pub(super) fn has_news(&mut self, of: &BTreeSet<usize>, broker: usize) -> bool {
        let available = |books: &mut Vec<Page>| books.iter().any(|page| page.standing == Standing::Available);
        of.iter().any(|partition| self.shares[*partition].books_of(broker).is_none_or(available))
    }

    pub(super) fn expire(&mut self, now: u32) {
        self.shares.iter_mut().for_each(|share| share.expire(now, self.limit));
    }
}

/// Whether the session lets a request in, which it then counts.
fn admit(sent: &Sent, wire: &mut Wire) -> Result<(), i16> {
    let parts = sent.parts().iter().map(|part| number(part.partition));
    if let Sent::Fetch(request) = sent {
        // Rule R13.
        let still =
            request.max_wait.is_zero() && (request.min_bytes, request.max_bytes, request.max_records) == (0, 0, 0);
        if sent.has_renewal() && !request.renews || request.renews && !still {
            return Err(INVALID_REQUEST);
        }
    }
    match (sent, sent.epoch(), &mut wire.session) {
        (Sent::Fetch(_), 0, _) if sent.tells() => return Err(INVALID_REQUEST),
        (Sent::Fetch(_), 0, session) => *session = Some((1, parts.collect())),
        (Sent::Acknowledge(_), 0, _) => return Err(INVALID_SESSION_EPOCH),
        (_, _, None) => return Err(SESSION_NOT_FOUND),
        (_, -1, _) => {}
        (_, epoch, Some((expected, _))) if epoch != *expected => return Err(INVALID_SESSION_EPOCH),
        (Sent::Acknowledge(_), _, Some((epoch, _))) => *epoch = Wire::next(*epoch),
        (Sent::Fetch(request), _, Some((epoch, read))) => {
            *epoch = Wire::next(*epoch);
            read.extend(parts);
            read.retain(|partition| !request.forgotten.contains(&named(*partition)));
        }
    }
    Ok(())
}

fn answers(told: Vec<(usize, i16)>) -> Vec<Said> {
    joined(Vec::new(), told)
}

/// What was acquired, and what became of what was told.
fn joined(mut parts: Vec<Said>, told: Vec<(usize, i16)>) -> Vec<Said> {
    for (partition, code) in told {
        match parts.iter_mut().find(|said| said.partition == partition) {
            Some(said) => said.told = Some(code),
            None => {
                parts.push(Said { partition, error: 0, leader: None, told: Some(code), acquired: Vec::new(), id: 0 })
            }
        }
    }
    parts
}

/// Whether a request says of a partition's offset what is to become of it.
pub(super) fn tells(sent: &Sent, partition: usize, offset: usize) -> Option<Acknowledgement> {
    let of = sent.parts().iter().filter(|part| number(part.partition) == partition);
    of.flat_map(|part| each(&part.acknowledged)).find(|(at, _)| *at == offset).map(|(_, kind)| kind)
}
