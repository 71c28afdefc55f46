//! Every acquired offset once: records in every codec, holes, markers, and what is damaged where.

use proptest::prelude::*;

use super::super::golden::{self, hex, mutated};
use super::*;
use crate::record::Header;
use crate::wire::compression::Codec;
use crate::wire::fetch::golden::{Golden, answer, batch, marker, record, transactional};

const MAX_PLAIN: usize = 1 << 20;
const LAST_DELTA: usize = 23;
const COUNT: usize = 57;

fn acquired(ranges: &[(i64, i64)]) -> Vec<Acquired> {
    let counted = ranges.iter().zip(1..);
    counted.map(|((first, last), count)| Acquired { first: *first, last: *last, delivery_count: count }).collect()
}

fn found(records: &Bytes, acquired: &[Acquired]) -> Vec<Found> {
    let mut all = Vec::new();
    read(records, acquired, &mut Tools::new(MAX_PLAIN), |found| all.push(found));
    all
}

/// What is told, in short: `3×1` is the record at 3 in its first delivery. Ranges are counted from 1 on.
fn told(records: &Bytes, ranges: &[(i64, i64)]) -> String {
    let short = |found: Found| match found {
        Found::Record { offset, delivery_count, .. } => format!("{offset}×{delivery_count}"),
        Found::Gap { first, last } => format!("gap {first}-{last}"),
        Found::Damaged { first, last, reason } => format!("damaged {first}-{last} ({reason})"),
    };
    found(records, &acquired(ranges)).into_iter().map(short).collect::<Vec<_>>().join(", ")
}

fn many(base: i64, count: usize) -> Golden {
    batch(base, &vec![record(b"value"); count], Codec::None)
}

/// A batch of three records whose offsets compaction has left at these distances from its base.
fn compacted(base: i64, deltas: [u8; 3], last_delta: i32) -> Golden {
    let whole = many(base, 3);
    let size = (whole.bytes.len() - HEADER) / 3;
    // Behind length, attributes and time of a byte each.
    let place = |number: usize| HEADER + number * size + 3;
    let with = |golden: Golden, number: usize| golden.with(place(number), &[deltas[number] * 2]);
    (0..3).fold(whole, with).with(LAST_DELTA, &last_delta.to_be_bytes())
}

/// Not what was written, but for its header's first fields.
fn broken(golden: Golden) -> Golden {
    let mut bytes = golden.bytes;
    *bytes.last_mut().unwrap() ^= 1;
    Golden { bytes }
}

#[test]
fn r7_records_of_every_codec_of_kafka_are_given_as_they_were_written() {
    let header = |name: &str, value: Option<&[u8]>| Header { name: name.to_owned(), value: value.map(<[u8]>::to_vec) };
    let headers = Headers(vec![header("h", Some(b"x")), header("n", None)]);
    for records in [golden::PLAIN, golden::GZIP, golden::SNAPPY, golden::LZ4, golden::ZSTD] {
        let record = |offset, time, (key, value): (Option<&'static str>, Option<&'static str>), headers: &Headers| {
            let (key, value) = (key.map(Bytes::from), value.map(Bytes::from));
            let (timestamp, headers) = (Timestamp(time), headers.clone());
            Found::Record { offset, timestamp, key, value, headers, delivery_count: 1 }
        };
        let wanted = [
            record(100, 1000, (Some("k0"), Some("v0")), &Headers::new()),
            record(101, 1005, (None, Some("v1")), &headers),
            record(102, 900, (Some("k2"), None), &Headers::new()),
            record(103, 1000, (Some("k3"), Some("")), &Headers::new()),
        ];
        assert!(found(&hex(records), &acquired(&[(100, 103)])) == wanted, "{records}");
    }
}

#[test]
fn r7_only_what_is_acquired_is_given_and_each_with_its_delivery_count() {
    let records = answer([many(0, 5), many(5, 5), many(10, 5)]);
    assert_eq!(told(&records, &[(3, 3), (4, 6), (13, 13)]), "3×1, 4×2, 5×2, 6×2, 13×3");
    assert_eq!(told(&records, &[(7, 7)]), "7×1");
    assert_eq!(told(&records, &[]), "");
}

