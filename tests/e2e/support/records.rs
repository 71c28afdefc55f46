//! Topics and their records, as bytes.

use std::time::Duration;

use chaos::reader::passes;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::DEADLINE;

/// A record as it stands in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Stored {
    /// The value as JSON; null if there is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.value.as_deref().map_or(serde_json::Value::Null, |value| serde_json::from_slice(value).unwrap())
    }

    /// The bytes of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(own, _)| own == name)?.1.as_deref()
    }
}

/// A client of the shared broker.
pub(crate) struct Topics {
    config: ClientConfig,
    producer: ThreadedProducer<DefaultProducerContext>,
    /// For look-ups; it is assigned nothing.
    reader: BaseConsumer,
}

impl Topics {
    pub(crate) fn new(bootstrap_servers: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap_servers).set("message.max.bytes", "8000000").set("linger.ms", "0");
        config.set("fetch.queue.backoff.ms", "10");
        // Many of a partition are under way together, and stay in their order.
        let producer = config.clone().set("enable.idempotence", "true").create().unwrap();
        let reader = config.clone().set("group.id", "reader").create().unwrap();
        Topics { config, producer, reader }
    }

    /// Creates a topic.
    pub(crate) fn create(&self, topic: &str, partitions: i32) {
        self.create_with(topic, partitions, &[]);
    }

    pub(crate) fn create_with(&self, topic: &str, partitions: i32, properties: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.config.create().unwrap();
        let mut wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in properties {
            wanted = wanted.set(name, value);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let created = runtime.block_on(admin.create_topics([&wanted], &AdminOptions::new())).unwrap();
        created.into_iter().for_each(|outcome| assert_eq!(outcome.map_err(|(_, code)| code), Ok(topic.to_owned())));
    }

    /// Deletes a topic with all that is in it.
    pub(crate) fn delete(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> = self.config.create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let deleted = runtime.block_on(admin.delete_topics(&[topic], &AdminOptions::new())).unwrap();
        deleted.into_iter().for_each(|outcome| assert_eq!(outcome.map_err(|(_, code)| code), Ok(topic.to_owned())));
    }

    /// Appends a record, and waits until the broker has it.
    pub(crate) fn produce(&self, topic: &str, record: &Stored) {
        self.produce_all(topic, std::slice::from_ref(record));
    }

    /// Appends records, those of a partition in their order, and waits until the broker has all of them.
    pub(crate) fn produce_all(&self, topic: &str, records: &[Stored]) {
        for record in records {
            let mut message = BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition);
            message.key = record.key.as_deref();
            message.payload = record.value.as_deref();
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_deref() })
            });
            self.producer.send(message.headers(headers)).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(DEADLINE).unwrap();
    }

    /// All committed records of a topic, partition by partition.
    pub(crate) fn read(&self, topic: &str) -> Vec<Stored> {
        self.read_as(topic, "read_committed")
    }

    /// All that a reader of this isolation level sees.
    pub(crate) fn read_as(&self, topic: &str, isolation: &str) -> Vec<Stored> {
        let mut config = self.config.clone();
        config.set("group.id", "reader").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", isolation).set("fetch.wait.max.ms", "50");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions(topic) {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut records, mut open) = (Vec::new(), list.count());
        let begun = std::time::Instant::now();
        while open > 0 {
            assert!(begun.elapsed() < DEADLINE, "{topic} can't be read to its end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(stored(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) if passes(&error) => {}
                Some(Err(error)) => panic!("{topic}: {error}"),
                None => {}
            }
        }
        records.sort_by_key(|record: &Stored| (record.partition, record.offset));
        records
    }

    /// How many partitions a topic has.
    pub(crate) fn partitions(&self, topic: &str) -> i32 {
        let metadata = self.reader.fetch_metadata(Some(topic), DEADLINE).unwrap();
        i32::try_from(metadata.topics()[0].partitions().len()).unwrap()
    }

    /// What a group has committed for a partition.
    pub(crate) fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let mut config = self.config.clone();
        let consumer: BaseConsumer = config.set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let committed = consumer.committed_offsets(list, DEADLINE).unwrap();
        committed.find_partition(topic, partition)?.offset().to_raw().filter(|offset| *offset >= 0)
    }

    /// One past the last offset of a partition, transaction markers included.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> i64 {
        self.reader.fetch_watermarks(topic, partition, DEADLINE).unwrap().1
    }
}

fn stored(message: &rdkafka::message::BorrowedMessage<'_>) -> Stored {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Stored {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}
