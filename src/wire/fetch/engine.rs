//! What to fetch from whom, and what an answer means: decisions without sockets or clocks, so that each can be tried out.
//!
//! ```text
//! Assign, Seek, Pause, Freed ─▶ parts ─▶ next() ─▶ Leaders(topic)  Committed  Bounds(partition)  Fetch(broker)
//!                                  ▲                     │             │            │               │
//!  deliveries, news ◀──────────────┴───── leaders() ◀────┘ committed() ┘   bounds() ┘   fetched() ◀─┘
//! ```
//!
//! One fetch at a time is with each broker, so one that has no news holds up nobody else's. A partition whose share waits
//! unread is left out. If that is the only reason why it is, its broker is asked to answer soon: else the others, with no
//! news, would keep it waiting after there is room again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::event::Event;
use super::part::Part;
use super::settings::FetcherSettings;
use super::shared::{Command, Evicted, Waiting};
use crate::backoff::Backoff;
use crate::position::{Partition, TopicPartition};
use crate::wire::{BrokerId, Leader, TopicId, WireError};

/// How long a broker waits for news while other partitions of it are left out for lack of room.
const BUSY_WAIT: Duration = Duration::from_millis(10);
/// A fetch for less than this part of what it could bring waits for more room.
const WORTHWHILE: usize = 4;
/// Fatal errors that are remembered, so that each is told once.
const MAX_TOLD: usize = 64;

/// A partition in a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) slot: usize,
    pub(super) ticket: u64,
    pub(super) topic: Arc<str>,
    pub(super) topic_id: TopicId,
    pub(super) partition: i32,
    pub(super) position: i64,
    pub(super) epoch: i32,
}

/// One fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) broker: BrokerId,
    pub(super) wanted: Vec<Wanted>,
    pub(super) max_bytes: usize,
    pub(super) max_wait: Duration,
}

/// Something to be asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Slot, ticket, partition, and whether what is known is wrong.
    Leaders {
        topic: Arc<str>,
        wanted: Vec<(usize, u64, Partition, bool)>,
    },
    /// Slot, ticket and partition of those whose committed positions are wanted.
    Committed(Vec<(usize, u64, TopicPartition)>),
    Fetch(Flight),
    /// Start and end of a partition whose position is not in the log.
    Bounds(Wanted, BrokerId),
}

/// A broker.
#[derive(Debug, Default)]
struct Line {
    /// Bytes that its answer may have.
    reserved: Option<usize>,
    failures: u32,
    not_before: Option<Instant>,
}

pub(super) struct Engine {
    pub(super) settings: FetcherSettings,
    pub(super) parts: Vec<Option<Part>>,
    lines: HashMap<BrokerId, Line>,
    /// Who was told to be away; `None` is whoever knows the leaders.
    away: HashSet<Option<BrokerId>>,
    told_fatal: HashSet<String>,
    turn: u64,
    pub(super) held: Arc<AtomicUsize>,
    /// There would be something to ask if there were room.
    pub(super) hungry: bool,
    pub(super) closed: bool,
    pub(super) deliveries: Vec<(usize, u64, Waiting)>,
    pub(super) news: Vec<Event>,
}

impl Engine {
    pub(super) fn new(settings: FetcherSettings, held: Arc<AtomicUsize>) -> Self {
        Engine {
            settings,
            parts: Vec::new(),
            lines: HashMap::new(),
            away: HashSet::new(),
            told_fatal: HashSet::new(),
            turn: 0,
            held,
            hungry: false,
            closed: false,
            deliveries: Vec::new(),
            news: Vec::new(),
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Assign { slot, ticket, at, position } => {
                self.parts.resize_with(self.parts.len().max(slot + 1), || None);
                self.parts[slot] = Some(Part::new(ticket, at, position));
            }
            Command::Unassign { slot } => self.parts[slot] = None,
            Command::Seek { slot, ticket, position } => {
                if let Some(Some(part)) = self.parts.get_mut(slot) {
                    part.restart(ticket, position);
                    (part.stopped, part.asking) = (false, false);
                }
            }
            Command::Pause { slot, paused } => {
                if let Some(Some(part)) = self.parts.get_mut(slot) {
                    part.paused = paused;
                }
            }
            Command::Freed { slot, ticket, bytes } => {
                if let Some(part) = self.part(slot, ticket) {
                    part.buffered = part.buffered.saturating_sub(bytes);
                }
            }
            Command::Close => self.closed = true,
        }
    }

    pub(super) fn evicted(&mut self, evicted: Vec<Evicted>) {
        for Evicted { slot, ticket, position } in evicted {
            if let Some(Some(part)) = self.parts.get_mut(slot) {
                part.restart(ticket, position);
                part.asking = false;
            }
        }
    }

