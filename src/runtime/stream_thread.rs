//! One stream thread: a loop that owns a consumer, a producer, its tasks and their stores (rule R-1).
//!
//! Each turn either processes a batch of records, or commits, or waits for what is in the way. Nothing in it blocks for
//! long, so the group membership is kept whatever is away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Instant;
pub(super) use crate::clock::wall_clock as now;
use crate::error::{Dependency, FatalError};
use crate::external::Dispatcher;
use crate::kafka::{
    ChangelogReader, ConsumerError, Event, GroupConsumer, Intake, LibrdkafkaProducer, NativeProducer, ProduceError,
    Rebalance, TransactionalProducer, corrupt,
};
use crate::position::{Origin, Partition, Position, TaskId, TopicPartition};
use crate::record::{RawRecord, Timestamp};
use crate::store::StateDirectory;
use crate::task::{Outcome, TaskFault};
use crate::telemetry::{Heartbeat, ThreadMetrics};
use crate::topology::Topology;

use super::commit::{Due, Sealed};
use super::gaps::Gaps;
use super::halt::Halt;
use super::handover::Handover;
use super::implementation::Implementation;
use super::options::{Guarantee, Options};
use super::orphans::Orphans;
use super::produced::Produced;
use super::rejoin::Fences;
use super::restore::Restorer;
use super::schema_loader::SchemaLoader;
use super::tally::Tally;
use super::tasks::{OwnedTask, Rest, Tasks};
use super::watch::{Board, Reporter};

/// How long a turn processes records before anything else is looked at.
const TURN: Duration = Duration::from_millis(4);
/// Records between two looks at the clock: reading it took a fifteenth of the time of a small record.
const RECORDS_PER_CLOCK: u32 = 32;
/// A record that takes longer is worth a look at the clock of its own.
const SLOW_RECORD: Duration = Duration::from_micros(50);
/// Records of one transaction whose latency is observed.
const LATENCY_SAMPLES: usize = 64;
/// How long a turn waits for a first record.
pub(super) const POLL_WAIT: Duration = Duration::from_millis(20);
/// How long it waits for a record or an outcome while a transaction is on the wire.
const WIRE_WAIT: Duration = Duration::from_millis(2);
/// How long the thread waits for external sinks or the registry before it pauses its input.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// How long closing the clients may hold up a fatal error.
const FATAL_PATIENCE: Duration = Duration::from_secs(5);

/// Records that are processed in a row.
#[derive(Default)]
struct Turn {
    started: Option<Instant>,
    /// Records since the last look at the clock.
    unseen: u32,
}

pub(super) struct StreamThread {
    pub(super) index: usize,
    pub(super) topology: Topology,
    pub(super) options: Options,
    pub(super) directory: Arc<StateDirectory>,
    pub(super) shutdown: CancellationToken,
    pub(super) consumer: Arc<dyn Intake>,
    pub(super) producer: Box<dyn TransactionalProducer + Send>,
    pub(super) reader: ChangelogReader,
    pub(super) restorer: Restorer,
    pub(super) dispatcher: Dispatcher,
    pub(super) loader: SchemaLoader,
    pub(super) tasks: Tasks,
    /// Rebalances that were found while something else was under way.
    pub(super) pending: VecDeque<Rebalance>,
    pub(super) handover: Handover,
    /// Partitions that are assigned and paused, and whose tasks are not restored yet.
    pub(super) unopened: Vec<TopicPartition>,
    /// Tasks whose state is proven unusable, with the reason: it is set aside before they are opened again.
    pub(super) condemned: BTreeMap<TaskId, String>,
    /// Partitions whose end was reached, by number: the client does not say of which topic.
    pub(super) ended: BTreeSet<Partition>,
    /// Wall-clock time of the records in hand.
    clock: Timestamp,
    /// When the last record was processed, or the last look at an end failed.
    pub(super) busy_at: Instant,
    /// How many records are processed between two looks at the clock.
    records_per_clock: u32,
    /// Since when records are in the open transaction.
    pub(super) open_since: Option<Instant>,
    /// The transaction on the wire.
    pub(super) sealed: Option<Sealed>,
    /// Since when the thread has been waiting for external sinks.
    pub(super) blocked_since: Option<Instant>,
    /// All input is paused.
    pub(super) resting: bool,
    /// Since when the producer has been trying to take over its id.
    pub(super) initialising: Option<Instant>,
    /// Failures in a row, for the back-off.
    pub(super) failures: u32,
    /// Inputs that were made anew, and are not read from their beginning yet.
    pub(super) anew: BTreeSet<String>,
    /// Whether the topics have to be looked at before anything else is read.
    pub(super) check_topics: bool,
    /// What topics take that have refused a record, in bytes of key + value + headers.
    pub(super) lowered: BTreeMap<String, usize>,
    /// Partitions that wait because of a rebalance or a recovery.
    pub(super) gaps: Gaps,
    /// The member id under which all that is held was assigned.
    pub(super) held_as: Option<String>,
    /// When this thread's membership was fenced.
    pub(super) fences: Fences,
    pub(super) orphans: Orphans,
    /// Set while the client has reported the cluster away: when it was last asked after.
    pub(super) kafka_away: Option<Instant>,
    /// Timestamps of some records of the open transaction, to observe their latency at its commit.
    pub(super) latencies: Vec<i64>,
    /// What has been counted in the open transaction.
    pub(super) tally: Tally,
    /// Records produced since the counters were last told.
    pub(super) produced: Produced,
    pub(super) name: String,
    pub(super) heartbeat: Heartbeat,
    pub(super) metrics: ThreadMetrics,
    pub(super) reporter: Reporter,
}

