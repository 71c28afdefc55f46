//! A member of a share group without its sockets and its clock: what is to be sent next, and what answers lead to.
//!
//! ```text
//!        settlements ─▶ Ledger ─┐                        ┌─▶ Beat, Look            group's coordinator, metadata
//!  beats' answers ─▶ Membership ┼─▶ Engine::next(now) ───┼─▶ Fetch(broker)         one on its way per broker
//!  leaders ─▶ Parts ─▶ Sessions ┘                        └─▶ Acknowledge(broker)
//!                                    answers ─▶ deliveries
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delivery::{Delivery, Desk, Settlement};
use super::error::{Lost, ShareError};
use super::ledger::{Ledger, Load};
use super::membership::{Change, Membership};
use super::node::{Node, Plan, Situation};
use super::part::Part;
use super::session::{Delta, Named, Session};
use super::settings::ShareSettings;
use crate::backoff::Backoff;
use crate::wire::share::{Assigned, Beat, Beaten, ShareAcknowledge, ShareFetch, SharePart, Tools};
use crate::wire::{BrokerId, TopicId, WireError};

/// Room for one part in so many of the window is enough for a fetch at once.
const ENOUGH_PART: usize = 4;
/// How long a broker may wait for the keeper of a group's state before it answers an acknowledgement (5 tries of Kafka's).
const PERSISTING: Duration = Duration::from_secs(60);

/// Something to be sent.
#[derive(Debug)]
pub(super) enum Call {
    /// To the group's coordinator.
    Beat(Beat),
    /// Who leads the partitions of the topics; what is known of the doubted ones is wrong.
    Look(Vec<(Arc<str>, i32)>),
    Fetch(Box<ShareFetch>, Flight),
    Acknowledge(ShareAcknowledge, Flight),
}

/// A request on its way to a broker.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) broker: BrokerId,
    pub(super) sent: Instant,
    /// How long its answer may take.
    pub(super) patience: Duration,
    pub(super) load: Load,
    pub(super) delta: Option<Delta>,
    /// It is the session's last one.
    pub(super) closes: bool,
}

/// A partition's leader, or why there is none.
pub(super) type Found = (Arc<str>, TopicId, i32, Option<BrokerId>);

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Nothing new is fetched.
    Draining,
    /// What is held is given back, sessions are closed.
    Closing,
}

/// A member.
pub(super) struct Engine {
    pub(super) settings: ShareSettings,
    pub(super) membership: Membership,
    pub(super) ledger: Ledger,
    group: Arc<str>,
    member: Arc<str>,
    pub(super) nodes: BTreeMap<BrokerId, Node>,
    pub(super) parts: BTreeMap<Named, Part>,
    names: BTreeMap<TopicId, Arc<str>>,
    /// Assigned, and not yet known by name.
    pub(super) assigned: BTreeSet<Named>,
    looking: bool,
    look_at: Option<Instant>,
    look_failures: u32,
    phase: Phase,
    pub(super) desk: Arc<Desk>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) tools: Tools,
    pub(super) failed: Option<ShareError>,
    /// Whose turn it is among the brokers.
    turn: usize,
}

impl Engine {
    pub(super) fn new(settings: ShareSettings, member: String, desk: Arc<Desk>, now: Instant) -> Self {
        let (group, topics) = (settings.group.clone(), settings.topics.clone());
        Engine {
            membership: Membership::new(group.clone(), member.clone(), settings.rack.clone(), topics, now),
            ledger: Ledger::new(settings.renew),
            group: group.into(),
            member: member.into(),
            nodes: BTreeMap::new(),
            parts: BTreeMap::new(),
            names: BTreeMap::new(),
            assigned: BTreeSet::new(),
            looking: false,
            look_at: None,
            look_failures: 0,
            phase: Phase::Running,
            desk,
            deliveries: Vec::new(),
            tools: Tools::new(settings.max_plain_bytes),
            failed: None,
            turn: 0,
            settings,
        }
    }

