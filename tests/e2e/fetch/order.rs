//! Seeks, pauses, bounds of memory, gaps, and positions that are not in the log.

use std::time::Duration;

use headrace::position::{Offset, Partition};
use headrace::wire::Connection;
use headrace::wire::fetch::{Event, FetcherSettings};
use headrace::wire::producer::Outgoing;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{ApiKey, DeleteRecordsRequest, DeleteRecordsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use testbed::{Kafka, Testbed};

use super::support::{Read, WAIT, at, fetcher, fresh, small, start, to_the_ends};
use crate::produce::support::{commit, producer, record, settings};
use crate::runtime::support::{Bench, broker, tokio};
use crate::support::{Topics, eventually};

const PARTITIONS: i32 = 4;
const EACH: i64 = 20_000;

/// A topic with a value per offset in each partition.
fn filled(name: &str, each: i64) -> (Bench, String) {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, name);
    let topic = fresh(name);
    Topics::new(&bench.servers).create(&topic, PARTITIONS);
    let mut producer = producer(&bench.servers, settings(&topic));
    for number in 0..each {
        for partition in 0..PARTITIONS {
            producer.append(&record(&topic, partition, &format!("value-{number:090}"))).unwrap();
        }
    }
    commit(&mut producer).unwrap();
    eventually("the markers are in every partition", || {
        let ends = to_the_ends(&fetcher(&bench.servers, &topic, PARTITIONS), 4).ends;
        if ends.values().all(|end| end.0 == each + 1) { Ok(()) } else { Err(format!("{ends:?}")) }
    });
    (bench, topic)
}

#[test]
fn r4_r10_seeks_and_pauses_under_load_lose_and_repeat_nothing() {
    let (bench, topic) = filled("seek", EACH);
    let fetcher = fetcher(&bench.servers, &topic, PARTITIONS);
    let bound = small().buffer_bytes + small().partition_bytes * 8;
    let mut expected = [0_i64; PARTITIONS as usize];
    let (mut seeks, mut pauses, mut most) = (0, 0, 0);
    let begun = std::time::Instant::now();
    while expected.iter().any(|next| *next < EACH) {
        assert!(begun.elapsed() < crate::support::DEADLINE, "{expected:?}");
        let Event::Records(mut portion) = fetcher.poll(WAIT) else { continue };
        most = most.max(fetcher.held_bytes());
        let which = portion.partition().clone();
        let next = &mut expected[usize::try_from(which.partition.0).unwrap()];
        let mut stop = fastrand::usize(1..200);
        while let Some(record) = portion.next_record() {
            let offset = record.unwrap().offset.0;
            assert_eq!(offset, *next, "{which}");
            *next += 1;
            stop -= 1;
            if stop == 0 {
                break;
            }
        }
        if stop > 0 {
            continue;
        }
        match fastrand::usize(..8) {
            // Some back, some ahead, while others of it are on their way.
            0 if seeks < 60 => {
                seeks += 1;
                *next = (*next + fastrand::i64(-3_000..100)).clamp(0, EACH - 1);
                fetcher.seek(&which, Offset(*next));
                assert!(portion.next_record().is_none(), "what is being read is void at once");
            }
            1 if pauses < 200 => {
                pauses += 1;
                fetcher.pause(&which);
                assert!(portion.next_record().is_none());
                drop(portion);
                let others = fetcher.poll(Duration::ZERO);
                assert!(!matches!(&others, Event::Records(other) if *other.partition() == which));
                drop(others);
                fetcher.resume(&which);
            }
            _ => {}
        }
    }
    assert!(seeks > 10 && pauses > 10, "{seeks} seeks, {pauses} pauses");
    assert!(most > 0 && most <= bound, "{most} bytes were held, {bound} are allowed");
}

#[test]
fn r4_paused_partitions_do_not_starve_others_of_room() {
    let (bench, topic) = filled("starve", EACH);
    let settings = FetcherSettings { buffer_bytes: 64 << 10, ..small() };
    let fetcher = start(&bench.servers, &[], settings);
    for partition in 0..PARTITIONS {
        fetcher.assign(&at(&topic, partition), Offset(0));
    }
    let mut read = Read::default();
    // One after the other: the rest is paused with what was fetched of it.
    for partition in 0..PARTITIONS {
        (0..PARTITIONS).for_each(|other| fetcher.pause(&at(&topic, other)));
        fetcher.resume(&at(&topic, partition));
        read.until(&fetcher, "the end of one", |read| read.ends.contains_key(&at(&topic, partition)));
    }
    assert_eq!(read.sorted().len(), usize::try_from(EACH * i64::from(PARTITIONS)).unwrap());
}