impl StreamThread {
    /// Makes the clients and joins the group. To be called on the thread that then calls [`run`](Self::run).
    pub(super) fn start(
        index: usize,
        topology: Topology,
        options: Options,
        directory: Arc<StateDirectory>,
        board: Board,
        tokio: &tokio::runtime::Handle,
        shutdown: CancellationToken,
    ) -> Result<Self, FatalError> {
        let consumer = subscribe(&topology, &options, index)?;
        let producer = create_producer(&options, index).map_err(|error| FatalError::Config(error.to_string()))?;
        let reader = match &options.simulated {
            Some(cluster) => cluster.reader(index),
            None => ChangelogReader::new(&options.kafka)?,
        };
        let restorer = Restorer::start(&topology, &options, &directory, index)?;
        let dispatcher = Dispatcher::start(topology.externals(), options.lanes, tokio, &options.telemetry);
        let name = format!("stream-thread-{index}");
        let loader = SchemaLoader::new(&options, tokio.clone());
        Ok(StreamThread {
            index,
            directory,
            shutdown,
            consumer,
            producer,
            reader,
            restorer,
            dispatcher,
            loader,
            tasks: Tasks::default(),
            pending: VecDeque::new(),
            handover: Handover::default(),
            unopened: Vec::new(),
            condemned: BTreeMap::new(),
            ended: BTreeSet::new(),
            clock: now(),
            busy_at: Instant::now(),
            records_per_clock: RECORDS_PER_CLOCK,
            open_since: None,
            sealed: None,
            blocked_since: None,
            resting: false,
            initialising: None,
            failures: 0,
            anew: BTreeSet::new(),
            check_topics: false,
            lowered: BTreeMap::new(),
            gaps: Gaps::default(),
            held_as: None,
            fences: Fences::default(),
            orphans: Orphans::new(Instant::now()),
            kafka_away: None,
            latencies: Vec::with_capacity(LATENCY_SAMPLES),
            tally: Tally::default(),
            produced: Produced::new(&topology),
            heartbeat: options.telemetry.health.heartbeat(&name),
            metrics: options.telemetry.metrics.thread(&name),
            reporter: Reporter::new(board),
            name,
            topology,
            options,
        })
    }

    /// Runs until the shutdown is asked for, or until nothing can go on.
    pub(super) fn run(mut self) -> Result<(), FatalError> {
        let mut halt = self.initialise().err();
        loop {
            match halt.take() {
                Some(Halt::Fatal(error)) => {
                    self.abandon();
                    let deadline = Instant::now() + self.options.shutdown_deadline.min(FATAL_PATIENCE);
                    self.drop_clients(deadline);
                    return Err(error);
                }
                Some(Halt::Recover(class, reason)) => halt = self.recover(class, &reason).err(),
                Some(Halt::MadeAnew(topic)) => halt = self.made_anew(topic).err(),
                Some(Halt::Refused(refused)) => halt = self.refused(&refused).err(),
                Some(Halt::Avoid(topic, reason)) => halt = self.avoid(&topic, &reason).err(),
                Some(Halt::Rejoin(reason)) => halt = self.rejoin(&reason).err(),
                Some(Halt::Forgotten(reason)) => halt = self.join_again(&reason).err(),
                None if self.has_to_stop() => return self.shut_down(),
                None => halt = self.turn().err(),
            }
        }
    }

