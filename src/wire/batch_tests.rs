//! Batches read back by a reader of their own, which knows nothing of how they were written.

use proptest::prelude::*;

use super::*;
use crate::record::Header;
use crate::wire::compression::{Codec, Compressor};

/// A record as it was read.
#[derive(Debug, Clone, PartialEq)]
struct Read {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    headers: Headers,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn varlong(&mut self) -> i64 {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
            }
        }
    }

    fn field(&mut self) -> Option<Vec<u8>> {
        let length = self.varlong();
        (length >= 0).then(|| self.take(usize::try_from(length).unwrap()).to_vec())
    }
}

fn big_endian(bytes: &[u8]) -> i64 {
    bytes.iter().fold(if bytes[0] & 0x80 == 0 { 0 } else { -1 }, |value, byte| (value << 8) | i64::from(*byte))
}

fn read(bytes: &[u8], records: &[u8]) -> Vec<Read> {
    assert_eq!(big_endian(&bytes[8..12]) as usize, bytes.len() - 12, "length");
    assert_eq!(bytes[16], 2, "magic");
    assert_eq!(big_endian(&bytes[17..21]) as u32, crc32c::crc32c(&bytes[21..]), "checksum");
    let (base_time, max_time) = (big_endian(&bytes[27..35]), big_endian(&bytes[35..43]));
    let count = big_endian(&bytes[57..61]);
    assert_eq!(big_endian(&bytes[23..27]), count - 1, "last offset delta");
    let mut reader = Reader(records);
    let mut found = Vec::new();
    for offset in 0..count {
        let length = usize::try_from(reader.varlong()).unwrap();
        let mut record = Reader(reader.take(length));
        assert_eq!(record.take(1), [0], "attributes");
        let timestamp = base_time + record.varlong();
        assert_eq!(record.varlong(), offset, "offset delta");
        let (key, value) = (record.field(), record.field());
        let headers = (0..record.varlong())
            .map(|_| Header { name: String::from_utf8(record.field().unwrap()).unwrap(), value: record.field() })
            .collect();
        assert!(record.0.is_empty(), "a record of the length it says");
        found.push(Read { key, value, timestamp, headers: Headers(headers) });
    }
    assert!(reader.0.is_empty(), "nothing after the last record");
    assert_eq!(found.iter().map(|record| record.timestamp).max(), Some(max_time), "max timestamp");
    found
}

fn build(records: &[Read]) -> Closed {
    let mut open = Open::new(b"used before".to_vec());
    for record in records {
        let entry = Entry {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            timestamp: Timestamp(record.timestamp),
            headers: &record.headers,
        };
        let before = open.bytes();
        open.append(&entry);
        assert!(open.bytes() - before <= largest_size(&entry), "the bound holds");
    }
    open.close()
}

const STAMP: Stamp = Stamp { id: 0x0102_0304_0506_0708, epoch: 0x1112, sequence: 77, transactional: true };

fn field() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Vec::new())),
        6 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Some),
        1 => (1_usize..200_000).prop_map(|size| Some(vec![b'x'; size])),
    ]
}

