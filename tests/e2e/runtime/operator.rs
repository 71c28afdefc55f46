//! What an operator does to topics while applications run, and records of one's own.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use testbed::wait;
use tokio::runtime::{Builder, Runtime};

use super::support::{Bench, PATIENCE};

/// Somebody with the rights to change topics.
pub(crate) struct Operator<'a> {
    bench: &'a Bench,
    admin: AdminClient<DefaultClientContext>,
    runtime: Runtime,
}

impl<'a> Operator<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("runtime");
        Operator { bench, admin: bench.client().create().expect("admin"), runtime }
    }

    /// Sets the largest batch that a topic takes, and waits until its broker knows.
    pub(crate) fn limit(&self, topic: &str, bytes: usize) {
        let bytes = bytes.to_string();
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", &bytes);
        let altered = self.runtime.block_on(self.admin.alter_configs([&change], &AdminOptions::new()));
        altered.expect("answer").into_iter().for_each(|outcome| _ = outcome.expect("altered"));
        let resource = ResourceSpecifier::Topic(topic);
        wait::until("the limit", PATIENCE, || {
            let described = self.admin.describe_configs([&resource], &AdminOptions::new());
            let described = self.runtime.block_on(described).map_err(|error| error.to_string())?;
            let config = described.into_iter().next().expect("one").map_err(|error| error.to_string())?;
            let value = config.get("max.message.bytes").and_then(|entry| entry.value.clone());
            if value.as_ref() == Some(&bytes) { Ok(()) } else { Err(format!("{value:?}")) }
        })
        .expect("limit");
    }

    /// Deletes a topic with all that is in it.
    pub(crate) fn delete(&self, topic: &str) {
        let deleted = self.runtime.block_on(self.admin.delete_topics(&[topic], &AdminOptions::new()));
        deleted.expect("answer").into_iter().for_each(|outcome| _ = outcome.expect("deleted"));
    }

    /// Deletes a topic and makes it anew.
    pub(crate) fn recreate(&self, topic: &str, partitions: i32) {
        self.delete(topic);
        wait::until("the topic anew", PATIENCE, || {
            let metadata = self.admin.inner().fetch_metadata(None, PATIENCE).map_err(|error| error.to_string())?;
            match metadata.topics().iter().any(|known| known.name() == topic) {
                true => Err("the old one is still there".to_owned()),
                false => Ok(()),
            }
        })
        .expect("deleted");
        self.bench.create(topic, partitions);
    }

    /// The offset after a partition's last record.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> i64 {
        self.admin.inner().fetch_watermarks(topic, partition, PATIENCE).expect("watermarks").1
    }

    /// Deletes the records of a partition before an offset, as retention does.
    pub(crate) fn cut(&self, topic: &str, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(before)).expect("offset");
        let deleted = self.runtime.block_on(self.admin.delete_records(&offsets, &AdminOptions::new()));
        deleted.expect("answer").elements().iter().for_each(|element| element.error().expect("cut"));
    }

    /// Records in the input.
    pub(crate) fn send(&self, records: impl IntoIterator<Item = (String, String)>) {
        let producer: BaseProducer = self.bench.client().set("linger.ms", "5").create().expect("producer");
        for (key, value) in records {
            let topic = self.bench.input();
            let mut record = BaseRecord::to(&topic).key(&key).payload(&value);
            while let Err((_, back)) = producer.send(record) {
                producer.poll(std::time::Duration::from_millis(5));
                record = back;
            }
        }
        producer.flush(PATIENCE).expect("flush");
    }

    /// The output's numbers in their order of offsets, which must be counted without a gap for each key, up to `last`.
    pub(crate) fn counted(&self) -> Vec<u64> {
        let mut counts = BTreeMap::<String, u64>::new();
        let mut numbers = Vec::new();
        for record in self.bench.read(&self.bench.output()) {
            let value = record.value.expect("a value");
            let (count, number) = value.split_once(' ').expect("count and number");
            let count: u64 = count.parse().expect("a count");
            let before = counts.insert(record.key.clone(), count);
            assert!(before.is_none_or(|before| before + 1 == count), "{}: {count} after {before:?}", record.key);
            numbers.push(number.parse().expect("a number"));
        }
        numbers.sort_unstable();
        numbers
    }
}

/// A number under one of seven keys.
pub(crate) fn small(number: u64) -> (String, String) {
    (format!("key-{}", number % 7), number.to_string())
}

/// The same number in so many digits.
pub(crate) fn large(number: u64, digits: usize) -> (String, String) {
    (format!("key-{}", number % 7), format!("{number:0digits$}"))
}
