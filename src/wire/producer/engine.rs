//! What to send next, decided without touching a socket or a clock: commands and answers in, calls and notices out.
//!
//! ```text
//!  Idle ─ initialise ─▶ Initialising ─ InitProducerId ─▶ Ready ─ any error ─▶ Dead ─ initialise ─▶ …
//!                                                          │
//!                              Producing ─ seal, all acknowledged ─▶ Offsets ─▶ Ending ─▶ next identity
//!                              Producing (the next one) ·······························▶ may end now
//! ```
//!
//! Everything that is under way carries the session's number, which each initialise raises: an answer to an earlier
//! session concerns nobody any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::produce_response::TopicProduceResponse;

use super::closing::Closing;
use super::codes::{self, Class, Meaning};
use super::completing::Completing;
use super::error::ProduceError;
use super::lanes::{Lane, MAX_OUT, Pending, Verdict};
use super::leaders::TopicState;
use super::rights::Asked;
use super::settings::ProducerSettings;
use super::shared::{Command, Handed, Notice};
use super::sides::{Side, Sides, Turn};
use super::too_large::TooLarge;
use super::transaction::{Stage, Transaction};
use crate::position::Offset;
use crate::wire::compression::Compressor;
use crate::wire::{BrokerId, Code, TopicId, WireError};

/// Bytes of a Produce request around its batches, per batch: names, numbers, lengths.
const PART_OVERHEAD: usize = 300;
/// While anything is under way, deadlines are looked at this often.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// A batch in a Produce request.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) topic: Arc<str>,
    pub(super) id: TopicId,
    pub(super) partition: i32,
    pub(super) bytes: Bytes,
}

/// Something to be sent, or looked up.
#[derive(Debug)]
pub(super) enum Call {
    /// Leaders of the topics of these names; those of some partitions have turned out to be wrong.
    Metadata {
        topics: Vec<Arc<str>>,
        doubted: Vec<(Arc<str>, i32)>,
    },
    Initialise(Side),
    Produce {
        flight: u64,
        side: Side,
        broker: BrokerId,
        parts: Vec<Part>,
    },
    /// Positions into the transaction; `elsewhere` if the coordinator has moved.
    Offsets {
        elsewhere: bool,
    },
    End {
        elsewhere: bool,
    },
    Abort {
        elsewhere: bool,
    },
    /// Whether the transaction before with this id is complete.
    Describe(Side),
}

struct Flight {
    broker: BrokerId,
    session: u64,
    batches: Vec<(usize, i32)>,
}

/// The I/O thread's state.
pub(super) struct Engine {
    pub(super) settings: ProducerSettings,
    pub(super) session: u64,
    pub(super) stage: Stage,
    pub(super) sides: Sides,
    /// The one that ends next.
    pub(super) transaction: Transaction,
    /// What is filled once that one is sealed.
    pub(super) follower: Transaction,
    compressor: Compressor,
    pub(super) topics: Vec<TopicState>,
    pub(super) lanes: Vec<Lane>,
    flights: HashMap<u64, Flight>,
    next_flight: u64,
    /// Produce requests that are out, by broker.
    out: HashMap<BrokerId, usize>,
    pub(super) notices: Vec<Notice>,
    /// Partitions that were not there when their topics were looked at.
    pub(super) sought: Vec<(Arc<str>, i32)>,
    pub(super) metadata_wanted: bool,
    pub(super) metadata_under_way: bool,
    pub(super) metadata_at: Instant,
    pub(super) metadata_tries: u32,
    pub(super) metadata_since: Instant,
    pub(super) metadata_max_age: Duration,
    pub(super) closing: Option<Closing>,
    pub(super) completing: [Option<Completing>; 2],
    /// Whether the coordinator answers to that.
    pub(super) asks_completion: bool,
}

impl Engine {
    pub(super) fn new(settings: ProducerSettings, metadata_max_age: Duration, now: Instant) -> Self {
        Engine {
            compressor: Compressor::new(settings.codec),
            settings,
            session: 0,
            stage: Stage::Idle,
            sides: Sides::default(),
            transaction: Transaction::new(Turn::FIRST, now),
            follower: Transaction::new(Turn::FIRST, now),
            topics: Vec::new(),
            lanes: Vec::new(),
            flights: HashMap::new(),
            next_flight: 0,
            out: HashMap::new(),
            notices: Vec::new(),
            sought: Vec::new(),
            metadata_wanted: false,
            metadata_under_way: false,
            metadata_at: now,
            metadata_tries: 0,
            metadata_since: now,
            metadata_max_age,
            closing: None,
            completing: [None; 2],
            asks_completion: true,
        }
    }

