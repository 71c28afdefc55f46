//! The clients that a stream thread has in the model: what it asks Kafka, it asks here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headrace::error::FatalError;
use headrace::kafka::{
    Bounds, ChangelogFetcher, ChangelogReader, Changelogs, Cluster, Committed, ConsumerError, Event, Intake,
    KafkaFailure, Membership, NativeFetching, Outgoing, Positions, ProduceError, Seen, Show, TransactionalProducer,
};
use headrace::partitioner::partition_of;
use headrace::position::{Offset, Partition, TopicPartition};
use headrace::wire::fetch::{Fetcher, FetcherSettings};

use super::arm::Arm;
use super::log::{Entry, Log};
use super::network::{self, Late, Sender};
use super::world::{Fed, State, World};
use crate::application::settings;

/// How long a client waits between two looks of its own.
const LOOK: Duration = Duration::from_millis(10);
/// How long a producer that initialises waits at a time.
const INITIALISE: Duration = Duration::from_millis(500);

/// Of so many records that are appended, the thread may be held, or killed, at one.
const APPENDS: u8 = 12;

/// What one stream thread's clients are made of.
pub(super) struct Clients {
    pub(super) world: Arc<World>,
    pub(super) actor: usize,
    pub(super) application: String,
    pub(super) instance: String,
}

impl Clients {
    fn name(&self, thread: usize) -> String {
        format!("{}-{}-{thread}", self.application, self.instance)
    }

    fn coordinators(&self) -> Result<MutexGuard<'_, State>, KafkaFailure> {
        let state = self.world.lock();
        match state.are_coordinators_away() {
            true => Err(KafkaFailure("the coordinators: no answer in time".to_owned())),
            false => Ok(state),
        }
    }

    fn fetcher(&self) -> (Fetcher, u64) {
        let settings = FetcherSettings { group: Some(self.application.clone()), ..FetcherSettings::default() };
        let (fetcher, feed) = Fetcher::fed(settings);
        let mut state = self.world.lock();
        let key = state.key();
        state.feeds.insert(key, Fed { actor: self.actor, feed });
        (fetcher, key)
    }
}

impl Cluster for Clients {
    fn join(&self, thread: usize, _: &[&str]) -> Result<Box<dyn Intake>, FatalError> {
        let (fetcher, key) = self.fetcher();
        let mut state = self.world.lock();
        state.group.join(key, self.name(thread));
        let fetching = NativeFetching::over(fetcher, settings("", &self.application, &self.instance));
        Ok(Box::new(Consumer { world: Arc::clone(&self.world), actor: self.actor, key, fetching }))
    }

    fn producer(&self, thread: usize) -> Result<Box<dyn TransactionalProducer + Send>, ProduceError> {
        let mut state = self.world.lock();
        let key = state.key();
        // Transactions v1 have one id, and so has who may not use the second one.
        let alone = state.arm == Arm::SameEpoch || state.rng.u8(0..4) == 0;
        state.senders.insert(key, Sender::new(self.actor, self.name(thread), alone));
        Ok(Box::new(Producer { world: Arc::clone(&self.world), actor: self.actor, key }))
    }

    fn reader(&self, _: usize) -> ChangelogReader {
        let (world, reading) = (Arc::clone(&self.world), Mutex::new(None));
        ChangelogReader::over(Box::new(Reader { world, actor: self.actor, reading }))
    }

    fn changelogs(&self, _: usize) -> ChangelogFetcher {
        ChangelogFetcher::over(self.fetcher().0)
    }

