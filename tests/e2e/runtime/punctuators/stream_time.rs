//! Ticks of stream time go by the records alone: the same after kills and replays as without any.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use headrace::record::{Headers, Timestamp};
use headrace::testing::TopologyDriver;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::wait;

use super::super::child::{Kind, Process};
use super::super::support::{Bench, PARTITIONS, PATIENCE, Read, broker};
use super::{COMMIT, INTERVAL, Told, new_bench, summing, told, wait_open};

/// A quarter of an hour before the first record.
pub(super) const ANCHOR: i64 = START - 900_017;
const START: i64 = 1_700_000_000_000;
const NUMBERS: i64 = 120_000;

/// Partition, key, value and timestamp: mostly in order, some late, a leap now and then.
fn input() -> impl Iterator<Item = (i32, String, String, i64)> {
    (0..NUMBERS).map(|number| {
        let partition = i32::try_from(number).expect("few") % PARTITIONS;
        let (late, leaps) = (if number % 11 == 0 { 70 } else { 0 }, number / 1000 * 350);
        let key = format!("p{partition}-{}", number / 4 % 7);
        (partition, key, (number % 1000).to_string(), START + number * 3 + leaps - late)
    })
}

fn produce(bench: &Bench) {
    let mut config = bench.client();
    // Idempotent, or a retry could change the order that the ticks go by.
    let producer: BaseProducer =
        config.set("linger.ms", "5").set("enable.idempotence", "true").create().expect("producer");
    let topic = bench.input();
    for (partition, key, value, timestamp) in input() {
        let mut record = BaseRecord::to(&topic).partition(partition).key(&key).payload(&value).timestamp(timestamp);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(5));
            record = back;
        }
    }
    producer.flush(PATIENCE).expect("flush");
}

/// The ticks go by the order of the records.
fn check_input(bench: &Bench) {
    let partition = |key: &str| key.split_once('-').expect("p0-0").0.to_owned();
    let (mut wanted, mut found) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::<String, Vec<String>>::new());
    input().for_each(|(_, key, value, _)| wanted.entry(partition(&key)).or_default().push(value));
    for Read { key, value, .. } in bench.read(&bench.input()) {
        found.entry(partition(&key)).or_default().push(value.expect("a value"));
    }
    assert!(found == wanted, "the input is not as it was sent");
}

/// What the same topology makes of the same input without a broker, and without a kill.
fn expected(bench: &Bench) -> BTreeMap<String, Vec<Told>> {
    let mut driver = TopologyDriver::new(summing(bench, Duration::ZERO)).expect("driver");
    for (partition, key, value, timestamp) in input() {
        driver.record_time = Some(Timestamp(timestamp));
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        driver.send(&bench.input(), partition, key, value, &Headers::new()).expect("sent");
    }
    let mut told = BTreeMap::<String, Vec<Told>>::new();
    for record in driver.take(&bench.output()) {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.expect("bytes")).expect("text");
        told.entry(text(record.key)).or_default().push(Told::from(&text(record.value)));
    }
    told
}

/// The first tick of which the two do not tell the same, by its key and its number from 0.
fn difference(
    found: &BTreeMap<String, Vec<Told>>,
    expected: &BTreeMap<String, Vec<Told>>,
) -> Option<(String, usize, Option<Told>, Option<Told>)> {
    let keys = found.keys().chain(expected.keys());
    let at = |told: &BTreeMap<String, Vec<Told>>, key: &String, number| told.get(key)?.get(number).cloned();
    let count = |key| found.get(key).map_or(0, Vec::len).max(expected.get(key).map_or(0, Vec::len));
    let mut ticks = keys.flat_map(|key| (0..count(key)).map(move |number| (key, number)));
    let (key, number) = ticks.find(|(key, number)| at(found, key, *number) != at(expected, key, *number))?;
    Some((key.clone(), number, at(found, key, number), at(expected, key, number)))
}

fn kill_at_work(bench: &Bench, directory: &Path, expected: usize, kills: usize) {
    let step = i64::try_from(expected / (2 * kills + 2)).expect("few");
    for _ in 0..kills {
        let before = bench.output_end();
        let process = Process::start(bench, Kind::StreamTime, "one", directory, COMMIT);
        wait::until("some output", PATIENCE, || match bench.output_end() - before {
            more if more >= step => Ok(()),
            more => Err(format!("{more} records")),
        })
        .expect("progress");
        wait_open(bench);
        process.kill();
    }
}

#[test]
fn r27_ticks_of_stream_time_are_the_same_under_kill_and_replay() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (new_bench(kafka, "sums"), tempfile::tempdir().expect("directory"));
    produce(&bench);
    check_input(&bench);
    let expected = expected(&bench);
    let records: usize = expected.values().map(Vec::len).sum();
    assert!(records > 1000 && expected.values().flatten().any(|told| told.missed > 0), "{records} records");
    kill_at_work(&bench, directory.path(), records, 5);
    let (committed, end) = bench.progress();
    assert!(committed > 0 && committed < end, "the kills were to meet it at work: {committed} of {end}");
    let last = bench.run_topology(summing(&bench, Duration::ZERO), bench.options("one", directory.path()));
    bench.wait_drained();
    last.stop().expect("stopped");
    let committed = told(bench.read(&bench.output()));
    assert_eq!(difference(&committed, &expected), None, "not what a run without kills gives");
    let anchored =
        expected.values().flatten().all(|told| (told.at - ANCHOR) % i64::try_from(INTERVAL).expect("small") == 0);
    assert!(anchored, "and on their anchor");
    let aborted = told(bench.read_as(&bench.output(), "read_uncommitted"));
    assert!(aborted != expected, "no kill met an open transaction, so this proved nothing");
}
