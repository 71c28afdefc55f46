//! Who goes on next, and what the world does in between: one step of the network, the group or the load, or a fault.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headrace::partitioner::partition_of;
use headrace::position::{Offset, Partition, TopicPartition};
use headrace::wire::fetch::{Fetched, Logs, Served};

use super::dice::Fault;
use super::log::Entry;
use super::network::{Fate, Sender};
use super::world::{Season, State, World};
use crate::event::Event;

/// Steps after which a run is given up: a hundred times what a rough one takes.
const MOST_STEPS: u64 = 5_000_000;
/// How long the calm may last until everything is done.
const PATIENCE: Duration = Duration::from_secs(120);

impl State {
    /// The stream thread that goes on now; none when all have ended.
    pub(super) fn next(&mut self, world: &Arc<World>) -> Option<usize> {
        // Each of these decisions is on the clock of the run, whoever's thread it is taken on.
        let clock = self.clock.clone();
        loop {
            self.steps += 1;
            if let Some(dying) = self.actors.iter().position(|actor| actor.killed && !actor.ended) {
                return Some(dying);
            }
            if self.season == Season::Over && self.actors.iter().all(|actor| actor.ended) {
                return None;
            }
            if self.steps > MOST_STEPS || (self.season != Season::Rough && self.now() > self.calm_since + PATIENCE) {
                self.give_up();
                continue;
            }
            clock.advance(Duration::from_micros(self.rng.u64(0..60)));
            match self.rng.u8(0..100) {
                0..50 => match self.due() {
                    Some(actor) => return Some(actor),
                    None => clock.advance(Duration::from_micros(self.rng.u64(0..1_000))),
                },
                50..68 => self.deliver(),
                68..84 => self.feed(),
                84..90 => self.beat(),
                90..95 => self.mark(),
                95..98 => self.load(),
                _ => self.disturb(world),
            }
        }
    }

    fn give_up(&mut self) {
        if self.season != Season::Over || self.defects.is_empty() {
            let at = self.now();
            let positions: Vec<String> = self
                .inputs()
                .iter()
                .map(|at| format!("{at}: {:?} of {}", self.group.committed(at), self.broker.logs[at].high()))
                .collect();
            self.defects.push(format!("stuck after {} steps and {at:?}: {}", self.steps, positions.join(", ")));
        }
        self.season = Season::Over;
        self.actors.iter_mut().for_each(|actor| actor.killed = true);
    }

    pub(super) fn inputs(&self) -> Vec<TopicPartition> {
        let at =
            |partition| TopicPartition { topic: self.stage.input.as_str().into(), partition: Partition(partition) };
        (0..self.plan.partitions).map(at).collect()
    }

    /// One of those whose time has come.
    fn due(&mut self) -> Option<usize> {
        let now = self.now();
        let is_due = |&number: &usize| {
            let actor = &self.actors[number];
            !actor.ended && !self.instances[actor.instance].is_stopped(now) && (actor.news || actor.until <= now)
        };
        let due: Vec<usize> = (0..self.actors.len()).filter(is_due).collect();
        (!due.is_empty()).then(|| due[self.rng.usize(..due.len())])
    }

    /// A step of the producers' network.
    fn deliver(&mut self) {
        let (now, calm) = (self.now(), self.season != Season::Rough);
        if !self.late.is_empty() && (calm || self.rng.u8(0..12) == 0) {
            let number = self.rng.usize(..self.late.len());
            let late = self.late.swap_remove(number);
            let told = late.arrive(&mut self.broker, &mut self.group, now);
            return self.note(told);
        }
        let is_up = |actor: usize| !self.instances[self.actors[actor].instance].is_stopped(now);
        let busy = self.senders.iter().filter(|(_, sender)| sender.is_busy() && is_up(sender.actor));
        let busy: Vec<u64> = busy.map(|(key, _)| *key).collect();
        if busy.is_empty() {
            return;
        }
        let key = busy[self.rng.usize(..busy.len())];
        let weight = self.senders.get(&key).map_or(1, Sender::weight);
        let mut fate = self.plan.fate(&mut self.rng, calm, weight);
        if self.are_coordinators_away() {
            fate = Fate::Away;
        }
        let early = self.rng.u8(0..3) == 0;
        let Some(sender) = self.senders.get_mut(&key) else { return };
        let (told, late) = sender.deliver((&mut self.broker, &mut self.group), (self.arm, fate, early), now);
        if sender.outcome.is_some() || sender.failure.is_some() || sender.is_initialised() {
            self.actors[sender.actor].news = true;
        }
        self.late.extend(late);
        if let Some(told) = told {
            self.note(told);
        }
    }

