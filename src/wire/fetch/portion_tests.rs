//! Portions, read: every codec and shape of record, seeks, pauses, and what is damaged inside.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::position::Partition;
use crate::record::Header;
use crate::wire::batch::Entry;
use crate::wire::compression::Codec;
use crate::wire::fetch::Event;
use crate::wire::fetch::golden::{Golden, answer, batch, record};
use crate::wire::fetch::shared::{Command, Waiting};
use crate::wire::fetch::sorting::sort;

const MAX_PLAIN: usize = 1 << 20;

/// A record as it was read: offset, time, key, value, headers.
type Read = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Headers);

fn at() -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: Partition(3) }
}

/// A line with these batches in it, fetched from `position` on.
fn line(bytes: Bytes, position: i64) -> Arc<Shared> {
    let shared = Arc::new(Shared::default());
    shared.assign(&at(), position);
    deliver(&shared, bytes, position);
    shared
}

/// Hands over what was fetched under the newest ticket.
fn deliver(shared: &Shared, bytes: Bytes, position: i64) {
    let mut commands = Vec::new();
    shared.take_commands(&mut commands);
    let newest = commands.iter().rev().find_map(|command| match command {
        Command::Assign { slot, ticket, .. } | Command::Seek { slot, ticket, .. } => Some((*slot, *ticket)),
        _ => None,
    });
    let (slot, ticket) = newest.unwrap();
    let weight = Weight::new(bytes.len(), &shared.held);
    let sorted = sort(&bytes, position, vec![]);
    assert_eq!(sorted.bad, None);
    let runs = sorted.runs.into_iter().map(|run| (slot, ticket, Waiting::Run(run, Arc::clone(&weight))));
    shared.deliver(&mut runs.collect(), &mut Vec::new(), false);
}

fn portion(shared: &Arc<Shared>) -> Option<Portion> {
    match shared.take(None, MAX_PLAIN) {
        Some(Event::Records(portion)) => Some(portion),
        None => None,
        Some(other) => panic!("{other:?}"),
    }
}

fn read(portion: &mut Portion) -> Result<Vec<Read>, Unreadable> {
    let mut all = Vec::new();
    while let Some(record) = portion.next_record() {
        let record = record?;
        assert_eq!((record.topic, record.partition), ("t", Partition(3)));
        let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
        let (key, value) = (owned(record.key), owned(record.value));
        all.push((record.offset.0, record.timestamp.0, key, value, record.headers.clone()));
    }
    Ok(all)
}

fn offsets(shared: &Arc<Shared>) -> Vec<i64> {
    let mut all = Vec::new();
    while let Some(mut portion) = portion(shared) {
        all.extend(read(&mut portion).unwrap().into_iter().map(|(offset, ..)| offset));
    }
    all
}

fn many(base: i64, count: usize) -> Golden {
    batch(base, &vec![record(b"value"); count], Codec::None)
}

#[test]
fn r4_an_answer_is_held_until_the_last_of_it_is_read() {
    let bytes = answer([many(0, 2), many(2, 2)]);
    let size = bytes.len();
    let shared = line(bytes, 0);
    let held = || shared.held.load(Ordering::Relaxed);
    assert_eq!(held(), size);
    let mut portion = portion(&shared).unwrap();
    assert!(shared.take(None, MAX_PLAIN).is_none(), "one portion of a partition at a time");
    assert_eq!((read(&mut portion).unwrap().len(), held()), (4, size));
    drop(portion);
    assert_eq!((held(), shared.position(&at())), (0, Some(Offset(4))));
    let mut commands = Vec::new();
    shared.take_commands(&mut commands);
    assert!(matches!(commands[..], [Command::Freed { bytes, .. }] if bytes == size), "{commands:?}");
}