    pub(super) fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Close => self.close(now),
            Command::Initialise => self.begin(now),
            Command::Topic { name, named } => {
                self.topics.push(TopicState::new(name, named));
                self.want_metadata(now, true);
            }
            Command::Sought { topic, partition } => {
                self.sought.push((Arc::clone(&self.topics[topic].name), partition));
                self.want_metadata(now, true);
            }
            _ if self.stage != Stage::Ready => {}
            Command::Renew(member) => self.renew(member, now),
            Command::Batch(handed) => self.take(handed, now),
            Command::Seal(seal) => self.filling().seal(seal, now),
        }
    }

    /// A new session: whatever was before is forgotten.
    fn begin(&mut self, now: Instant) {
        self.session += 1;
        self.forget();
        self.notices.retain(|notice| matches!(notice, Notice::Topic { .. }));
        self.stage = Stage::Initialising { under_way: false, at: now, tries: 0 };
        (self.transaction, self.follower) = (Transaction::new(Turn::FIRST, now), Transaction::new(Turn::FIRST, now));
        self.sides = Sides::new(self.settings.transactional_id.is_none());
        self.completing = [None; 2];
    }

    pub(super) fn forget(&mut self) {
        self.lanes.iter_mut().for_each(Lane::clear);
    }

    fn take(&mut self, handed: Handed, now: Instant) {
        let Handed { topic, partition, slot, mut batch } = handed;
        let charged = batch.bytes();
        if let Some(spare) = self.compressor.compress(&mut batch) {
            self.notices.push(Notice::Acknowledged { bytes: 0, spare });
        }
        let lane = self.lane(topic, partition);
        let turn = self.filling().turn;
        let mut parts = vec![Pending::new(batch, turn, slot, charged, now)];
        while let Some(next) = parts.pop() {
            let refused = self.topics[topic].too_large.is_some_and(|size| next.bytes() >= size);
            match refused.then(|| next.split(&mut self.compressor)).flatten() {
                Some((first, second)) => parts.extend([second, first]),
                None => self.lanes[lane].push(next),
            }
        }
        if self.lanes[lane].is_lost() {
            self.want_metadata(now, false);
        }
    }

    fn lane(&mut self, topic: usize, partition: i32) -> usize {
        let known = &mut self.topics[topic];
        let place = usize::try_from(partition).unwrap_or(0);
        if known.lanes.len() <= place {
            known.lanes.resize(place + 1, None);
        }
        *known.lanes[place].get_or_insert_with(|| {
            let mut lane = Lane::new(topic, partition);
            lane.leader = known.leaders.get(place).copied().flatten();
            self.lanes.push(lane);
            self.lanes.len() - 1
        })
    }

    /// The transaction that has this turn.
    fn of_turn(&mut self, turn: Turn) -> &mut Transaction {
        if self.follower.turn == turn { &mut self.follower } else { &mut self.transaction }
    }

    /// The transaction that takes what is appended.
    fn filling(&mut self) -> &mut Transaction {
        if self.transaction.is_sealed() { &mut self.follower } else { &mut self.transaction }
    }

    /// Whether every record of the transaction that ends next is acknowledged.
    pub(super) fn is_acknowledged(&self) -> bool {
        let turn = self.transaction.turn;
        self.lanes.iter().all(|lane| lane.turn().is_none_or(|oldest| oldest.number > turn.number))
    }

    /// The next thing to do; to be asked until there is nothing.
    pub(super) fn next(&mut self, now: Instant) -> Option<Call> {
        if let Some(call) = self.next_metadata(now) {
            return Some(call);
        }
        match self.stage {
            Stage::Initialising { under_way: false, at, tries } if at <= now => {
                self.stage = Stage::Initialising { under_way: true, at, tries };
                self.sides.missing().map(Call::Initialise)
            }
            Stage::Ready if self.closing.is_none() => {
                self.next_of_transaction(now).or_else(|| self.next_of_follower(now))
            }
            _ => self.next_close(now),
        }
    }

    fn next_of_transaction(&mut self, now: Instant) -> Option<Call> {
        let turn = self.transaction.turn;
        match self.next_completing(turn, now) {
            Some(question) => question,
            None => self.next_produce(turn, now).or_else(|| self.next_step(now)),
        }
    }

    /// What the next transaction may do while this one ends: its records go out, if they have an id of their own.
    fn next_of_follower(&mut self, now: Instant) -> Option<Call> {
        let turn = self.follower.turn;
        if self.settings.transactional_id.is_some() && self.sides.is_alone() {
            return None;
        }
        match self.next_completing(turn, now) {
            Some(question) => question,
            None => self.next_produce(turn, now),
        }
    }

    fn next_produce(&mut self, turn: Turn, now: Instant) -> Option<Call> {
        let identity = self.sides.get(turn.side)?;
        let free = |lane: &Lane| lane.leader.filter(|broker| self.out.get(broker).is_none_or(|out| *out < MAX_OUT));
        let broker = self.lanes.iter().filter(|lane| lane.sendable(turn, now).is_some()).find_map(free)?;
        let transactional = self.settings.transactional_id.is_some();
        let (mut parts, mut batches, mut size) = (Vec::new(), Vec::new(), 0);
        for (index, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.leader == Some(broker)) {
            let Some(bytes) = lane.sendable(turn, now) else { continue };
            if size > 0 && size + bytes + PART_OVERHEAD > self.settings.max_request_bytes {
                continue;
            }
            let Some((bytes, sequence)) = lane.send(identity.id, identity.epoch, transactional) else { continue };
            size += bytes.len() + PART_OVERHEAD;
            let (topic, id) = (Arc::clone(&self.topics[lane.topic].name), self.topics[lane.topic].id);
            parts.push(Part { topic, id, partition: lane.partition, bytes });
            batches.push((index, sequence));
        }
        parts.sort_by(|a: &Part, b: &Part| a.topic.cmp(&b.topic));
        self.of_turn(turn).begun = true;
        let flight = self.next_flight;
        self.next_flight += 1;
        *self.out.entry(broker).or_default() += 1;
        self.flights.insert(flight, Flight { broker, session: self.session, batches });
        Some(Call::Produce { flight, side: turn.side, broker, parts })
    }

    /// The answer to a Produce request, or that there will be none.
    pub(super) fn produced(&mut self, flight: u64, answer: Result<ProduceResponse, WireError>, now: Instant) {
        let Some(flight) = self.flights.remove(&flight) else { return };
        if let Some(out) = self.out.get_mut(&flight.broker) {
            *out = out.saturating_sub(1);
        }
        if flight.session != self.session || self.stage != Stage::Ready {
            return;
        }
        match answer {
            Ok(response) => {
                let answers = by_partition(&response, &self.topics);
                for (lane, sequence) in flight.batches {
                    let (topic, partition) = (self.lanes[lane].topic, self.lanes[lane].partition);
                    // A partition without an answer is as one whose answer was lost.
                    let (code, offset, text) = answers.get(&(topic, partition)).cloned().unwrap_or((13, -1, None));
                    self.batch_answered(lane, sequence, code, offset, text.as_deref(), now);
                }
            }
            Err(error) if error.is_retriable() || error.is_connection() => {
                let text = error.to_string();
                for (lane, sequence) in flight.batches {
                    self.lanes[lane].leader = None;
                    self.batch_answered(lane, sequence, 13, -1, Some(&text), now);
                }
                self.want_metadata(now, false);
            }
            Err(error) => self.die(class(&error), format!("produce: {error}")),
        }
    }

    fn batch_answered(&mut self, lane: usize, sequence: i32, code: i16, offset: i64, text: Option<&str>, now: Instant) {
        let at = &mut self.lanes[lane];
        let verdict = at.answer(sequence, code, offset, now, &mut self.compressor);
        match verdict {
            Verdict::Stale => {}
            Verdict::Acknowledged(pending, offset) => self.acknowledged(pending, offset),
            Verdict::Again { elsewhere } => {
                let reason = text.map_or_else(|| code_text(code), str::to_owned);
                tracing::debug!(target: "headrace::wire", partition = at.partition, reason, "produce again");
                at.hindrance = Some(reason);
                if elsewhere {
                    at.leader = None;
                    self.want_metadata(now, false);
                }
            }
            Verdict::Cut(bytes) => {
                let known = &mut self.topics[at.topic].too_large;
                *known = Some(known.map_or(bytes, |size| size.min(bytes)));
            }
            Verdict::TooLarge(bytes) => {
                let topic = self.topics[at.topic].name.to_string();
                let reason = format!("partition {}: {}", at.partition, code_text(code));
                self.fail(ProduceError::RecordTooLarge(TooLarge { topic, bytes, alone: true, reason }));
            }
            Verdict::Dead(class) => {
                let place = self.place(lane);
                let reason = text.map_or_else(String::new, |text| format!(": {text}"));
                let side = self.lanes[lane].turn().map_or(Side::First, |turn| turn.side);
                let way_out = self.way_out(Asked::Produce, side, code);
                let text = format!("produce {place}: {}{reason}{way_out}", code_text(code));
                let error = self.of_topic(self.lanes[lane].topic, code, class, text);
                self.fail(error);
            }
        }
    }

    fn acknowledged(&mut self, pending: Pending, offset: Option<i64>) {
        if let (Some(slot), Some(offset)) = (pending.slot, offset) {
            let next = Offset(offset + i64::from(pending.count));
            self.of_turn(pending.turn).acknowledged(slot, next);
        }
        let bytes = pending.charged;
        let buffer = pending.into_buffer();
        let spare = if self.settings.codec == crate::wire::Codec::None {
            buffer
        } else {
            self.compressor.keep(buffer);
            Vec::new()
        };
        self.notices.push(Notice::Acknowledged { bytes, spare });
    }

    fn place(&self, lane: usize) -> String {
        format!("{}-{}", self.topics[self.lanes[lane].topic].name, self.lanes[lane].partition)
    }

    /// Deadlines.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.stage != Stage::Ready {
            return;
        }
        let late = |lane: &&Lane| lane.oldest().is_some_and(|since| now.duration_since(since) > self.patience(lane));
        if let Some(error) = self.lanes.iter().find(late).map(|lane| self.late(lane)) {
            self.fail(error);
        }
        self.expire_step(now);
    }

    /// When to look again if nothing comes.
    pub(super) fn wakes(&self, now: Instant) -> Option<Instant> {
        let lanes = self.lanes.iter().filter_map(|lane| lane.wakes(now)).min();
        let metadata = (self.metadata_wanted && !self.metadata_under_way).then_some(self.metadata_at);
        let step = self.step_wakes();
        let busy = self.transaction.is_sealed() || !self.lanes.iter().all(Lane::is_empty);
        let tick = busy.then_some(now + TICK);
        let age = (!self.topics.is_empty() && !self.metadata_under_way)
            .then_some(self.metadata_since + self.metadata_max_age);
        let completing = self.completing_wakes(now);
        [lanes, metadata, step, completing, tick, age].into_iter().flatten().min()
    }
}

