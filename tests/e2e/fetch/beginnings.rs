//! Partitions that begin at what their group has committed, and what an open transaction means for that.

use std::time::Duration;

use headrace::position::Offset;
use headrace::wire::fetch::{Event, Fetcher, FetcherSettings};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::topic_partition_list::Offset as KafkaOffset;
use testbed::Kafka;

use super::support::{Read, at, fresh, small, start};
use crate::produce::support::{Joined, commit, producer, record, settings};
use crate::runtime::support::{Bench, broker};
use crate::support::Topics;

const PATIENCE: Duration = Duration::from_secs(30);

fn fetcher(bench: &Bench, group: &str) -> Fetcher {
    start(&bench.servers, &[], FetcherSettings { group: Some(group.to_owned()), ..small() })
}

/// A topic with a hundred values in each of two partitions, and a group's member.
fn filled(kafka: &Kafka, name: &str) -> (Bench, String, Joined) {
    let (bench, topic) = (Bench::bare(kafka, &format!("fetch-{name}")), fresh(name));
    Topics::new(&bench.servers).create(&topic, 2);
    let mut producer = producer(&bench.servers, settings(&topic));
    for number in 0..100 {
        (0..2).for_each(|partition| producer.append(&record(&topic, partition, &number.to_string())).unwrap());
    }
    commit(&mut producer).unwrap();
    let joined = Joined::new(&bench, &topic);
    (bench, topic, joined)
}

fn first(read: &Read, partition: i32) -> Option<i64> {
    read.records.iter().find(|record| record.partition == partition).map(|record| record.offset)
}

/// A transaction that has moved a position, and is open.
fn moved(bench: &Bench, joined: &Joined, topic: &str, position: i64) -> BaseProducer {
    let mut config = bench.client();
    config.set("transactional.id", format!("{topic}-mover"));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, KafkaOffset::Offset(position)).unwrap();
    let group = joined.consumer.group_metadata().unwrap();
    producer.send_offsets_to_transaction(&offsets, &group, PATIENCE).unwrap();
    producer
}

#[test]
fn r3_a_beginning_waits_for_the_transaction_that_may_change_it() {
    let (kafka, _guard) = broker();
    let (bench, topic, joined) = filled(kafka, "beginnings");
    let group = joined.member().group;
    moved(&bench, &joined, &topic, 10).commit_transaction(PATIENCE).unwrap();
    let open = moved(&bench, &joined, &topic, 30);

    let fetcher = fetcher(&bench, &group);
    (0..2).for_each(|partition| fetcher.assign_committed(&at(&topic, partition)));
    let mut read = Read::default();
    // What nobody has ever committed: the owner decides. By then the other one's position was asked for, too.
    read.until(&fetcher, "the other partition", |read| !read.others.is_empty());
    let Event::OutOfRange { at: which, position: None, start, end } = &read.others[0] else { panic!("{read:?}") };
    assert_eq!((which, *start, *end), (&at(&topic, 1), Offset(0), Offset(101)));
    fetcher.seek(&at(&topic, 1), Offset(40));
    read.until(&fetcher, "the other partition's end", |read| read.ends.contains_key(&at(&topic, 1)));
    assert_eq!((first(&read, 0), first(&read, 1)), (None, Some(40)), "from 10 on would be read twice");
    assert_eq!(fetcher.position(&at(&topic, 0)), None, "nobody knows yet");

    open.commit_transaction(PATIENCE).unwrap();
    read.until(&fetcher, "the end", |read| read.ends.contains_key(&at(&topic, 0)));
    assert_eq!(first(&read, 0), Some(30));
    // Given up and taken again, after more was committed: it begins there, and not where it was.
    moved(&bench, &joined, &topic, 70).commit_transaction(PATIENCE).unwrap();
    fetcher.pause(&at(&topic, 0));
    fetcher.assign_committed(&at(&topic, 0));
    let mut again = Read::default();
    fetcher.resume(&at(&topic, 0));
    again.until(&fetcher, "the end again", |read| read.ends.contains_key(&at(&topic, 0)));
    assert_eq!((first(&again, 0), again.records.len()), (Some(70), 30));
}

#[test]
fn r3_an_aborted_move_leaves_the_position_as_it_was() {
    let (kafka, _guard) = broker();
    let (bench, topic, joined) = filled(kafka, "unmoved");
    moved(&bench, &joined, &topic, 20).commit_transaction(PATIENCE).unwrap();
    let open = moved(&bench, &joined, &topic, 90);
    let fetcher = fetcher(&bench, &joined.member().group);
    fetcher.assign_committed(&at(&topic, 0));
    open.abort_transaction(PATIENCE).unwrap();
    let mut read = Read::default();
    read.until(&fetcher, "the end", |read| read.ends.contains_key(&at(&topic, 0)));
    assert_eq!((first(&read, 0), read.others.len()), (Some(20), 0));
}