#[test]
fn what_is_not_read_comes_again_from_there() {
    let shared = line(answer([many(0, 3), many(3, 3), many(6, 1)]), 1);
    for expected in 1..7 {
        let mut portion = portion(&shared).unwrap();
        assert_eq!(portion.next_record().unwrap().unwrap().offset, Offset(expected));
        drop(portion);
        assert_eq!(shared.position(&at()), Some(Offset(expected + 1)));
    }
    assert_eq!(offsets(&shared), [0_i64; 0]);
    assert_eq!((shared.held.load(Ordering::Relaxed), shared.position(&at())), (0, Some(Offset(7))));
}

#[test]
fn r10_a_seek_voids_what_was_fetched_also_while_it_is_read() {
    let shared = line(answer([many(0, 5)]), 0);
    let mut open = portion(&shared).unwrap();
    assert_eq!(open.next_record().unwrap().unwrap().offset, Offset(0));
    shared.seek(&at(), 3);
    assert!(open.next_record().is_none());
    deliver(&shared, answer([many(0, 5)]), 3);
    drop(open);
    assert_eq!((shared.position(&at()), offsets(&shared)), (Some(Offset(3)), vec![3, 4]));
    assert_eq!(shared.held.load(Ordering::Relaxed), 0);
    shared.unassign(&at());
    assert_eq!(shared.position(&at()), None);
}

#[test]
fn a_pause_holds_and_a_resume_goes_on_where_it_was() {
    let shared = line(answer([many(0, 3)]), 0);
    let mut open = portion(&shared).unwrap();
    assert_eq!(open.next_record().unwrap().unwrap().offset, Offset(0));
    shared.pause(&at(), true);
    assert!(open.next_record().is_none());
    drop(open);
    assert!(portion(&shared).is_none());
    shared.pause(&at(), false);
    assert_eq!(offsets(&shared), [1, 2]);
}

#[test]
fn r4_paused_lines_give_way_and_nothing_is_lost() {
    let shared = line(answer([many(0, 3)]), 0);
    let mut open = portion(&shared).unwrap();
    assert_eq!(open.next_record().unwrap().unwrap().offset, Offset(0));
    shared.pause(&at(), true);
    assert_eq!(shared.evict(), [], "it is being read");
    drop(open);
    let evicted = shared.evict();
    assert_eq!((evicted.len(), evicted[0].position), (1, 1));
    assert_eq!(shared.held.load(Ordering::Relaxed), 0);
    shared.pause(&at(), false);
    assert_eq!(offsets(&shared), [0_i64; 0], "it is fetched again");
}

#[test]
fn times_are_the_records_or_the_brokers() {
    let entry = |time| Entry { timestamp: crate::record::Timestamp(time), ..record(b"v") };
    let made = || batch(0, &[entry(5_000), entry(4_000), entry(9_000)], Codec::Lz4);
    let times = |golden| {
        let shared = line(answer([golden]), 0);
        let mut portion = portion(&shared).unwrap();
        read(&mut portion).unwrap().into_iter().map(|(_, time, ..)| time).collect::<Vec<_>>()
    };
    assert_eq!(times(made()), [5_000, 4_000, 9_000]);
    assert_eq!(times(made().with_attributes(1 << 3)), [9_000; 3], "LogAppendTime is the batch's largest");
}

#[test]
fn damage_within_a_batch_is_told_with_its_place_and_told_again() {
    // A checksum says nothing of what was written wrong.
    let good = many(7, 3);
    let count = good.bytes.len();
    let cut = |at: usize, byte: u8| many(7, 3).with(at, &[byte]);
    let more = many(7, 3).with(57, &100_i32.to_be_bytes());
    for (golden, reason, offset) in [
        (cut(61, 0x7f), "a record that is not whole", 7),
        (cut(61, 1), "a record that is not whole", 7),
        (cut(count - 1, 8), "a record that is not whole", 9),
        (cut(57 + 3, 2), "bytes after the last record", 9),
        (cut(64, 0x70), "offset is not within", 7),
        (more, "100 records in", 7),
        (good.with_attributes(6), "there is no codec 6", 7),
        (many(7, 3).with_attributes(1), "gzip: ", 7),
    ] {
        let shared = line(answer([golden]), 0);
        for _ in 0..2 {
            let mut portion = portion(&shared).unwrap();
            let error = read(&mut portion).unwrap_err();
            assert!(error.reason.contains(reason), "{error}, not {reason}");
            assert_eq!(error.to_string(), format!("t-3@{offset}: {}", error.reason));
            assert_eq!(portion.next_record().unwrap().unwrap_err(), error);
        }
    }
}