#[test]
fn r7_offsets_without_records_are_gaps() {
    let records = answer([many(2, 2), compacted(10, [1, 4, 5], 7), many(20, 1)]);
    assert_eq!(
        told(&records, &[(0, 24)]),
        "gap 0-1, 2×1, 3×1, gap 4-10, 11×1, gap 12-13, 14×1, 15×1, gap 16-19, 20×1, gap 21-24"
    );
    // Never beyond what is acquired.
    assert_eq!(told(&records, &[(5, 6), (8, 9), (13, 14), (17, 17)]), "gap 5-6, gap 8-9, gap 13-13, 14×3, gap 17-17");
    assert_eq!(told(&Bytes::new(), &[(3, 4), (7, 7)]), "gap 3-4, gap 7-7");
}

#[test]
fn r7_markers_are_gaps_and_records_of_transactions_are_given() {
    let records = answer([transactional(0, 7, &["a", "b"]), marker(2, 7, 1), many(3, 1)]);
    assert_eq!(told(&records, &[(0, 3)]), "0×1, 1×1, gap 2-2, 3×1");
    let kafka: Bytes = [hex(golden::PLAIN), hex(golden::COMMIT)].concat().into();
    assert_eq!(told(&kafka, &[(103, 105)]), "103×1, gap 104-105");
}

#[test]
fn r7_a_damaged_batch_takes_nothing_with_it_but_what_may_be_its_own() {
    let bad = broken(many(5, 5));
    let reason = format!("({})", Batch::at_start(&bad.bytes).unwrap().unwrap().check(&bad.bytes).unwrap_err());
    let records = answer([many(0, 5), bad, many(12, 3)]);
    assert_eq!(told(&records, &[(3, 12)]), format!("3×1, 4×1, damaged 5-11 {reason}, 12×1"));
    assert_eq!(
        told(&records, &[(6, 6), (8, 8), (14, 14)]),
        format!("damaged 6-6 {reason}, damaged 8-8 {reason}, 14×3")
    );
    // It says that it ends at 5 or at 4004; what it has is not lost as a gap, and the next batch's records are given.
    for last_delta in [0_i32, 3999] {
        let mut lying = broken(many(5, 5));
        lying.bytes[LAST_DELTA..LAST_DELTA + 4].copy_from_slice(&last_delta.to_be_bytes());
        let told = told(&answer([lying, many(10, 2)]), &[(5, 12)]);
        assert!(told.starts_with("damaged 5-9 (") && told.ends_with("), 10×1, 11×1, gap 12-12"), "{told}");
    }
    let last = answer([compacted(0, [0, 1, 2], 3), broken(many(6, 5))]);
    assert!(told(&last, &[(0, 20)]).starts_with("0×1, 1×1, 2×1, gap 3-3, damaged 4-20 ("));
}

#[test]
fn r7_what_is_cut_off_or_no_batch_is_damaged_and_no_gap() {
    let whole = answer([many(0, 2), many(4, 4)]);
    for cut in [1, 20, 70] {
        let told = told(&whole.slice(..whole.len() - cut), &[(1, 2), (5, 9)]);
        let reason = "(a batch that is cut off)";
        assert_eq!(told, format!("1×1, damaged 2-2 {reason}, damaged 5-9 {reason}"));
    }
    // What is left of a whole batch is a gap all the same.
    let tail = told(&answer([compacted(0, [0, 1, 2], 5), broken(many(8, 2))]).slice(..150), &[(0, 9)]);
    assert_eq!(tail, "0×1, 1×1, 2×1, gap 3-5, damaged 6-9 (a batch that is cut off)");
    let mut old = many(4, 4);
    old.bytes[16] = 1;
    let old = told(&answer([many(0, 2), old]), &[(0, 9)]);
    assert!(old.starts_with("0×1, 1×1, damaged 2-9 (message format 1, of Kafka before 0.11"), "{old}");
    let back = told(&answer([many(4, 4), many(6, 4)]), &[(5, 9)]);
    assert_eq!(back, "5×1, 6×1, 7×1, damaged 8-9 (a batch from 6 on comes after 7)");
    // What nobody has acquired may be damaged.
    assert_eq!(told(&answer([many(0, 2), broken(many(2, 2))]), &[(0, 1)]), "0×1, 1×1");
}

#[test]
fn r7_a_batch_that_can_not_be_unpacked_is_damaged_alone() {
    let packed = |codec| batch(2, &[record(&[b'x'; 100]); 3], codec);
    for (codec, name) in [(Codec::Gzip, "gzip"), (Codec::Snappy, "snappy"), (Codec::Lz4, "lz4"), (Codec::Zstd, "zstd")]
    {
        let garbage = packed(codec).with(HEADER, &[0xee; 12]);
        let told = told(&answer([many(0, 2), garbage, many(5, 1)]), &[(1, 5)]);
        assert!(told.starts_with(&format!("1×1, damaged 2-4 ({name}: ")) && told.ends_with("), 5×1"), "{told}");
    }
    let unknown = many(2, 3).with_attributes(5);
    assert_eq!(told(&answer([unknown, many(5, 1)]), &[(2, 5)]), "damaged 2-4 (there is no codec 5), 5×1");
}