    pub(super) fn part(&mut self, slot: usize, ticket: u64) -> Option<&mut Part> {
        self.parts.get_mut(slot)?.as_mut().filter(|part| part.ticket == ticket)
    }

    /// What is to be asked now; called until there is nothing.
    pub(super) fn next(&mut self, now: Instant) -> Option<Call> {
        let lookup = self.next_leaders(now).or_else(|| self.next_committed(now)).or_else(|| self.next_bounds(now));
        lookup.or_else(|| self.next_fetch(now))
    }

    fn next_leaders(&mut self, now: Instant) -> Option<Call> {
        // Of paused ones too: what the topic's id is has to be known before it can change.
        let lacks = |part: &Part| part.leader.is_none() && part.is_free() && part.is_due(now);
        let topic = self.parts.iter().flatten().find(|part| lacks(part)).map(|part| Arc::clone(&part.at.topic))?;
        let mut wanted = Vec::new();
        for (slot, part) in self.parts.iter_mut().enumerate() {
            let Some(part) = part.as_mut().filter(|part| part.at.topic == topic && lacks(part)) else { continue };
            part.asking = true;
            wanted.push((slot, part.ticket, part.at.partition, std::mem::take(&mut part.doubted)));
        }
        Some(Call::Leaders { topic, wanted })
    }

    fn next_fetch(&mut self, now: Instant) -> Option<Call> {
        let mut brokers: Vec<BrokerId> =
            self.parts.iter().flatten().filter_map(|part| part.leader).map(|l| l.broker).collect();
        brokers.sort_unstable();
        brokers.dedup();
        self.hungry = false;
        let all = brokers.len();
        brokers.into_iter().find_map(|broker| self.fetch(broker, all, now)).map(Call::Fetch)
    }

    fn fetch(&mut self, broker: BrokerId, brokers: usize, now: Instant) -> Option<Flight> {
        let line = self.lines.entry(broker).or_default();
        if line.reserved.is_some() || line.not_before.is_some_and(|time| time > now) {
            return None;
        }
        let share = self.settings.partition_bytes;
        let led = |part: &&(usize, &Part)| part.1.leader.is_some_and(|leader| leader.broker == broker);
        let due = |part: &&(usize, &Part)| part.1.is_wanted() && part.1.is_due(now);
        let parts = self.parts.iter().enumerate().filter_map(|(slot, part)| Some((slot, part.as_ref()?)));
        let parts: Vec<(usize, &Part)> = parts.filter(|part| led(&part) && due(&part)).collect();
        let mut chosen: Vec<(usize, &Part)> = parts.iter().copied().filter(|(_, part)| part.buffered < share).collect();
        let left_out = chosen.len() < parts.len();
        self.hungry |= left_out;
        if chosen.is_empty() {
            return None;
        }
        let Some(max_bytes) = self.room(chosen.len(), brokers) else {
            self.hungry = true;
            return None;
        };
        // A broker fills its answer in the order of the request: who had least lately comes first.
        chosen.sort_by_key(|(_, part)| part.turn);
        let wanted = chosen.into_iter().filter_map(|(slot, part)| wanted(slot, part)).collect();
        let max_wait = if left_out { BUSY_WAIT.min(self.settings.max_wait) } else { self.settings.max_wait };
        if let Some(line) = self.lines.get_mut(&broker) {
            line.reserved = Some(max_bytes);
        }
        Some(Flight { broker, wanted, max_bytes, max_wait })
    }

    /// Bytes that an answer may have now; none if that is too little to be worth a fetch.
    fn room(&self, partitions: usize, brokers: usize) -> Option<usize> {
        let settings = &self.settings;
        let useful = settings.partition_bytes.saturating_mul(partitions).min(settings.max_bytes);
        let most = useful.min(settings.buffer_bytes / brokers.max(1)).max(1);
        let reserved: usize = self.lines.values().filter_map(|line| line.reserved).sum();
        let taken = self.held.load(Ordering::Relaxed).saturating_add(reserved);
        let free = settings.buffer_bytes.saturating_sub(taken);
        (free >= most.div_ceil(WORTHWHILE)).then_some(free.min(most))
    }

    /// Whether there is no room, and nothing is under way that would make some.
    pub(super) fn is_starved(&self) -> bool {
        self.hungry && self.lines.values().all(|line| line.reserved.is_none())
    }