    fn turn(&mut self) -> Result<(), Halt> {
        self.heartbeat.beat();
        self.report();
        if let Some(rebalance) = self.next_rebalance() {
            return self.rebalance(rebalance);
        }
        self.take_restored()?;
        self.show_tasks();
        self.look_for_kafka();
        self.look_for_orphans()?;
        self.wake_rested()?;
        let idle = self.look_at_sealed(Duration::ZERO)?;
        self.settle_answers()?;
        self.check_stores()?;
        let due = match self.commit_due() {
            // The one before is still on the wire: this one grows meanwhile, as far as it may.
            Due::Soon => idle,
            Due::Now if !idle => return self.look_at_sealed(WIRE_WAIT).map(drop),
            Due::Now => true,
            Due::NotYet => false,
        };
        if !self.dispatcher.has_room() || (due && !self.dispatcher.is_settled()) {
            return self.wait_for_external();
        }
        let waited = self.blocked_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        if due {
            self.metrics.commit_external.observe(waited.as_secs_f64());
            return self.seal();
        }
        self.rest_or_wake()?;
        self.punctuate()?;
        let processed = self.process_batch();
        self.count();
        processed?;
        self.dispatcher.flush();
        self.producer.serve(Duration::ZERO)?;
        self.pass_markers()
    }

    /// What the stores' writer could not write is known within a turn, not at the next commit.
    fn check_stores(&mut self) -> Result<(), Halt> {
        let check = |owned: &mut OwnedTask| Some((owned.task.id(), owned.task.state().check().err()?));
        let failed = self.tasks.iter_mut().find_map(check);
        failed.map_or(Ok(()), |(id, error)| Err(self.store_failed(id, &error)))
    }

    fn process_batch(&mut self) -> Result<(), Halt> {
        let consumer = Arc::clone(&self.consumer);
        let wait = match (&self.sealed, self.open_since) {
            (Some(_), _) => WIRE_WAIT,
            (None, Some(since)) => self.options.commit_interval.saturating_sub(since.elapsed()).min(POLL_WAIT),
            (None, None) => POLL_WAIT,
        };
        let wait = wait.min(self.until_tick());
        self.note_poll();
        let mut turn = Turn::default();
        loop {
            match consumer.poll(if turn.started.is_none() { wait } else { Duration::ZERO }) {
                Event::Record(fetched) => {
                    self.end_gap(|| fetched.at());
                    if self.take(&mut turn, &fetched.record())?.is_break() {
                        return Ok(());
                    }
                }
                Event::Records(mut portion) => {
                    self.end_gap(|| portion.partition().clone());
                    while let Some(record) = portion.next_record() {
                        let record = record.map_err(|unreadable| corrupt(&unreadable))?;
                        if self.take(&mut turn, &record)?.is_break() {
                            // What was not read comes again, first.
                            return Ok(());
                        }
                    }
                }
                Event::Rebalance(rebalance) => {
                    self.pending.push_back(rebalance);
                    return Ok(());
                }
                Event::Error(error) => return self.consumer_error(error),
                Event::End(partition) => self.note_end(partition),
                Event::Idle => return Ok(()),
            }
        }
    }