#[test]
fn r3_a_position_that_retention_has_passed_is_told_with_the_bounds() {
    let (bench, topic) = filled("range", 100);
    let delete = DeleteRecordsPartition::default().with_partition_index(0).with_offset(40);
    let delete = DeleteRecordsTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.clone())))
        .with_partitions(vec![delete]);
    let request = DeleteRecordsRequest::default().with_topics(vec![delete]).with_timeout_ms(10_000);
    let cluster = headrace::wire::Settings::new(&bench.servers, []).unwrap();
    tokio().block_on(async {
        let connection = Connection::open(&cluster.bootstrap_servers[0], &cluster).await.unwrap();
        let response: DeleteRecordsResponse =
            crate::support::raw::ask(&connection, ApiKey::DeleteRecords, 2, &request).await.unwrap();
        assert_eq!(response.topics[0].partitions[0].error_code, 0);
    });
    // Before the start, and after the end.
    for position in [10, 1_000] {
        let fetcher = start(&bench.servers, &[], small());
        fetcher.assign(&at(&topic, 0), Offset(position));
        let mut read = Read::default();
        read.until(&fetcher, "the loss", |read| !read.others.is_empty());
        let Event::OutOfRange { at: which, position: told, start, end } = &read.others[0] else { panic!("{read:?}") };
        // 100 records and the marker of their commit.
        assert_eq!((which, told.unwrap().0, start.0, end.0), (&at(&topic, 0), position, 40, 101));
        assert!(read.records.is_empty(), "nothing is passed over in silence");
        let start = *start;
        fetcher.seek(&at(&topic, 0), start);
        let read = to_the_ends(&fetcher, 1);
        assert_eq!((read.records.len(), read.records[0].offset), (60, 40));
    }
}

#[test]
fn r7_gaps_that_compaction_left_are_passed() {
    // A cleaner that looks all the time, and has nothing else to do: among many topics one waited for it for a minute.
    let kafka = Kafka::builder().unwrap().property("log.cleaner.backoff.ms", "100");
    let bed = Testbed::builder().kafka_with(kafka).start().unwrap();
    let bench = Bench::bare(bed.kafka().unwrap(), "fetch-gaps");
    let topics = Topics::new(&bench.servers);
    let topic = fresh("gaps");
    let eager = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
        ("segment.ms", "200"),
    ];
    topics.create_with(&topic, 1, &eager);
    let mut producer = producer(&bench.servers, settings(&topic));
    let mut round = 0;
    eventually("the cleaner leaves gaps", || {
        round += 1;
        for number in 0..300 {
            // The first key of a round stays for ever, and what follows it goes: the gap is between records, and not only
            // before the first one.
            let key = if number == 0 { format!("round {round}") } else { (number % 17).to_string() };
            let value = format!("{number}");
            let record = Outgoing { key: Some(key.as_bytes()), ..record(&topic, 0, &value) };
            producer.append(&record).unwrap();
        }
        commit(&mut producer).unwrap();
        let fetcher = fetcher(&bench.servers, &topic, 1);
        let found = to_the_ends(&fetcher, 1);
        let gaps = found.records.windows(2).filter(|pair| pair[1].offset > pair[0].offset + 50).count();
        if gaps == 0 { Err(format!("{} records", found.records.len())) } else { Ok(()) }
    });
    // Nothing is cleaned between two looks that are the same.
    eventually("both readers agree", || {
        let before = topics.read(&topic);
        let found = to_the_ends(&fetcher(&bench.servers, &topic, 1), 1);
        let end = found.ends[&at(&topic, 0)];
        let found = found.sorted();
        let same = topics.read(&topic) == before && end == Offset(topics.end(&topic, 0));
        if same && found == before { Ok(()) } else { Err(format!("{} and {}", found.len(), before.len())) }
    });
    assert_eq!(at(&topic, 0).partition, Partition(0));
}