    pub(super) fn member(&self) -> &str {
        &self.member
    }

    /// Fetches nothing any more.
    pub(super) fn drain(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining;
        }
    }

    /// Gives back what is held, and closes.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closing;
        self.ledger.give_back();
    }

    /// Whether no fetch is on its way, and none will be.
    pub(super) fn is_dry(&self) -> bool {
        self.phase != Phase::Running && self.nodes.values().all(|node| !node.busy)
    }

    /// Whether nothing is left to be told to any broker.
    pub(super) fn is_closed(&self) -> bool {
        let over = |node: &Node| !node.busy && !node.session.is_open();
        self.phase == Phase::Closing && self.nodes.values().all(over)
    }

    pub(super) fn settle(&mut self, settlements: &[Settlement]) {
        settlements.iter().for_each(|settlement| self.ledger.settle(*settlement));
    }

    /// The next thing to be sent.
    pub(super) fn next(&mut self, now: Instant) -> Option<Call> {
        if self.phase != Phase::Closing
            && let Some(beat) = self.membership.beat(now)
        {
            return Some(Call::Beat(beat));
        }
        let mut silent = false;
        for node in self.nodes.values_mut() {
            silent |= node.turns_slow(now);
        }
        if silent {
            self.look_soon(now);
        }
        if let Some(doubted) = self.look(now) {
            return Some(Call::Look(doubted));
        }
        self.ledger.expire(now);
        self.place(now);
        let brokers: Vec<BrokerId> = self.nodes.keys().copied().collect();
        for step in 0..brokers.len() {
            let broker = brokers[(self.turn + step) % brokers.len()];
            if let Some(call) = self.call(broker, now) {
                self.turn = (self.turn + step + 1) % brokers.len();
                return Some(call);
            }
        }
        None
    }

    /// When there may be something to be sent, if nothing happens before.
    pub(super) fn wakes(&self, now: Instant) -> Option<Instant> {
        let linger = self.settings.linger;
        let beat = self.membership.wakes().filter(|_| self.phase != Phase::Closing);
        let nodes = self.nodes.values().filter_map(|node| node.wakes(linger, now));
        let parts = self.parts.values().filter_map(|part| part.wakes(now));
        let look = self.look_at.filter(|_| !self.looking);
        let may_be_told = |broker| self.nodes.get(&broker).is_some_and(|node| node.is_free(now));
        nodes.chain(parts).chain(beat).chain(look).chain(self.ledger.wakes(may_be_told)).min()
    }

    /// Which partitions each broker is to be asked for.
    fn place(&mut self, now: Instant) {
        let mut wanted: BTreeMap<BrokerId, BTreeSet<Named>> = BTreeMap::new();
        for (named, part) in &self.parts {
            if let Some(broker) = part.asked_of(now) {
                wanted.entry(broker).or_default().insert(*named);
            }
        }
        for broker in wanted.keys() {
            self.nodes.entry(*broker).or_default();
        }
        for (broker, node) in &mut self.nodes {
            node.session.want(wanted.remove(broker).unwrap_or_default());
        }
    }

    fn call(&mut self, broker: BrokerId, now: Instant) -> Option<Call> {
        let node = self.nodes.get(&broker)?;
        if !node.is_free(now) {
            return None;
        }
        if node.session.is_open() {
            let renewals = self.ledger.renewals(broker, now);
            if !renewals.told.is_empty() {
                return Some(self.acknowledge(broker, renewals, now));
            }
        }
        let situation = self.situation(broker, now);
        let plan = self.nodes.get_mut(&broker)?.plan(situation);
        match plan {
            Plan::Nothing if self.phase == Phase::Closing && !situation.waiting => self.end(broker, now),
            Plan::Nothing => None,
            Plan::Acknowledge => {
                let load = self.ledger.take(broker);
                Some(self.acknowledge(broker, load, now))
            }
            Plan::Fetch { records, delta } => Some(self.fetch(broker, records, delta, now)),
        }
    }

    fn situation(&self, broker: BrokerId, now: Instant) -> Situation {
        let window = self.desk.window();
        let reserved: usize = self.nodes.values().map(|node| node.reserved).sum();
        let free = (window + self.ledger.freed_by(broker)).saturating_sub(self.ledger.held() + reserved);
        // Each broker that could be asked now has its part of what is free.
        let asked = self.nodes.values().filter(|node| node.is_free(now) && node.session.wants()).count().max(1);
        let wanted = |named: &Named| self.parts.get(named).and_then(|part| part.asked_of(now)) == Some(broker);
        Situation {
            now,
            // At the end nobody else comes along.
            linger: if self.phase == Phase::Closing { Duration::ZERO } else { self.settings.linger },
            room: free.div_ceil(asked),
            enough: (window / ENOUGH_PART / asked).max(1),
            waiting: self.ledger.has_waiting(broker),
            fits: !self.ledger.renews_again(broker) && self.ledger.waiting_in(broker).all(|named| wanted(&named)),
            fetching: self.phase == Phase::Running,
        }
    }

    fn fetch(&mut self, broker: BrokerId, records: usize, delta: Delta, now: Instant) -> Call {
        let is_open = delta.epoch != 0;
        let load = if is_open { self.ledger.take(broker) } else { Load::default() };
        let mut parts: BTreeMap<Named, _> = self.ledger.parts(&load).into_iter().map(named).collect();
        for added in &delta.added {
            parts.entry(*added).or_insert_with(|| bare(*added));
        }
        let settings = &self.settings;
        let held = self.ledger.owes(broker);
        let max_wait = if held { settings.busy_wait } else { settings.max_wait };
        let count = i32::try_from(records).unwrap_or(i32::MAX);
        let request = ShareFetch {
            group: Arc::clone(&self.group),
            member: Arc::clone(&self.member),
            epoch: delta.epoch,
            max_wait: if records == 0 { Duration::ZERO } else { max_wait },
            min_bytes: i32::from(records > 0),
            max_bytes: if records > 0 { i32::try_from(settings.max_bytes).unwrap_or(i32::MAX) } else { 0 },
            max_records: count,
            // Kafka 4.3.1 makes empty ranges of 0.
            batch_size: count.max(1),
            mode: settings.mode,
            renews: load.renews,
            parts: parts.into_values().collect(),
            forgotten: delta.forgotten.clone(),
        };
        let patience = settings.request_timeout.max(PERSISTING) + max_wait;
        self.nodes.entry(broker).or_default().sent(records, now, max_wait);
        Call::Fetch(Box::new(request), Flight { broker, sent: now, patience, load, delta: Some(delta), closes: false })
    }

    fn acknowledge(&mut self, broker: BrokerId, load: Load, now: Instant) -> Call {
        let parts = self.ledger.parts(&load);
        self.acknowledgement(broker, (load, parts), false, now)
    }

    /// The last request of a session.
    fn end(&mut self, broker: BrokerId, now: Instant) -> Option<Call> {
        let is_open = self.nodes.get(&broker)?.session.is_open();
        is_open.then(|| self.acknowledgement(broker, (Load::default(), Vec::new()), true, now))
    }

    fn acknowledgement(
        &mut self,
        broker: BrokerId,
        (load, parts): (Load, Vec<SharePart>),
        closes: bool,
        now: Instant,
    ) -> Call {
        let node = self.nodes.entry(broker).or_default();
        let epoch = if closes { Session::closing() } else { node.session.epoch() };
        node.sent(0, now, Duration::ZERO);
        let (group, member) = (Arc::clone(&self.group), Arc::clone(&self.member));
        let request = ShareAcknowledge { group, member, epoch, renews: load.renews, parts };
        let patience = self.settings.request_timeout.max(PERSISTING);
        Call::Acknowledge(request, Flight { broker, sent: now, patience, load, delta: None, closes })
    }

    /// The coordinator has answered a beat. Whether it has to be looked for again.
    pub(super) fn beaten(&mut self, answer: Result<Beaten, WireError>, now: Instant) -> bool {
        match self.membership.beaten(answer, now) {
            Change::None => false,
            Change::Moved => true,
            Change::Refused(error) => {
                self.failed = Some(error.into());
                false
            }
            Change::Assigned(assigned) => {
                let all = |Assigned { topic, partitions }| partitions.into_iter().map(move |at| (topic, at));
                self.assigned = assigned.into_iter().flat_map(all).collect();
                self.parts.retain(|named, _| self.assigned.contains(named));
                self.look_soon(now);
                false
            }
        }
    }

    /// A leader is missing, or what was known of one is wrong.
    pub(super) fn look_soon(&mut self, now: Instant) {
        self.look_at.get_or_insert(now);
    }

    fn look(&mut self, now: Instant) -> Option<Vec<(Arc<str>, i32)>> {
        if self.looking || self.look_at.is_none_or(|at| at > now) {
            return None;
        }
        self.look_at = None;
        let is_slow = |leader: BrokerId| self.nodes.get(&leader).is_some_and(Node::is_slow);
        let doubts = |part: &Part| part.leader.is_none_or(is_slow);
        if self.phase == Phase::Closing || !self.assigned.iter().any(|named| self.parts.get(named).is_none_or(doubts)) {
            return None;
        }
        self.looking = true;
        let doubted = self.parts.iter().filter(|(_, part)| doubts(part));
        let mut doubted: Vec<(Arc<str>, i32)> =
            doubted.map(|(named, part)| (Arc::clone(&part.topic), named.1)).collect();
        if self.assigned.iter().any(|named| !self.parts.contains_key(named)) {
            // New, or made anew under its name: what is known of any of the topics may be of before.
            doubted.extend(self.settings.topics.iter().map(|topic| (topic.as_str().into(), 0)));
        }
        Some(doubted)
    }

    /// What is known of leaders now.
    pub(super) fn found(&mut self, found: Result<Vec<Found>, WireError>, now: Instant) {
        self.looking = false;
        match found {
            Ok(found) => found.into_iter().for_each(|found| self.learn(found)),
            Err(error) if error.is_retriable() => {}
            Err(error) => self.failed = Some(error.into()),
        }
        let unknown = |named: &Named| self.parts.get(named).is_none_or(|part| part.leader.is_none());
        if self.assigned.iter().any(unknown) {
            self.look_at = Some(now + Backoff::BROKER.delay(self.look_failures, fastrand::f64()));
            self.look_failures = self.look_failures.saturating_add(1);
        } else {
            self.look_failures = 0;
        }
    }

    fn learn(&mut self, (topic, id, partition, leader): Found) {
        self.names.insert(id, Arc::clone(&topic));
        let named = (id, partition);
        if !self.assigned.contains(&named) {
            return;
        }
        let part = self.parts.entry(named).or_insert_with(|| Part::new(topic));
        match leader {
            Some(leader) => self.lead(named, leader),
            None => part.leader = None,
        }
    }

    /// From now on this broker leads a partition; what others have handed over of it is gone (rule R12), also by a leader that was
    /// forgotten meanwhile.
    pub(super) fn lead(&mut self, named: Named, leader: BrokerId) {
        let Some(part) = self.parts.get_mut(&named) else { return };
        if part.leader.replace(leader) != Some(leader) {
            self.ledger.lose_others(leader, named, Lost::Moved);
        }
    }

    /// A topic's name.
    pub(super) fn name(&self, topic: TopicId) -> Arc<str> {
        self.names.get(&topic).cloned().unwrap_or_else(|| "?".into())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.ledger.lose_everything(Lost::Closed);
    }
}

fn bare((topic, partition): Named) -> SharePart {
    SharePart { topic, partition, acknowledged: Vec::new() }
}

fn named(part: SharePart) -> (Named, SharePart) {
    ((part.topic, part.partition), part)
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