    /// A step of some fetcher's network.
    fn feed(&mut self) {
        let now = self.now();
        let is_up = |actor: usize| !self.instances[self.actors[actor].instance].is_stopped(now);
        let keys: Vec<u64> = self.feeds.iter().filter(|(_, fed)| is_up(fed.actor)).map(|(key, _)| *key).collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.rng.usize(..keys.len())];
        let Some(mut fed) = self.feeds.remove(&key) else { return };
        let at = self.clock.now().into_std();
        match fed.feed.serve(self, at) {
            Served::Closed => return,
            Served::News => self.actors[fed.actor].news = true,
            Served::Nothing => {}
        }
        self.feeds.insert(key, fed);
    }

    /// Whether a stream thread's member and its coordinator hear of each other now.
    pub(super) fn hears(&self, actor: usize) -> bool {
        let (now, instance) = (self.now(), &self.instances[self.actors[actor].instance]);
        !self.are_coordinators_away() && !instance.is_stopped(now) && !instance.is_deaf(now)
    }

    /// A step of the group's coordinator, or of a member's own thread.
    fn beat(&mut self) {
        if self.are_coordinators_away() {
            return;
        }
        let now = self.now();
        let hears = |actor: usize| self.hears(actor);
        let owners: Vec<(u64, usize)> = self.members().into_iter().filter(|(_, actor)| hears(*actor)).collect();
        let told = match self.rng.usize(..=owners.len()) {
            0 => self.group.tick(now),
            number => {
                let (key, actor) = owners[number - 1];
                let told = self.group.step(key, now);
                if self.group.has_news(key) {
                    self.actors[actor].news = true;
                }
                told
            }
        };
        if let Some(told) = told {
            self.note(told);
        }
    }

    fn mark(&mut self) {
        let now = self.now();
        if let Some(id) = self.broker.time_out(now) {
            self.note(format!("the transaction of {id} has timed out"));
        }
        if self.are_coordinators_away() {
            return;
        }
        let rng = &mut self.rng;
        if let Some(told) = self.broker.mark(&mut self.group, |count| rng.usize(..count)) {
            self.note(told);
        }
    }

    /// Some more input, while there is to be any: spread over the rough season, so that every fault meets work.
    fn load(&mut self) {
        let produced: u64 = self.produced.iter().sum();
        let part = self.now().as_secs_f64() / self.plan.rough.as_secs_f64();
        let due = self.plan.events.min((self.plan.events as f64 * part) as u64 + 1);
        if self.season != Season::Rough || produced >= due {
            return;
        }
        for _ in 0..self.rng.u64(1..=6).min(self.plan.events - produced) {
            let origin = self.rng.usize(..self.produced.len());
            self.produced[origin] += 1;
            let event = Event::nth(origin as u32, self.produced[origin]);
            let (key, timestamp) = (event.key(), i64::try_from(self.now().as_millis()).unwrap_or(0));
            let partition = partition_of(key.as_bytes(), self.plan.partitions);
            let at = TopicPartition { topic: self.stage.input.as_str().into(), partition };
            let entry = Entry { key: Some(key.into()), value: Some(event.to_string().into()), timestamp };
            if let Some(log) = self.broker.logs.get_mut(&at) {
                log.append(None, vec![entry]);
            }
        }
    }

    /// A fault, a start, or the next season.
    fn disturb(&mut self, world: &Arc<World>) {
        let now = self.now();
        self.start_due(world);
        match self.season {
            Season::Rough if now >= self.plan.rough && self.produced.iter().sum::<u64>() >= self.plan.events => {
                self.calm_down()
            }
            Season::Rough if now >= self.next_fault => {
                let (fault, gap) = (Fault::any(&mut self.rng), self.plan.gap(&mut self.rng));
                self.next_fault = now + gap;
                self.strike(fault);
            }
            Season::Calm if self.is_done() => {
                self.note("all is done");
                (self.season, self.calm_since) = (Season::Over, now);
                self.instances.iter_mut().for_each(|instance| instance.shutdown.cancel());
            }
            _ => {}
        }
    }

    fn calm_down(&mut self) {
        self.note("calm");
        (self.season, self.calm_since) = (Season::Calm, self.now());
        (self.coordinators_away, self.leader_away.1) = (Duration::ZERO, Duration::ZERO);
        let now = self.now();
        self.instances.iter_mut().for_each(|instance| instance.calm_down(now));
    }

    /// Everything that was produced is committed, everywhere.
    fn is_done(&self) -> bool {
        let done = |at: &TopicPartition| {
            let high = self.broker.logs[at].high();
            self.group.committed(at).is_ok_and(|next| next.map_or(0, |next| next.0) >= high)
        };
        self.late.is_empty()
            && self.instances.iter().all(|instance| instance.is_up)
            && self.broker.is_settled()
            && self.group.is_stable()
            && self.inputs().iter().all(done)
    }
}

/// What a fetcher asks.
impl Logs for State {
    fn fetch(&mut self, at: &TopicPartition, from: Offset) -> Result<Fetched, i16> {
        const OFFSET_OUT_OF_RANGE: i16 = 1;
        const NOT_LEADER: i16 = 6;
        if self.is_leader_away(at) {
            return Err(NOT_LEADER);
        }
        let batches = self.rng.usize(0..4);
        let log = self.broker.logs.get(at).ok_or(NOT_LEADER)?;
        if from.0 > log.high() {
            return Err(OFFSET_OUT_OF_RANGE);
        }
        let fetched = log.fetch(from.0, batches);
        // An answer without anything says nothing of the end either.
        let stable = if batches == 0 { Offset(i64::MAX) } else { fetched.stable };
        Ok(Fetched { stable, records: Bytes::from(fetched.records.to_vec()), ..fetched })
    }

    fn committed(&mut self, at: &TopicPartition) -> Result<Option<Offset>, i16> {
        const COORDINATOR_NOT_AVAILABLE: i16 = 15;
        if self.are_coordinators_away() {
            return Err(COORDINATOR_NOT_AVAILABLE);
        }
        self.group.committed(at)
    }

    fn bounds(&mut self, at: &TopicPartition) -> (Offset, Offset) {
        (Offset(0), self.broker.logs.get(at).map_or(Offset(0), |log| Offset(log.stable())))
    }
}
