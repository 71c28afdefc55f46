//! A shared broker, topics of one's own, the counting topology, and the checker of its output.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use chaos::application;
pub(crate) use chaos::application::{PATIENCE, SESSION, TRANSACTION_TIMEOUT, tokio};
use chaos::reader::passes;
use chaos::segments::Segments;
use headrace::codec::text;
use headrace::dead_letter::Policy;
use headrace::error::{RecordError, Stage};
use headrace::kafka::{Admin, Settings, TopicWanted};
use headrace::position::{Partition, TaskId};
use headrace::processor::{Context, Fault, Processor};
use headrace::record::Record;
use headrace::runtime::{App, Options};
use headrace::store::{StateDirectory, Store, StoreIndex, StoreOptions, StoreResources, StoreSpec, Stores};
use headrace::topology::Topology;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use testbed::{Kafka, Testbed, wait};
use tokio_util::sync::CancellationToken;

use super::running::Running;
use crate::support::transactions;

pub(crate) const PARTITIONS: i32 = 4;

static BED: OnceLock<Testbed> = OnceLock::new();
/// Tests that take the broker away hold it alone.
static BROKER: RwLock<()> = RwLock::new(());

/// The broker that all tests of this module share; it ends with the test's process.
pub(crate) fn broker() -> (&'static Kafka, RwLockReadGuard<'static, ()>) {
    let guard = BROKER.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    (kafka(), guard)
}

/// The same, for a test that stops it. It has to be up again at the test's end.
pub(crate) fn broker_alone() -> (&'static Kafka, RwLockWriteGuard<'static, ()>) {
    let guard = BROKER.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    (kafka(), guard)
}

/// All of the testbed, for a test that takes parts of it away.
pub(crate) fn bed_alone() -> (&'static Testbed, RwLockWriteGuard<'static, ()>) {
    let guard = BROKER.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    let bed = bed();
    bed.registry().expect("registry").start().expect("it runs, or is started again after a test that failed");
    bed.redis().expect("redis").start().expect("the same");
    (bed, guard)
}

fn kafka() -> &'static Kafka {
    bed().kafka().expect("kafka")
}

fn bed() -> &'static Testbed {
    let start = || {
        let kafka = Kafka::builder().expect("builder").property("group.min.session.timeout.ms", "1000");
        // Some tests have timestamps of long ago, which retention would take within the minute that it looks.
        let kafka = kafka.property("log.retention.ms", "-1");
        let bed = Testbed::builder().kafka_with(kafka).registry().redis().start().expect("testbed");
        transactions::watch(bed.kafka().expect("kafka").bootstrap_servers(), transactions::PATIENCE);
        bed
    };
    let bed = BED.get_or_init(start);
    bed.kafka().expect("kafka").start().expect("it runs, or is started again after a test that failed");
    bed
}

/// One test's topics and application id.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    pub(crate) servers: String,
    pub(crate) application: String,
}

impl Bench {
    /// Without topics.
    pub(crate) fn bare(kafka: &Kafka, name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Bench { servers: kafka.bootstrap_servers().to_owned(), application: format!("{name}-{number}") }
    }

    /// With all topics.
    pub(crate) fn new(kafka: &Kafka, name: &str) -> Self {
        let bench = Bench::bare(kafka, name);
        for topic in [bench.input(), bench.output(), bench.dead(), bench.changelog()] {
            bench.create(&topic, PARTITIONS);
        }
        bench
    }

    pub(crate) fn input(&self) -> String {
        format!("{}.in", self.application)
    }

    pub(crate) fn output(&self) -> String {
        format!("{}.out", self.application)
    }

    pub(crate) fn dead(&self) -> String {
        format!("{}.dead", self.application)
    }