fn record() -> impl Strategy<Value = Read> {
    let header = ("\\PC{0,12}", field()).prop_map(|(name, value)| Header { name, value });
    let headers = prop::collection::vec(header, 0..4).prop_map(Headers);
    let time = prop_oneof![0_i64..2_000_000_000_000, Just(0), Just(i64::MAX / 4)];
    (field(), field(), time, headers).prop_map(|(key, value, timestamp, headers)| Read {
        key,
        value,
        timestamp,
        headers,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn n1_every_batch_reads_back_as_it_was_appended(records in prop::collection::vec(record(), 1..40)) {
        let mut closed = build(&records);
        closed.stamp(STAMP);
        prop_assert_eq!(read(&closed.bytes, closed.records()), records);
    }

    #[test]
    fn n1_every_codec_reads_back_as_it_was_appended(records in prop::collection::vec(record(), 1..20)) {
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut closed = build(&records);
            Compressor::new(codec).compress(&mut closed);
            closed.stamp(STAMP);
            let attributes = big_endian(&closed.bytes[21..23]) as i16;
            let plain = crate::wire::compression::tests::decompress(attributes & 7, closed.records());
            prop_assert_eq!(&read(&closed.bytes, &plain), &records);
        }
    }
}

#[test]
fn n8_a_batch_that_is_too_large_is_cut_into_two_with_the_same_records() {
    let records: Vec<Read> = (0..301)
        .map(|number: i64| Read {
            key: Some(format!("key {number}").into_bytes()),
            value: (number % 5 > 0).then(|| vec![b'v'; usize::try_from(number).unwrap()]),
            timestamp: 1_000_000 - number * 77,
            headers: Headers(vec![Header { name: "n".to_owned(), value: None }; (number % 3) as usize]),
        })
        .collect();
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut closed = build(&records);
        Compressor::new(codec).compress(&mut closed);
        closed.stamp(STAMP);
        let (mut first, mut second) = split(&closed.into_bytes()).unwrap();
        assert_eq!((first.count(), second.count()), (150, 151));
        first.stamp(STAMP);
        second.stamp(STAMP);
        let mut again = read(&first.bytes, first.records());
        again.extend(read(&second.bytes, second.records()));
        assert_eq!(again, records);
        let sizes = [&first, &second].map(|half| payload_bytes(half.as_bytes()).unwrap());
        let size = |read: &Read| {
            let headers = read.headers.iter().map(|header| header.name.len());
            read.key.as_ref().map_or(0, Vec::len) + read.value.as_ref().map_or(0, Vec::len) + headers.sum::<usize>()
        };
        assert_eq!(sizes.iter().sum::<usize>(), records.iter().map(size).sum::<usize>());
    }
    assert!(split(&build(&records[..1]).into_bytes()).is_none());
}

#[test]
fn n1_the_stamp_is_written_where_kafka_reads_it_and_may_be_written_anew() {
    let record = Read { key: None, value: Some(b"v".to_vec()), timestamp: 5, headers: Headers::new() };
    let mut closed = build(&[record.clone(), record]);
    closed.stamp(Stamp { id: 1, epoch: 2, sequence: 3, transactional: false });
    assert_eq!(big_endian(&closed.bytes[21..23]), 0);
    closed.stamp(STAMP);
    assert_eq!(big_endian(&closed.bytes[21..23]), 1 << 4);
    assert_eq!(big_endian(&closed.bytes[43..51]), STAMP.id);
    assert_eq!(big_endian(&closed.bytes[51..53]), i64::from(STAMP.epoch));
    assert_eq!(big_endian(&closed.bytes[53..57]), i64::from(STAMP.sequence));
    assert_eq!(read(&closed.bytes, closed.records()).len(), 2);
}

#[test]
fn n1_a_batch_that_does_not_shrink_is_sent_as_it_is() {
    let mut noise = fastrand::Rng::with_seed(7);
    let value: Vec<u8> = std::iter::repeat_with(|| noise.u8(..)).take(5_000).collect();
    let record = Read { key: None, value: Some(value), timestamp: 5, headers: Headers::new() };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut closed = build(std::slice::from_ref(&record));
        assert!(Compressor::new(codec).compress(&mut closed).is_none());
        closed.stamp(STAMP);
        assert_eq!(big_endian(&closed.bytes[21..23]) & 7, 0);
        assert_eq!(read(&closed.bytes, closed.records()), std::slice::from_ref(&record));
    }
}

#[test]
fn n1_appending_does_not_allocate_once_the_buffer_has_grown() {
    let record = Read { key: Some(b"k".to_vec()), value: Some(vec![1; 100]), timestamp: 5, headers: Headers::new() };
    let records = vec![record; 1_000];
    let buffer = build(&records).into_bytes();
    let (place, capacity) = (buffer.as_ptr(), buffer.capacity());
    let mut open = Open::new(buffer);
    for record in &records {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        open.append(&Entry { key, value, timestamp: Timestamp(5), headers: &record.headers });
    }
    let again = open.close().into_bytes();
    assert_eq!((again.as_ptr(), again.capacity()), (place, capacity));
}
