//! What a committed reader sees: transactions of several producers that commit, abort and are still open, in every codec.

use headrace::position::{Offset, Partition};
use headrace::record::{Header, Headers, Timestamp};
use headrace::wire::Codec;
use headrace::wire::fetch::{Event, Fetcher};
use headrace::wire::producer::{Outgoing, Producer, ProducerSettings};

use super::support::{Read, at, fetcher, fresh, start, to_the_ends};
use crate::produce::support::{commit, end, initialise, producer, settings};
use crate::runtime::support::{Bench, broker};
use crate::support::{Topics, eventually};

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const PARTITIONS: i32 = 2;
const ROUNDS: usize = 60;

fn append(producer: &mut Producer, topic: &str, number: usize) {
    let key = number.to_string();
    // Some of it compresses, some does not.
    let mut value = "compressible ".repeat(number % 40).into_bytes();
    value.extend((0..number % 300).map(|_| fastrand::u8(..)));
    let mut headers = Headers::new();
    for name in 0..number % 3 {
        headers.0.push(Header { name: format!("h{name}"), value: (name > 0).then(|| key.clone().into_bytes()) });
    }
    let record = Outgoing {
        topic,
        partition: Some(Partition(i32::try_from(number).unwrap() % PARTITIONS)),
        key: (!number.is_multiple_of(5)).then_some(key.as_bytes()),
        value: (!number.is_multiple_of(7)).then_some(value.as_slice()),
        timestamp: Timestamp::NONE,
        headers: &headers,
        named: false,
        slot: None,
    };
    producer.append(&record).unwrap();
}

/// Several producers, one of each codec, with small batches: they take turns within each other's transactions, which end
/// one way or the other. The last one's last transaction stays open until it is given back to be committed.
fn interleaved(bench: &Bench, topic: &str) -> Producer {
    let small = |codec: Codec| ProducerSettings {
        codec,
        batch_bytes: 2_000,
        transaction_timeout: std::time::Duration::from_secs(60),
        ..settings(&format!("{topic}-{codec:?}"))
    };
    let mut producers: Vec<Producer> = CODECS.map(|codec| producer(&bench.servers, small(codec))).into();
    let mut number = 0;
    for round in 0..ROUNDS {
        for producer in &mut producers {
            for _ in 0..fastrand::usize(..60) {
                append(producer, topic, number);
                number += 1;
            }
            // What lingers is sent, so that batches of several transactions take turns.
            producer.serve(std::time::Duration::from_millis(6)).unwrap();
        }
        let ending = &mut producers[round % CODECS.len()];
        if round % 3 == 0 { initialise(ending) } else { drop(commit(ending).unwrap()) }
    }
    for producer in &mut producers[..CODECS.len() - 1] {
        commit(producer).unwrap();
    }
    let mut open = producers.pop().unwrap();
    let before = ends(bench, topic);
    append(&mut open, topic, number);
    append(&mut open, topic, number + 1);
    eventually("what stays open is there", || {
        open.serve(std::time::Duration::from_millis(5)).unwrap();
        let now = ends(bench, topic);
        let grown = now.iter().zip(&before).all(|(now, before)| now > before);
        if grown { Ok(()) } else { Err(format!("{before:?}, and now {now:?}")) }
    });
    // Behind what is open: committed, and not to be seen yet.
    (0..200).for_each(|number| append(&mut producers[0], topic, number));
    commit(&mut producers[0]).unwrap();
    open
}

fn ends(bench: &Bench, topic: &str) -> Vec<i64> {
    (0..PARTITIONS).map(|partition| end(bench, topic, partition)).collect()
}

/// Records with an end at the same place: librdkafka's reader, and ours in fresh and in small steps.
fn alike(fetcher: &Fetcher, topics: &Topics, topic: &str) -> (usize, Vec<Offset>) {
    let read = to_the_ends(fetcher, 2);
    let ends = read.ends.values().copied().collect();
    let (expected, found) = (topics.read(topic), read.sorted());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    (found.len(), ends)
}

#[test]
fn r3_r7_r22_it_reads_what_librdkafkas_committed_reader_reads() {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, "fetch-committed");
    let topics = Topics::new(&bench.servers);
    let topic = fresh("committed");
    topics.create(&topic, PARTITIONS);
    let mut open = interleaved(&bench, &topic);
    let (count, ends) = alike(&fetcher(&bench.servers, &topic, PARTITIONS), &topics, &topic);
    assert!(count > 1_000, "{count}");
    for (partition, stable) in (0..).zip(&ends) {
        assert!(stable.0 < end(&bench, &topic, partition), "an open transaction holds the end back (LSO)");
    }
    // From the middle on, within transactions and batches.
    for part in 1..8 {
        let middle = Offset(ends[0].0 * part / 8);
        let fetcher = start(&bench.servers, &[], super::support::small());
        fetcher.assign(&at(&topic, 0), middle);
        let found = to_the_ends(&fetcher, 1).sorted();
        let mut expected = topics.read(&topic);
        expected.retain(|record| record.partition == 0 && record.offset >= middle.0);
        assert_eq!(found, expected);
    }
    commit(&mut open).unwrap();
    eventually("all is stable", || {
        let fetcher = fetcher(&bench.servers, &topic, PARTITIONS);
        let (now, ends) = alike(&fetcher, &topics, &topic);
        // Past the markers: where a group's position has to be, or its lag is never 0.
        for (partition, end) in (0..).zip(&ends) {
            assert_eq!(fetcher.position(&at(&topic, partition)), Some(*end));
        }
        let last: Vec<Offset> = (0..PARTITIONS).map(|partition| Offset(end(&bench, &topic, partition))).collect();
        if now == count + 202 && ends == last { Ok(()) } else { Err(format!("{now} records to {ends:?} of {last:?}")) }
    });
}

#[test]
fn r22_the_end_is_told_again_when_more_was_read() {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, "fetch-end");
    let topics = Topics::new(&bench.servers);
    let topic = fresh("end");
    topics.create(&topic, PARTITIONS);
    let fetcher = fetcher(&bench.servers, &topic, PARTITIONS);
    assert_eq!(to_the_ends(&fetcher, 2).ends.into_values().collect::<Vec<_>>(), [Offset(0), Offset(0)]);
    let mut producer = producer(&bench.servers, settings(&topic));
    for round in 1..4 {
        append(&mut producer, &topic, 2);
        append(&mut producer, &topic, 4);
        commit(&mut producer).unwrap();
        let mut read = Read::default();
        read.until(&fetcher, "the new end", |read| read.ends.contains_key(&at(&topic, 0)));
        let values: Vec<_> = read.records.iter().map(|record| record.key.clone().unwrap()).collect();
        assert_eq!(values, [b"2", b"4"]);
        assert_eq!(read.ends.into_iter().collect::<Vec<_>>(), [(at(&topic, 0), Offset(3 * round))]);
    }
    assert!(matches!(fetcher.poll(super::support::WAIT), Event::Idle));
}