    pub(crate) fn changelog(&self) -> String {
        Topology::changelog_topic(&self.application, "counts")
    }

    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        self.create_with(topic, partitions, &[]);
    }

    pub(crate) fn create_with(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        let admin = Admin::new(&self.settings("admin")).expect("admin");
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let wanted = TopicWanted { name: topic.to_owned(), partitions, replication: 1, config };
        admin.create(&wanted).expect("create");
        wait::until("the topic is known", PATIENCE, || {
            let topics = admin.topics().map_err(|error| error.to_string())?;
            topics.get(topic).map(drop).ok_or_else(|| "not yet".to_owned())
        })
        .expect("topic");
    }

    pub(crate) fn settings(&self, instance: &str) -> Settings {
        application::settings(&self.servers, &self.application, instance)
    }

    pub(crate) fn options(&self, instance: &str, directory: &Path) -> Options {
        application::options(self.settings(instance), PARTITIONS, directory)
    }

    pub(crate) fn topology(&self, pace: Duration, dead_letters: bool) -> Topology {
        self.declare(pace, dead_letters).0
    }

    fn declare(&self, pace: Duration, dead_letters: bool) -> (Topology, Store<String, String>) {
        let mut builder = Topology::builder("counting");
        let numbers = builder.source("numbers", &self.input(), (text(), text()));
        let counts = builder.store("counts", Stores::rocks(text(), text()).with_changelog());
        let counted = builder.process("count", numbers, Count { counts: counts.clone(), pace });
        builder.sink("counted", counted, &self.output(), text(), text());
        if dead_letters {
            builder.dead_letters(&self.dead(), Policy::after_attempts(1));
        }
        (builder.build().expect("topology"), counts)
    }

    /// Runs the counting topology in this process.
    pub(crate) fn run(&self, options: Options) -> Running {
        self.run_topology(self.topology(Duration::ZERO, true), options)
    }

    pub(crate) fn run_topology(&self, topology: Topology, options: Options) -> Running {
        if let Ok(filter) = std::env::var("HEADRACE_E2E_LOG") {
            // The second application of a process finds the log started.
            _ = headrace::telemetry::init_log(headrace::telemetry::LogLines::Text, &filter);
        }
        let (telemetry, shutdown) = (options.telemetry.clone(), CancellationToken::new());
        let app = tokio().spawn(App::new(topology, options).run(shutdown.clone()));
        Running { telemetry, shutdown, app }
    }

    /// Produces the numbers of a range, each under one of `keys` keys. A number that ends in 777 is poison.
    pub(crate) fn produce(&self, numbers: std::ops::Range<u64>, keys: u64) {
        // Idempotent: over a bad network the input must be there once, too.
        let mut config = self.client();
        config.set("linger.ms", "5").set("enable.idempotence", "true");
        let producer: BaseProducer = config.create().expect("producer");
        for number in numbers {
            let (key, value) = (format!("key-{}", number % keys), value_of(number));
            let mut record = BaseRecord::to(self.leak_input()).key(&key).payload(&value);
            while let Err((_, back)) = producer.send(record) {
                producer.poll(Duration::from_millis(5));
                record = back;
            }
        }
        producer.flush(PATIENCE).expect("flush");
    }

    /// Produces numbers from 0 on, a few at a time, until it is told to stop; gives how many.
    pub(crate) fn produce_until(&self, stop: &AtomicBool, keys: u64) -> u64 {
        let mut config = self.client();
        config.set("linger.ms", "2").set("enable.idempotence", "true");
        let producer: BaseProducer = config.create().expect("producer");
        let mut number = 0;
        while !stop.load(Ordering::Acquire) {
            for _ in 0..20 {
                let (key, value) = (format!("key-{}", number % keys), value_of(number));
                let record = BaseRecord::to(self.leak_input()).key(&key).payload(&value);
                producer.send(record).map_err(|(error, _)| error).expect("send");
                number += 1;
            }
            producer.flush(PATIENCE).expect("flush");
        }
        number
    }

    /// A topic's name that a record may borrow for as long as it takes.
    fn leak_input(&self) -> &'static str {
        static NAMES: RwLock<BTreeMap<String, &'static str>> = RwLock::new(BTreeMap::new());
        let name = self.input();
        if let Some(known) = NAMES.read().expect("names").get(&name) {
            return known;
        }
        NAMES.write().expect("names").entry(name.clone()).or_insert_with(|| name.leak())
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }

    fn reader(&self, isolation: &str) -> BaseConsumer {
        let mut config = self.client();
        config.set("group.id", format!("{}-test-reader", self.application)).set("enable.partition.eof", "true");
        config.set("isolation.level", isolation).set("enable.auto.commit", "false").create().expect("consumer")
    }

    /// All records of a topic that a committed reader sees.
    pub(crate) fn read(&self, topic: &str) -> Vec<Read> {
        self.read_as(topic, "read_committed")
    }

    pub(crate) fn read_as(&self, topic: &str, isolation: &str) -> Vec<Read> {
        let consumer = self.reader(isolation);
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
        let partitions = metadata.topics()[0].partitions().len();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(topic, 0, i32::try_from(partitions).expect("few") - 1);
        list.set_all_offsets(Offset::Beginning).expect("offsets");
        consumer.assign(&list).expect("assign");
        let (mut records, mut ended, started) = (Vec::new(), 0, Instant::now());
        while ended < partitions {
            assert!(started.elapsed() < PATIENCE, "{topic}: no end within {PATIENCE:?}");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(Read::from(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) if passes(&error) => {}
                Some(Err(error)) => panic!("{topic}: {error}"),
                None => {}
            }
        }
        records
    }

    /// Committed positions and end offsets of the input, summed: (committed, end).
    pub(crate) fn progress(&self) -> (i64, i64) {
        wait::until("the positions", PATIENCE, || self.look_at_progress().map_err(|error| error.to_string()))
            .expect("progress")
    }

    fn look_at_progress(&self) -> Result<(i64, i64), KafkaError> {
        let mut config = self.client();
        config.set("group.id", &self.application).set("isolation.level", "read_committed");
        let consumer: BaseConsumer = config.create().expect("consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.input(), 0, PARTITIONS - 1);
        let committed = consumer.committed_offsets(list, PATIENCE / 6)?;
        let offset = |offset| if let Offset::Offset(next) = offset { next } else { 0 };
        let committed = committed.elements().iter().map(|element| offset(element.offset())).sum();
        let mut end = 0;
        for partition in 0..PARTITIONS {
            end += consumer.fetch_watermarks(&self.input(), partition, PATIENCE / 6)?.1;
        }
        Ok((committed, end))
    }

    /// Waits until everything in the input is committed.
    /// Waits until the group has given something of the input to this instance.
    pub(crate) fn wait_owner(&self, instance: &str) {
        let groups: BaseConsumer = self.client().create().expect("consumer");
        wait::until("an owner", PATIENCE, || {
            match chaos::ownership::of_input(&groups, &self.application, &self.input(), instance) {
                Ok(owned) if !owned.is_empty() => Ok(()),
                owned => Err(format!("{instance}: {owned:?}")),
            }
        })
        .expect("an owner");
    }

    pub(crate) fn wait_drained(&self) {
        wait::until("the input is drained", PATIENCE, || match self.progress() {
            (committed, end) if committed == end => Ok(()),
            (committed, end) => Err(format!("{committed} of {end}")),
        })
        .expect("drained");
    }

    /// Records in the output, whatever became of their transactions.
    pub(crate) fn output_end(&self) -> i64 {
        let consumer = self.reader("read_uncommitted");
        let end = |partition| consumer.fetch_watermarks(&self.output(), partition, PATIENCE).expect("watermarks").1;
        (0..PARTITIONS).map(end).sum()
    }

    /// What is in the stores on disk. The application must have ended.
    pub(crate) fn stored(&self, directory: &Path, keys: u64) -> BTreeMap<String, String> {
        let (topology, counts) = self.declare(Duration::ZERO, true);
        let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
        let state = StateDirectory::open(directory, &self.application).expect("directory");
        let resources = StoreResources::new(StoreOptions::default());
        let mut stored = BTreeMap::new();
        for task in state.tasks().expect("tasks") {
            let mut opened = state.open_task(task, &specs, topology.state_id(), &resources).expect("open");
            for key in (0..keys).map(|key| format!("key-{key}")) {
                if let Some(value) = counts.read(&mut opened, &key).expect("read") {
                    assert!(stored.insert(key, value).is_none(), "a key in two tasks");
                }
            }
        }
        stored
    }

    /// The changelog folded: the last value of each key.
    pub(crate) fn folded(&self) -> BTreeMap<String, String> {
        let mut folded = BTreeMap::new();
        for record in self.read(&self.changelog()) {
            match record.value {
                Some(value) => folded.insert(record.key, value),
                None => folded.remove(&record.key),
            };
        }
        folded
    }

    /// Checks the output against `numbers` produced under `keys` keys; one line for each violation, at most ten.
    pub(crate) fn violations(&self, numbers: u64, keys: u64) -> Vec<String> {
        let mut violations = Vec::new();
        let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for record in self.read(&self.output()) {
            let value = record.value.unwrap_or_default();
            let Some((count, number)) = value.split_once(' ') else { panic!("not ours: {value}") };
            *seen.entry(number.parse().expect("number")).or_default() += 1;
            let expected = counts.entry(record.key.clone()).or_default();
            *expected += 1;
            if count.parse() != Ok(*expected) {
                violations.push(format!("{}: count {count} where {expected} was due", record.key));
            }
        }
        for number in (0..numbers).filter(|&number| !is_poison(number)) {
            match seen.remove(&number).unwrap_or(0) {
                1 => {}
                times => violations.push(format!("{number} is {times} times in the output")),
            }
        }
        violations.extend(seen.keys().map(|number| format!("{number} was never produced")));
        let mut dead: Vec<u64> = self.read(&self.dead()).iter().map(number_of).collect();
        dead.sort_unstable();
        if dead != (0..numbers).filter(|&number| is_poison(number)).collect::<Vec<_>>() {
            violations.push(format!("dead letters: {dead:?}"));
        }
        for (key, count) in self.folded() {
            if counts.get(&key).map(u64::to_string) != Some(count.clone()) {
                violations.push(format!("changelog: {key} is {count}, the output says {:?}", counts.get(&key)));
            }
        }
        assert!(keys >= counts.len() as u64);
        violations.truncate(10);
        if !violations.is_empty() {
            violations.extend(self.transactions());
        }
        violations
    }

    /// How each transaction ended in each partition, as it lies on the broker's disk: was a reader shown what was aborted, or
    /// was it committed twice?
    fn transactions(&self) -> Vec<String> {
        let topics = [self.output(), self.changelog()];
        let partitions = topics.iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)));
        let told = |(topic, partition): (&String, i32)| match Segments::read(&kafka().log_of(topic, partition)) {
            Ok(segments) => format!("{topic}-{partition}: {segments:?}"),
            Err(error) => format!("{topic}-{partition}: {error}"),
        };
        partitions.map(told).collect()
    }
}

