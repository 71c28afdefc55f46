//! Producers under test, a group's real member, and what readers see.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use headrace::position::{Offset, Partition, TopicPartition};
use headrace::record::{Headers, Timestamp};
use headrace::wire::Settings;
use headrace::wire::producer::{Committed, Member, Outgoing, ProduceError, Producer, ProducerSettings, Slot};
use rdkafka::bindings;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::runtime::support::{Bench, PATIENCE};
use crate::support::{Topics, eventually};

pub(crate) static NO_HEADERS: Headers = Headers::new();

/// Settings with a short transaction time-out, so that whatever hangs ends within the test.
pub(crate) fn settings(transactional_id: &str) -> ProducerSettings {
    ProducerSettings {
        transaction_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(5),
        ..ProducerSettings::new(Some(transactional_id.to_owned()))
    }
}

/// A producer that is not initialised.
pub(crate) fn start(servers: &str, settings: ProducerSettings) -> Producer {
    let cluster = Settings::new(servers, [("client.id", "wire-test")]).unwrap();
    Producer::start(&cluster, settings).unwrap()
}

/// A producer that has its id.
pub(crate) fn producer(servers: &str, settings: ProducerSettings) -> Producer {
    let mut producer = start(servers, settings);
    initialise(&mut producer);
    producer
}

pub(crate) fn initialise(producer: &mut Producer) {
    producer.initialise(Instant::now() + PATIENCE).unwrap();
}

/// A record with a key and a value to a partition.
pub(crate) fn record<'a>(topic: &'a str, partition: i32, value: &'a str) -> Outgoing<'a> {
    Outgoing {
        topic,
        partition: Some(Partition(partition)),
        key: Some(b"key"),
        value: Some(value.as_bytes()),
        // Now: a topic deletes at once what is older than its retention.
        timestamp: Timestamp::NONE,
        headers: &NO_HEADERS,
        named: false,
        slot: None,
    }
}

/// The same, to a changelog partition.
pub(crate) fn logged<'a>(topic: &'a str, partition: i32, value: &'a str, slot: usize) -> Outgoing<'a> {
    Outgoing { slot: Some(Slot(slot)), ..record(topic, partition, value) }
}

/// Waits for the end of what was sealed.
pub(crate) fn outcome(producer: &mut Producer) -> Result<Committed, ProduceError> {
    let committed = producer.outcome(PATIENCE)?;
    Ok(committed.expect("an end within the time"))
}

/// Seals without positions, and waits for the end.
pub(crate) fn commit(producer: &mut Producer) -> Result<Committed, ProduceError> {
    producer.seal(&[], None)?;
    outcome(producer)
}

pub(crate) fn at(topic: &str, partition: i32, next: i64) -> (TopicPartition, Offset) {
    (TopicPartition { topic: topic.into(), partition: Partition(partition) }, Offset(next))
}

/// The values that a committed reader sees, in the order of partition and offset.
pub(crate) fn values(bench: &Bench, topic: &str) -> Vec<String> {
    let records = Topics::new(&bench.servers).read(topic);
    records.into_iter().map(|record| String::from_utf8(record.value.unwrap_or_default()).unwrap()).collect()
}

/// The end of a partition, with what is not committed.
pub(crate) fn end(bench: &Bench, topic: &str, partition: i32) -> i64 {
    let reader: BaseConsumer = bench.client().set("isolation.level", "read_uncommitted").create().unwrap();
    reader.fetch_watermarks(topic, partition, PATIENCE).unwrap().1
}

/// How far a committed reader of a partition gets: to the first open transaction, else to the end.
pub(crate) fn stable(bench: &Bench, topic: &str, partition: i32) -> i64 {
    let reader: BaseConsumer = bench.client().set("isolation.level", "read_committed").create().unwrap();
    reader.fetch_watermarks(topic, partition, PATIENCE).unwrap().1
}

/// Waits until that is what a committed reader sees: a commit is decided before its markers are in every partition.
#[track_caller]
pub(crate) fn sees<S: AsRef<str>>(bench: &Bench, topic: &str, expected: &[S]) {
    let expected: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
    eventually("a committed reader sees it", || {
        let seen = values(bench, topic);
        if seen == expected { Ok(()) } else { Err(format!("it sees {} values, not {}", seen.len(), expected.len())) }
    });
}

/// A member of a group with an assignment, as the runtime's consumer is one.
pub(crate) struct Joined {
    pub(crate) consumer: BaseConsumer,
    group: String,
}

impl Joined {
    pub(crate) fn new(bench: &Bench, topic: &str) -> Self {
        Self::subscribed(bench, topic, "range").assigned()
    }

    /// The same, and it keeps what does not move while others join.
    pub(crate) fn cooperative(bench: &Bench, topic: &str) -> Self {
        Self::joining(bench, topic).assigned()
    }

    /// One that has not got anything yet.
    pub(crate) fn joining(bench: &Bench, topic: &str) -> Self {
        Self::subscribed(bench, topic, "cooperative-sticky")
    }

    fn subscribed(bench: &Bench, topic: &str, assignor: &str) -> Self {
        let group = format!("{}-group", bench.application);
        let mut config = bench.client();
        config.set("group.id", &group).set("enable.auto.commit", "false").set("session.timeout.ms", "6000");
        config.set("partition.assignment.strategy", assignor);
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        Joined { consumer, group }
    }

    fn assigned(self) -> Self {
        let deadline = Instant::now() + PATIENCE;
        while self.consumer.assignment().unwrap().count() == 0 {
            assert!(Instant::now() < deadline, "no assignment");
            self.consumer.poll(Duration::from_millis(50)).map(drop).unwrap_or_default();
        }
        self
    }

    /// Its place in the group now.
    #[expect(unsafe_code, reason = "rust-rdkafka hides generation and member id, which librdkafka's C API has")]
    pub(crate) fn member(&self) -> Member {
        // SAFETY: the client lives as long as `self`; the metadata is a copy of ours, read before it is destroyed; its
        // texts end with a zero.
        let (generation, member_id) = unsafe {
            let metadata = bindings::rd_kafka_consumer_group_metadata(self.consumer.client().native_ptr());
            let generation = bindings::rd_kafka_consumer_group_metadata_generation_id(metadata);
            let id = CStr::from_ptr(bindings::rd_kafka_consumer_group_metadata_member_id(metadata));
            let id = id.to_str().unwrap().to_owned();
            bindings::rd_kafka_consumer_group_metadata_destroy(metadata);
            (generation, id)
        };
        Member { group: self.group.clone(), generation, member_id, instance_id: None }
    }

    /// The group's committed position.
    pub(crate) fn committed(&self, topic: &str, partition: i32) -> Option<i64> {
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition(topic, partition);
        let committed = self.consumer.committed_offsets(list, PATIENCE).unwrap();
        committed.find_partition(topic, partition)?.offset().to_raw().filter(|offset| *offset >= 0)
    }
}