#[test]
fn o6_a_batch_that_grows_beyond_the_bound_is_damaged() {
    let large = vec![0; 10_000];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let records = answer([batch(0, &[record(&large)], codec), many(1, 1)]);
        let mut all = Vec::new();
        read(&records, &acquired(&[(0, 1)]), &mut Tools::new(5_000), |found| all.push(format!("{found:?}")));
        assert!(all[0].starts_with("Damaged(0 to 0: ") && all[0].contains("more than 5000"), "{all:?}");
        assert_eq!(all[1], "Record(1, delivery 1)");
    }
}

#[test]
fn r7_records_that_are_not_what_their_batch_says_are_damaged_from_there_on() {
    let told_of = |bad: Golden| told(&answer([bad, many(9, 1)]), &[(0, 9)]);
    let size = (many(0, 3).bytes.len() - HEADER) / 3;
    let longer = many(0, 3).with(HEADER + size, &[120]);
    assert_eq!(told_of(longer), "0×1, damaged 1-2 (a record that is not whole), gap 3-8, 9×1");
    let order = "(a record whose offset is not where it should be in its batch)";
    assert_eq!(told_of(compacted(0, [0, 2, 2], 5)), format!("0×1, gap 1-1, 2×1, damaged 3-5 {order}, gap 6-8, 9×1"));
    assert_eq!(told_of(compacted(0, [1, 2, 7], 5)), format!("gap 0-0, 1×1, 2×1, damaged 3-5 {order}, gap 6-8, 9×1"));
    let fewer = many(0, 3).with(COUNT, &2_i32.to_be_bytes());
    assert_eq!(told_of(fewer), "0×1, 1×1, damaged 2-2 (bytes after the last record of a batch), gap 3-8, 9×1");
    let more = many(0, 3).with(COUNT, &4_i32.to_be_bytes());
    assert_eq!(told_of(more), "0×1, 1×1, 2×1, gap 3-8, 9×1", "nothing is left that it could be");
    let far_more = many(0, 3).with(COUNT, &i32::MAX.to_be_bytes());
    assert_eq!(told_of(far_more), format!("damaged 0-2 (2147483647 records in {} bytes), gap 3-8, 9×1", 3 * size));
}

#[test]
fn r7_a_record_with_broken_headers_is_damaged_alone() {
    let headers = Headers(vec![Header { name: "name".to_owned(), value: Some(b"value".to_vec()) }]);
    let with = crate::wire::batch::Entry { headers: &headers, ..record(b"v") };
    let whole = batch(0, &[with, record(b"v")], Codec::None);
    let name = whole.bytes.windows(4).position(|bytes| bytes == b"name").unwrap();
    assert_eq!(told(&answer([whole]), &[(0, 1)]), "0×1, 1×1");
    let broken = batch(0, &[with, record(b"v")], Codec::None).with(name - 1, &[100]);
    assert_eq!(told(&answer([broken]), &[(0, 1)]), "damaged 0-0 (headers that are not whole), 1×1");
}

// The broker gives ranges in order and apart; whatever it does, nothing is told twice.
#[test]
fn ranges_that_overlap_or_lie_are_told_once() {
    let records = answer([many(0, 5)]);
    assert_eq!(told(&records, &[(3, 4), (0, 1)]), "0×2, 1×2, 3×1, 4×1");
    assert_eq!(told(&records, &[(0, 3), (2, 4), (1, 1)]), "0×1, 1×1, 2×1, 3×1, 4×2");
    assert_eq!(told(&records, &[(4, 2), (-9, 0), (4, i64::MAX)]), format!("0×2, 4×3, gap 5-{}", i64::MAX - 1));
    assert_eq!(told(&records, &[(-9, -1), (i64::MAX, i64::MAX)]), "");
}