fn value_of(number: u64) -> String {
    if is_poison(number) { format!("poison {number}") } else { number.to_string() }
}

fn number_of(record: &Read) -> u64 {
    let value = record.value.as_deref().expect("a dead letter with its original bytes");
    value.strip_prefix("poison ").and_then(|number| number.parse().ok()).expect("its original bytes")
}

pub(crate) fn is_poison(number: u64) -> bool {
    number % 1000 == 777
}

/// A record as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Read {
    fn from(message: &rdkafka::message::BorrowedMessage<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Read {
            key: message.key().map(text).unwrap_or_default(),
            value: message.payload().map(text),
            bytes: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect(),
        }
    }
}

/// Counts each key's numbers.
#[derive(Clone)]
struct Count {
    counts: Store<String, String>,
    /// What a record takes at least.
    pace: Duration,
}

impl Processor for Count {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.counts.index()]
    }

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let started = Instant::now();
        if record.value.starts_with("poison") {
            return Err(RecordError::new(Stage::Process, "poison", "a poisonous number").into());
        }
        let count = context.store(&self.counts).read(&record.key)?.map_or(0, |count| count.parse().unwrap_or(0));
        let count = count + 1u64;
        context.store(&self.counts).write(&record.key, Some(&count.to_string()))?;
        context.forward(&record.map(record.key.clone(), format!("{count} {}", record.value)));
        while started.elapsed() < self.pace {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

/// Number of tasks' states in quarantine.
pub(crate) fn quarantined(directory: &Path, application: &str) -> usize {
    let found = std::fs::read_dir(directory.join(application).join("quarantine"));
    found.map_or(0, |entries| entries.count())
}

/// The task of a partition.
pub(crate) fn task(partition: i32) -> TaskId {
    TaskId { sub_topology: 0, partition: Partition(partition) }
}