    /// Processes a record within a turn; breaks when the turn is over.
    #[inline]
    fn take(&mut self, turn: &mut Turn, raw: &RawRecord<'_>) -> Result<ControlFlow<()>, Halt> {
        let started = *turn.started.get_or_insert_with(|| self.look_at_clock());
        if !self.process(raw)? || !self.dispatcher.has_room() {
            return Ok(ControlFlow::Break(()));
        }
        turn.unseen += 1;
        let over =
            turn.unseen >= self.records_per_clock && self.is_turn_over(started, std::mem::take(&mut turn.unseen));
        Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn look_at_clock(&mut self) -> Instant {
        (self.clock, self.busy_at) = (now(), Instant::now());
        self.busy_at
    }

    /// A turn is over by time, or by what is staged: however slow or large the records are, commits come when they are due.
    fn is_turn_over(&mut self, started: Instant, records: u32) -> bool {
        let before = self.busy_at;
        let now = self.look_at_clock();
        let slow = now.duration_since(before) > SLOW_RECORD * records;
        self.records_per_clock = if slow { 1 } else { RECORDS_PER_CLOCK };
        now.duration_since(started) >= TURN || self.staged_bytes() >= self.options.max_staged_bytes
    }

    /// Processes one record; false when its partition was paused and will be read again from it.
    fn process(&mut self, raw: &RawRecord<'_>) -> Result<bool, Halt> {
        let Some(owned) = self.tasks.find(raw.topic, raw.partition) else {
            return Ok(!self.put_back(raw)?);
        };
        let task = owned.task.id();
        if owned.task.is_due_before(raw) {
            return Ok(self.punctuate_before(raw, self.clock)? && self.process(raw)?);
        }
        match owned.task.process(raw, self.clock) {
            Ok(outcome) => {
                self.note_processed(raw);
                if let Outcome::SetAside { error, tripped } = outcome {
                    self.options.telemetry.dead_letter(&position_of(raw), task, &error);
                    if tripped {
                        self.rest_task(raw, Rest::Breaker { until: Instant::now() + crate::dead_letter::RATIO_PAUSE })?;
                    }
                }
                self.carry_out(task, raw.timestamp, || Origin::Record(position_of(raw)))?;
                Ok(true)
            }
            Err(TaskFault::SchemaNotLoaded(id)) => {
                self.loader.load(id);
                if self.loader.wait(id, GRACE) {
                    return self.process(raw);
                }
                self.rest_task(raw, Rest::Schema(id))?;
                Ok(false)
            }
            Err(TaskFault::Store(error)) => Err(self.store_failed(task, &error)),
            Err(fault) => Err(Halt::Fatal(FatalError::Environment(fault.to_string()))),
        }
    }

    fn note_processed(&mut self, raw: &RawRecord<'_>) {
        self.tasks.count(raw.topic);
        self.open();
        if self.latencies.len() < LATENCY_SAMPLES && raw.timestamp.0 >= 0 {
            self.latencies.push(raw.timestamp.0);
        }
    }

    pub(super) fn open(&mut self) {
        if self.open_since.is_none() {
            self.open_since = Some(Instant::now());
            self.metrics.transaction_open.start();
        }
    }

    pub(super) fn consumer_error(&mut self, error: ConsumerError) -> Result<(), Halt> {
        match error {
            ConsumerError::Away(reason) => {
                self.kafka_away.get_or_insert_with(Instant::now);
                self.options.telemetry.dependency_away(&Dependency::Kafka, &reason);
            }
            ConsumerError::MissingTopic(reason) => {
                self.check_topics = true;
                self.options.telemetry.topic_missing(&reason);
            }
            ConsumerError::PollOverdue => self.options.telemetry.poll_overdue(&self.name),
            ConsumerError::OutOfRange { at, position, resumed } => {
                self.options.telemetry.out_of_range(&at, position, resumed);
            }
            ConsumerError::MadeAnew(topic) => return Err(Halt::MadeAnew(topic)),
            ConsumerError::Fenced(reason) => return Err(Halt::Rejoin(reason)),
            ConsumerError::FencedItself(reason) => return Err(Halt::Forgotten(reason)),
            ConsumerError::Fatal(error) => return Err(Halt::Fatal(error)),
        }
        Ok(())
    }
}

pub(super) fn subscribe(topology: &Topology, options: &Options, thread: usize) -> Result<Arc<dyn Intake>, FatalError> {
    let topics: Vec<&str> = topology.sources().iter().flat_map(|source| source.topics.iter()).collect();
    if let Some(cluster) = &options.simulated {
        return Ok(cluster.join(thread, &topics)?.into());
    }
    let fetching = options.clients.fetcher.fetching();
    Ok(Arc::new(GroupConsumer::subscribe(&options.kafka, thread, &topics, fetching)?))
}

pub(super) fn create_producer(
    options: &Options,
    thread: usize,
) -> Result<Box<dyn TransactionalProducer + Send>, ProduceError> {
    let kafka = &options.kafka;
    if let Some(cluster) = &options.simulated {
        return cluster.producer(thread);
    }
    Ok(match (options.clients.producer, options.guarantee) {
        (Implementation::Librdkafka, Guarantee::ExactlyOnce) => {
            Box::new(LibrdkafkaProducer::transactional(kafka, thread)?)
        }
        (Implementation::Librdkafka, Guarantee::AtLeastOnce) => {
            Box::new(LibrdkafkaProducer::idempotent(kafka, thread)?)
        }
        (_, Guarantee::ExactlyOnce) => Box::new(NativeProducer::transactional(kafka, thread)?),
        (_, Guarantee::AtLeastOnce) => Box::new(NativeProducer::idempotent(kafka, thread)?),
    })
}

fn position_of(raw: &RawRecord<'_>) -> Position {
    Position { topic: raw.topic.into(), partition: raw.partition, offset: raw.offset }
}