    /// They are aborted when the request arrives, whatever is open by then.
    fn end_transactions_of_others(&self, at: &TopicPartition) -> Result<Vec<String>, KafkaFailure> {
        let own = format!("{}-{}-", self.application, self.instance);
        let mut state = self.world.lock();
        if state.are_coordinators_away() || state.is_leader_away(at) {
            return Err(KafkaFailure(format!("{at}: no answer in time")));
        }
        let mut ids: Vec<String> = state.broker.open_in(at).into_iter().filter(|id| !id.starts_with(&own)).collect();
        let twins: Vec<String> = ids.iter().map(|id| network::twin(id)).collect();
        ids.extend(twins.into_iter().filter(|id| state.broker.is_ongoing(id)));
        ids.sort_unstable();
        ids.dedup();
        state.late.extend(ids.iter().map(|id| Late::take_over(id)));
        Ok(ids)
    }

    fn unowned(&self, _: &[String]) -> Result<Option<Vec<TopicPartition>>, KafkaFailure> {
        Ok(self.coordinators()?.group.unowned())
    }

    fn leave_group(&self, thread: usize) -> Result<(), KafkaFailure> {
        self.coordinators()?.group.remove(&self.name(thread));
        Ok(())
    }
}

impl State {
    /// Members' clients, and whose they are.
    pub(super) fn members(&self) -> Vec<(u64, usize)> {
        let own = |key: &u64| Some((*key, self.feeds.get(key)?.actor));
        self.group.clients.keys().filter_map(own).collect()
    }

    /// The client of a stream thread is gone; the group learns it by its silence.
    pub(super) fn forget_member(&mut self, _: usize) {
        let feeds = &self.feeds;
        self.group.clients.retain(|key, _| feeds.contains_key(key));
    }
}

/// A member of the group with the native fetcher, which the model feeds.
struct Consumer {
    world: Arc<World>,
    actor: usize,
    key: u64,
    fetching: NativeFetching,
}

impl Consumer {
    fn look(&self) -> Event<'_> {
        let mut state = self.world.lock();
        if let Some(reason) = state.group.clients.get_mut(&self.key).and_then(|client| client.fenced.take()) {
            return Event::Error(ConsumerError::Fenced(reason));
        }
        if let Some(rebalance) = state.group.next_event(self.key) {
            state.note(format!("{}: {rebalance:?}", self.key));
            return Event::Rebalance(rebalance);
        }
        drop(state);
        self.fetching.poll(Duration::ZERO)
    }

    /// Asks the cluster until it answers, or for so long.
    fn ask<T>(&self, patience: Duration, ask: impl Fn(&State) -> Option<T>) -> Result<T, KafkaFailure> {
        let until = self.world.lock().now() + patience;
        loop {
            self.world.pause(self.actor, Duration::ZERO);
            let state = self.world.lock();
            if let Some(answer) = ask(&state) {
                return Ok(answer);
            }
            if state.now() >= until {
                return Err(KafkaFailure("no answer in time".to_owned()));
            }
            drop(state);
            self.world.pause(self.actor, LOOK);
        }
    }
}