#[test]
fn keys_and_values_share_memory() {
    let spans = |records: &Bytes| -> Vec<std::ops::Range<usize>> {
        let of =
            |bytes: Option<Bytes>| bytes.map(|bytes| bytes.as_ptr() as usize..bytes.as_ptr() as usize + bytes.len());
        let both = |found| match found {
            Found::Record { key, value, .. } => [of(key).unwrap(), of(value).unwrap()],
            other => panic!("{other:?}"),
        };
        found(records, &acquired(&[(0, 2)])).into_iter().flat_map(both).collect()
    };
    let plain = answer([many(0, 3)]);
    let frame = plain.as_ptr() as usize..plain.as_ptr() as usize + plain.len();
    assert!(spans(&plain).iter().all(|span| frame.start <= span.start && span.end <= frame.end));
    let packed = spans(&answer([batch(0, &[record(b"value"); 3], Codec::Lz4)]));
    assert!(
        packed.is_sorted_by(|one, next| one.end <= next.start && next.start - one.end < 10),
        "one buffer: {packed:?}"
    );
}

/// One batch to be: how far behind the last one, how many records, in which codec, and whether it is damaged.
type Plan = (i64, usize, u8, bool);

fn codec(number: u8) -> Codec {
    [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd][usize::from(number)]
}

/// The batches of a plan, and what is at each offset up to the end: a record, damage, or nothing.
fn planned(plans: &[Plan]) -> (Bytes, Vec<Option<bool>>) {
    let (mut bytes, mut offsets): (Vec<u8>, Vec<Option<bool>>) = (Vec::new(), Vec::new());
    let mut doubt = None;
    for (distance, count, number, damaged) in plans {
        offsets.extend((0..*distance).map(|_| damaged.then_some(false).or(doubt)));
        let whole = batch(offsets.len() as i64, &vec![record(b"value"); *count], codec(*number));
        bytes.extend(if *damaged { broken(whole).bytes } else { whole.bytes });
        offsets.extend((0..*count).map(|_| Some(!damaged)));
        doubt = damaged.then_some(false);
    }
    offsets.extend((0..5).map(|_| doubt));
    (bytes.into(), offsets)
}

proptest! {
    #[test]
    fn r7_every_acquired_offset_is_told_once_and_as_what_it_is(
        plans in proptest::collection::vec((0_i64..3, 1_usize..6, 0_u8..5, prop::bool::weighted(0.2)), 0..6),
        held in proptest::collection::vec(any::<bool>(), 50),
    ) {
        let (records, offsets) = planned(&plans);
        let held: Vec<i64> = (0..offsets.len()).filter(|offset| held[*offset]).map(|offset| offset as i64).collect();
        let runs = held.chunk_by(|one, next| one + 1 == *next).map(|run| (run[0], run[run.len() - 1]));
        let mut told = Vec::new();
        for found in found(&records, &acquired(&runs.collect::<Vec<_>>())) {
            match found {
                Found::Record { offset, .. } => told.push((offset, Some(true))),
                Found::Gap { first, last } => told.extend((first..=last).map(|offset| (offset, None))),
                Found::Damaged { first, last, .. } => told.extend((first..=last).map(|offset| (offset, Some(false)))),
            }
        }
        let wanted: Vec<_> = held.into_iter().map(|offset| (offset, offsets[offset as usize])).collect();
        prop_assert_eq!(told, wanted);
    }

    #[test]
    fn r7_whatever_is_in_the_records_every_acquired_offset_is_told_once(
        plans in proptest::collection::vec((0_i64..3, 1_usize..6, 0_u8..5, Just(false)), 0..4),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        checked: bool,
        ranges in proptest::collection::vec((-3_i64..30, -3_i64..30), 0..5),
    ) {
        let mut records = mutated(&planned(&plans).0, &edits);
        if checked && records.len() > HEADER {
            // So that what is changed in the first batch is looked at.
            let mut first = records.to_vec();
            let size = (12 + i32::from_be_bytes([first[8], first[9], first[10], first[11]]).max(0) as usize).clamp(HEADER, first.len());
            let checksum = crc32c::crc32c(&first[21..size]).to_be_bytes();
            first[17..21].copy_from_slice(&checksum);
            records = first.into();
        }
        let held: std::collections::BTreeSet<i64> = ranges.iter().flat_map(|(first, last)| (*first).max(0)..=*last).collect();
        let mut told = Vec::new();
        for found in found(&records, &acquired(&ranges)) {
            match found {
                Found::Record { offset, .. } => told.push(offset),
                Found::Gap { first, last } | Found::Damaged { first, last, .. } => told.extend(first..=last),
            }
        }
        prop_assert_eq!(told, held.into_iter().collect::<Vec<_>>());
    }
}