#[test]
fn a_waiting_stream_thread_is_woken() {
    let shared = Arc::new(Shared::default());
    shared.assign(&at(), 0);
    let waiting = Arc::clone(&shared);
    let thread = std::thread::spawn(move || {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        matches!(waiting.take(Some(deadline), MAX_PLAIN), Some(Event::Records(_)))
    });
    deliver(&shared, answer([many(0, 1)]), 0);
    assert!(thread.join().unwrap());
}

fn headers() -> impl Strategy<Value = Headers> {
    let header = (".{0,8}", proptest::option::of(any::<Vec<u8>>())).prop_map(|(name, value)| Header { name, value });
    proptest::collection::vec(header, 0..4).prop_map(Headers)
}

fn reads() -> impl Strategy<Value = Vec<Read>> {
    let bytes = || proptest::option::of(any::<Vec<u8>>());
    let one = (0_i64..4_000_000_000_000, bytes(), bytes(), headers());
    proptest::collection::vec(one, 1..40).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        numbered.map(|(at, (time, key, value, headers))| (at as i64, time, key, value, headers)).collect()
    })
}

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

proptest! {
    #[test]
    fn n1_what_is_produced_is_what_is_read(records in reads(), codec in 0_usize..5, base in 0_i64..1 << 40) {
        let entry = |read: &Read| -> (i64, Option<Vec<u8>>, Option<Vec<u8>>, Headers) {
            (read.1, read.2.clone(), read.3.clone(), read.4.clone())
        };
        let owned: Vec<_> = records.iter().map(entry).collect();
        let entries: Vec<Entry<'_>> = owned
            .iter()
            .map(|(time, key, value, headers)| Entry {
                key: key.as_deref(),
                value: value.as_deref(),
                timestamp: crate::record::Timestamp(*time),
                headers,
            })
            .collect();
        // Twice: buffers that were used hold nothing of before.
        let count = records.len() as i64;
        let shared = line(answer([batch(base, &entries, CODECS[codec]), batch(base + count, &entries, CODECS[codec])]), base);
        let mut portion = portion(&shared).unwrap();
        let found = read(&mut portion).unwrap();
        let moved = |by: i64| records.iter().cloned().map(move |mut read| { read.0 += by; read });
        let expected: Vec<Read> = moved(base).chain(moved(base + count)).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn garbage_in_a_batch_is_refused_or_read_and_never_a_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        small in any::<bool>(),
        codec in 0_u8..8,
        count in 0_i32..200,
    ) {
        if small {
            bytes.iter_mut().for_each(|byte| *byte &= 0x1f);
        }
        let mut golden = batch(0, &[record(b"")], Codec::None);
        golden.bytes.truncate(61);
        golden.bytes.extend(&bytes);
        let length = i32::try_from(golden.bytes.len() - 12).unwrap();
        let golden = golden
            .with(8, &length.to_be_bytes())
            .with(23, &count.to_be_bytes())
            .with(57, &count.to_be_bytes())
            .with_attributes(codec);
        let shared = line(answer([golden]), 0);
        if let Some(mut portion) = portion(&shared) {
            let mut headers = 0;
            for _ in 0..count {
                let Some(Ok(record)) = portion.next_record() else { break };
                headers += record.headers.0.len();
            }
            prop_assert!(headers <= MAX_PLAIN);
        }
    }
}