impl Intake for Consumer {
    fn poll(&self, wait: Duration) -> Event<'_> {
        self.world.pause(self.actor, Duration::ZERO);
        match self.look() {
            Event::Idle if !wait.is_zero() => {
                self.world.pause(self.actor, wait);
                self.look()
            }
            event => event,
        }
    }

    fn assign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        self.world.pause(self.actor, Duration::ZERO);
        self.world.lock().group.taken(self.key, partitions);
        self.fetching.assign(partitions);
        Ok(())
    }

    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        self.world.pause(self.actor, Duration::ZERO);
        self.fetching.unassign(partitions);
        self.world.lock().group.given_up(self.key, partitions);
        Ok(())
    }

    fn pause(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        self.fetching.pause(partitions);
        self.world.lock().group.paused(self.key, partitions, true);
        Ok(())
    }

    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        self.world.pause(self.actor, Duration::ZERO);
        self.fetching.resume(partitions);
        self.world.lock().group.paused(self.key, partitions, false);
        Ok(())
    }

    fn seek(&self, positions: &[(TopicPartition, Offset)], _: Duration) -> Result<(), KafkaFailure> {
        self.fetching.seek(positions);
        Ok(())
    }

    fn committed(&self, partitions: &[TopicPartition], deadline: Duration) -> Result<Positions, KafkaFailure> {
        self.ask(deadline, |state| {
            let one = |at: &TopicPartition| Some((at.clone(), state.group.committed(at).ok()?));
            if state.are_coordinators_away() { None } else { partitions.iter().map(one).collect() }
        })
    }

    fn bounds(&self, at: &TopicPartition, deadline: Duration) -> Result<(Offset, Offset), KafkaFailure> {
        let answer = |state: &State| Some((Offset(0), Offset(state.broker.logs.get(at)?.stable())));
        self.ask(deadline, |state| answer(state).filter(|_| !state.is_leader_away(at)))
    }

    fn partitions(&self, _: &str, _: Duration) -> Result<i32, KafkaFailure> {
        Ok(self.world.lock().plan.partitions)
    }

    fn commit(&self, _: &[(TopicPartition, Offset)]) -> Result<(), KafkaFailure> {
        Err(KafkaFailure("at-least-once is not simulated".to_owned()))
    }

    fn membership(&self) -> Option<Membership> {
        self.world.pause(self.actor, Duration::ZERO);
        let mut state = self.world.lock();
        // librdkafka's own thread may be at work in this very moment.
        if state.hears(self.actor) && state.rng.bool() {
            let now = state.now();
            if let Some(told) = state.group.step(self.key, now) {
                state.note(told);
            }
        }
        state.group.membership(self.key).map(Membership::from)
    }

    fn is_reachable(&self, _: &str, _: Duration) -> bool {
        !self.world.lock().are_coordinators_away()
    }

    fn unsubscribe(&self) {
        self.world.lock().group.leave(self.key);
    }

    fn position(&self, at: &TopicPartition) -> Option<Offset> {
        self.fetching.position(at)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        state.feeds.remove(&self.key);
        state.group.clients.remove(&self.key);
    }
}

/// The transactional producer, whose requests the model carries.
struct Producer {
    world: Arc<World>,
    actor: usize,
    key: u64,
}

impl Producer {
    fn with<R>(&self, look: impl FnOnce(&mut State, &mut Sender) -> R) -> Result<R, ProduceError> {
        let mut state = self.world.lock();
        let Some(mut sender) = state.senders.remove(&self.key) else {
            return Err(ProduceError::Abort("the producer is gone".to_owned()));
        };
        let result = look(&mut state, &mut sender);
        let failure = sender.failure.clone();
        state.senders.insert(self.key, sender);
        failure.map_or(Ok(result), Err)
    }
}

impl TransactionalProducer for Producer {
    fn initialise(&mut self, _: Instant) -> Result<(), ProduceError> {
        let until = self.world.lock().now() + INITIALISE;
        loop {
            let (done, late) = self.with(|state, sender| {
                sender.initialise();
                (sender.is_initialised(), state.now() >= until)
            })?;
            match (done, late) {
                (true, _) => return Ok(()),
                (false, true) => return Err(ProduceError::Again("InitProducerId is not answered".to_owned())),
                (false, false) => self.world.pause(self.actor, LOOK),
            }
        }
    }

    fn append(&mut self, record: Outgoing<'_>) -> Result<(), ProduceError> {
        let entry = Entry {
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            timestamp: record.timestamp.0,
        };
        let (topic, slot) = (record.topic, record.slot);
        // Not at each record: there are many.
        let often = self.with(|state, _| state.rng.u8(0..APPENDS) == 0)?;
        if often {
            self.world.pause(self.actor, Duration::ZERO);
        }
        self.with(|state, sender| {
            let key = entry.key.clone().unwrap_or_default();
            let partition = record.partition.unwrap_or_else(|| partition_of(&key, state.plan.partitions));
            sender.append(TopicPartition { topic: topic.into(), partition: Partition(partition.0) }, slot, entry);
        })
    }