    /// When to look again. What is due already waits for something else to happen.
    pub(super) fn wakes(&self, now: Instant) -> Option<Instant> {
        let lines = self.lines.values().filter(|line| line.reserved.is_none()).filter_map(|line| line.not_before);
        lines.chain(self.parts.iter().flatten().filter_map(Part::due)).filter(|time| *time > now).min()
    }

    pub(super) fn leaders(&mut self, found: Vec<(usize, u64, Result<Leader, WireError>)>, now: Instant) {
        for (slot, ticket, leader) in found {
            let Some(part) = self.part(slot, ticket) else { continue };
            part.asking = false;
            match leader {
                Ok(leader) => self.led(slot, ticket, leader),
                Err(error) => self.unled(slot, ticket, error, now),
            }
        }
    }

    fn led(&mut self, slot: usize, ticket: u64, leader: Leader) {
        self.away.remove(&None);
        let Some(part) = self.part(slot, ticket) else { return };
        let topic = Arc::clone(&part.at.topic);
        part.leader = Some(leader);
        let new = leader.topic_id;
        if new == TopicId::default() {
            return;
        }
        let mut of_topic = self.parts.iter().flatten().filter(|part| part.at.topic == topic);
        if of_topic.any(|part| part.id.is_some_and(|known| known != new)) {
            self.made_anew(&topic, new);
        } else if let Some(part) = self.part(slot, ticket) {
            part.id = Some(new);
        }
    }

    /// All of the topic's positions are void, also those that were just found: they may be of the old one.
    fn made_anew(&mut self, topic: &Arc<str>, id: TopicId) {
        for (slot, part) in self.parts.iter_mut().enumerate() {
            let Some(part) = part.as_mut().filter(|part| part.at.topic == *topic) else { continue };
            (part.id, part.stopped, part.leader, part.doubted) = (Some(id), true, None, true);
            let event = Box::new(Event::Gone { at: part.at.clone() });
            self.deliveries.push((slot, part.ticket, Waiting::Event(event)));
        }
    }

    fn unled(&mut self, slot: usize, ticket: u64, error: WireError, now: Instant) {
        let patience = self.settings.missing_patience;
        let Some(part) = self.part(slot, ticket) else { return };
        match error {
            WireError::UnknownTopic { .. } | WireError::UnknownPartition { .. } => {
                if part.miss(now, patience) {
                    let missing = Event::Missing { at: part.at.clone(), reason: error.to_string() };
                    self.tell(slot, ticket, missing);
                }
            }
            error => {
                part.doubt(now);
                if matches!(error, WireError::NoLeader { .. }) {
                    return;
                }
                self.tell_trouble(None, error);
            }
        }
    }

    /// To the owner, in its place among the partition's records.
    pub(super) fn tell(&mut self, slot: usize, ticket: u64, event: Event) {
        self.deliveries.push((slot, ticket, Waiting::Event(Box::new(event))));
    }

    /// The fetch from a broker is over.
    pub(super) fn landed(&mut self, broker: BrokerId) {
        let line = self.lines.entry(broker).or_default();
        *line = Line::default();
        self.away.remove(&Some(broker));
    }

    /// The fetch from a broker has failed with its connection.
    pub(super) fn failed(&mut self, flight: &Flight, error: WireError, now: Instant) {
        let line = self.lines.entry(flight.broker).or_default();
        line.reserved = None;
        line.not_before = Some(now + Backoff::BROKER.delay(line.failures, fastrand::f64()));
        line.failures = line.failures.saturating_add(1);
        for wanted in &flight.wanted {
            if let Some(part) = self.part(wanted.slot, wanted.ticket) {
                (part.leader, part.doubted) = (None, true);
            }
        }
        self.tell_trouble(Some(flight.broker), error);
    }

    /// A partition's turn.
    pub(super) fn served(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// A broker's failure, or that of whoever knows the leaders and positions.
    pub(super) fn tell_trouble(&mut self, who: Option<BrokerId>, error: WireError) {
        if !error.is_retriable() {
            self.tell_fatal(error);
        } else if self.away.insert(who) {
            self.news.push(Event::Away(error));
        }
    }

    pub(super) fn tell_fatal(&mut self, error: WireError) {
        if self.told_fatal.len() >= MAX_TOLD {
            self.told_fatal.clear();
        }
        if self.told_fatal.insert(error.to_string()) {
            self.news.push(Event::Fatal(error));
        }
    }
}

pub(super) fn wanted(slot: usize, part: &Part) -> Option<Wanted> {
    let leader = part.leader?;
    Some(Wanted {
        slot,
        ticket: part.ticket,
        topic: Arc::clone(&part.at.topic),
        topic_id: leader.topic_id,
        partition: part.at.partition.0,
        position: part.position,
        epoch: leader.epoch,
    })
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
