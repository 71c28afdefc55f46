//! How fast a topic is drained, beside librdkafka's consumer: `cargo test … drain -- --ignored --nocapture` prints it.

use std::time::{Duration, Instant};

use headrace::position::Offset;
use headrace::wire::fetch::{Event, FetcherSettings};
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::support::{at, fresh, start};
use crate::produce::support::{commit, producer, record, settings};
use crate::runtime::support::{Bench, broker};
use crate::support::Topics;

const PARTITIONS: i32 = 4;
const RECORDS: usize = 2_000_000;

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn measured(name: &str, drain: impl FnOnce() -> (usize, usize)) {
    let (begun, before) = (Instant::now(), cpu());
    let (count, bytes) = drain();
    let (seconds, spent) = (begun.elapsed().as_secs_f64(), cpu() - before);
    let millions = count as f64 / 1e6;
    println!(
        "{name}: {count} records, {bytes} bytes, {:.2} M/s, {:.3} CPU s per million",
        millions / seconds,
        spent / millions
    );
    assert_eq!(count, RECORDS);
}

fn native(servers: &str, topic: &str) -> (usize, usize) {
    let fetcher = start(servers, &[], FetcherSettings::default());
    (0..PARTITIONS).for_each(|partition| fetcher.assign(&at(topic, partition), Offset(0)));
    let (mut count, mut bytes, mut ends) = (0, 0, 0);
    while ends < PARTITIONS {
        match fetcher.poll(Duration::from_millis(100)) {
            Event::Records(mut portion) => {
                while let Some(record) = portion.next_record() {
                    bytes += record.unwrap().size();
                    count += 1;
                }
            }
            Event::End { .. } => ends += 1,
            Event::Idle => {}
            other => panic!("{other:?}"),
        }
    }
    (count, bytes)
}

fn librdkafka(servers: &str, topic: &str) -> (usize, usize) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "drain").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    config.set("fetch.queue.backoff.ms", "10").set("queued.max.messages.kbytes", "65536");
    config.set("fetch.wait.max.ms", "100").set("queued.min.messages", "100000");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, KafkaOffset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut count, mut bytes, mut ends) = (0, 0, 0);
    while ends < PARTITIONS {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                bytes += message.payload().map_or(0, <[u8]>::len) + message.key().map_or(0, <[u8]>::len);
                count += 1;
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ends += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    (count, bytes)
}

#[test]
#[ignore = "a measure, which no test should depend on"]
fn draining_beside_librdkafka() {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, "fetch-drain");
    let topic = fresh("drain");
    Topics::new(&bench.servers).create(&topic, PARTITIONS);
    let mut producer = producer(&bench.servers, settings(&topic));
    let value = "v".repeat(97);
    for number in 0..RECORDS {
        let partition = i32::try_from(number).unwrap() % PARTITIONS;
        producer.append(&record(&topic, partition, &value)).unwrap();
        if number % 100_000 == 99_999 {
            commit(&mut producer).unwrap();
        }
    }
    for _ in 0..3 {
        measured("native", || native(&bench.servers, &topic));
        measured("librdkafka", || librdkafka(&bench.servers, &topic));
    }
}