    fn serve(&mut self, _: Duration) -> Result<(), ProduceError> {
        self.world.pause(self.actor, Duration::ZERO);
        self.with(|_, _| ())
    }

    fn seal(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        membership: Option<&Membership>,
    ) -> Result<(), ProduceError> {
        self.world.pause(self.actor, Duration::ZERO);
        self.with(|state, sender| {
            let own = || membership.map(|membership| membership.member().clone());
            let anybody = (state.arm == Arm::AnyGeneration).then(|| state.group.anybody());
            sender.seal(positions, anybody.or_else(own));
        })
    }

    fn outdated(&self) -> Option<i32> {
        self.world.lock().senders.get(&self.key).and_then(Sender::outdated)
    }

    fn renew(&mut self, membership: &Membership) -> Result<(), ProduceError> {
        self.world.pause(self.actor, Duration::ZERO);
        self.with(|_, sender| sender.renew(membership.member().clone()))
    }

    /// A commit that was answered has happened, whatever went wrong after it.
    fn outcome(&mut self, wait: Duration) -> Result<Option<Committed>, ProduceError> {
        let told = |own: &Self| own.world.lock().senders.get_mut(&own.key).and_then(|sender| sender.outcome.take());
        let waits = [Some(Duration::ZERO), Some(wait).filter(|wait| !wait.is_zero())];
        for wait in waits.into_iter().flatten() {
            self.world.pause(self.actor, wait);
            if let Some(committed) = told(self) {
                return Ok(Some(committed));
            }
            self.with(|_, _| ())?;
        }
        Ok(None)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        let late = state.senders.remove(&self.key).map(|sender| sender.late(true)).unwrap_or_default();
        state.late.extend(late);
    }
}

/// Reads one changelog partition at a time.
struct Reader {
    world: Arc<World>,
    actor: usize,
    reading: Mutex<Option<(TopicPartition, Offset)>>,
}

impl Reader {
    fn ask<T>(&self, at: &TopicPartition, patience: Duration, ask: impl Fn(&Log) -> T) -> Result<T, KafkaFailure> {
        let until = self.world.lock().now() + patience;
        loop {
            self.world.pause(self.actor, Duration::ZERO);
            let state = self.world.lock();
            match state.broker.logs.get(at) {
                Some(log) if !state.is_leader_away(at) => return Ok(ask(log)),
                _ if state.now() >= until => return Err(KafkaFailure(format!("{at}: no answer in time"))),
                _ => drop(state),
            }
            self.world.pause(self.actor, LOOK);
        }
    }
}

impl Changelogs for Reader {
    fn serve(&self) {}

    fn committed_bounds(&self, at: &TopicPartition, patience: Duration) -> Result<Bounds, KafkaFailure> {
        self.ask(at, patience, |log| Bounds { start: Offset(0), end: Offset(log.stable()) })
    }

    fn high_watermark(&self, at: &TopicPartition, patience: Duration) -> Result<Offset, KafkaFailure> {
        self.ask(at, patience, |log| Offset(log.high()))
    }

    fn begin(&self, at: &TopicPartition, from: Offset) -> Result<(), KafkaFailure> {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some((at.clone(), from));
        Ok(())
    }

    fn next(&self, _: Duration, show: Show<'_>) -> Seen {
        self.world.pause(self.actor, Duration::ZERO);
        let state = self.world.lock();
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, next)) = reading.as_mut() else { return Seen::End };
        if state.is_leader_away(at) {
            return Seen::Nothing;
        }
        let Some(log) = state.broker.logs.get(at) else { return Seen::End };
        let Some((offset, entry)) = log.records(true).find(|(offset, _)| *offset >= next.0) else { return Seen::End };
        *next = Offset(offset).next();
        show(entry.key.as_deref(), entry.value.as_deref(), *next);
        Seen::Record
    }

    fn end(&self) {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