type PartitionAnswer = (i16, i64, Option<String>);

/// Answers by the topic's number and the partition. From version 13 on an answer names its topic by id only.
fn by_partition(response: &ProduceResponse, topics: &[TopicState]) -> HashMap<(usize, i32), PartitionAnswer> {
    let number = |answer: &TopicProduceResponse| {
        let by_id = |topic: &TopicState| answer.name.is_empty() && topic.id.0 == *answer.topic_id.as_bytes();
        topics.iter().position(|topic| *topic.name == **answer.name || by_id(topic))
    };
    let answers = response.responses.iter().filter_map(|answer| Some((number(answer)?, answer)));
    let partitions =
        answers.flat_map(|(topic, answer)| answer.partition_responses.iter().map(move |part| (topic, part)));
    partitions
        .map(|(topic, part)| {
            let text = part.error_message.as_ref().map(ToString::to_string);
            ((topic, part.index), (part.error_code, part.base_offset, text))
        })
        .collect()
}

/// Kafka's name of a code.
pub(super) fn code_text(code: i16) -> String {
    Code::new(code).map_or_else(|| "no error".to_owned(), |code| code.to_string())
}

/// What a failed call to a coordinator means: as a code, or as the end.
pub(super) fn fault(error: &WireError) -> Meaning {
    match error.code() {
        Some(code) => codes::meaning(code.number()),
        None if error.is_retriable() => Meaning::Elsewhere,
        None if error.is_connection() => Meaning::Elsewhere,
        None => Meaning::Dead(class(error)),
    }
}

/// The class of an error after which no other try helps.
pub(super) fn class(error: &WireError) -> Class {
    let denied = matches!(error, WireError::Authentication { .. } | WireError::NotAuthorised { .. });
    if denied { Class::Denied } else { Class::Fatal }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
