//! Record batches (magic 2), built straight into one growing buffer per partition (rule N-1).
//!
//! ```text
//!  0           8        12       16    17    21      23       27        35       43   51    53     57    61
//!  ├───────────┼────────┼────────┼─────┼─────┼───────┼────────┼─────────┼────────┼────┼─────┼──────┼─────┼────────┄
//!  │base offset│ length │ leader │magic│ CRC │ attri │ last   │ base    │ max    │ id │epoch│ base │count│ records
//!  │     0     │        │ epoch  │  2  │ 32C │ butes │ delta  │ time    │ time   │    │     │ seq. │     │
//!  └───────────┴────────┴────────┴─────┴─────┴───────┴────────┴─────────┴────────┴────┴─────┴──────┴─────┴────────┄
//!                                             └──────────── the checksum covers all from here to the end ────────┄
//! ```
//!
//! The stream thread only appends records behind 61 reserved bytes. Who produces, under which epoch and from which
//! sequence on is known when the batch is sent, so the header is filled in then, by [`Closed::stamp`]: until that moment
//! a batch belongs to no producer id, and survives a change of epoch between two transactions.

use super::channel::MAX_REQUEST_BYTES;
use super::decompression::Decompressor;
use crate::record::{Headers, Timestamp};

/// Bytes of the header.
pub(super) const HEADER: usize = 61;
/// Offset of the length field's end: the length counts what comes after it.
const LENGTH_END: usize = 12;
const LENGTH: usize = 8;
const LEADER_EPOCH: usize = 12;
const MAGIC: usize = 16;
const CHECKSUM: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_DELTA: usize = 23;
const BASE_TIME: usize = 27;
const MAX_TIME: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const COUNT: usize = 57;

const MAGIC_2: u8 = 2;
const TRANSACTIONAL: i16 = 1 << 4;
/// Largest number of bytes that the fields before a record's key take: length 5, attributes 1, time 10, offset 5, key length 5.
const PREFIX: usize = 26;

/// What is appended: Kafka's record without its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Key bytes; `None` is null.
    pub(super) key: Option<&'a [u8]>,
    /// Value bytes; `None` is null, a tombstone.
    pub(super) value: Option<&'a [u8]>,
    /// Event time in milliseconds.
    pub(super) timestamp: Timestamp,
    /// Headers in their order.
    pub(super) headers: &'a Headers,
}

/// A batch that records are appended to.
#[derive(Debug, Default)]
pub(super) struct Open {
    buffer: Vec<u8>,
    count: i32,
    base_time: i64,
    max_time: i64,
}

impl Open {
    /// An empty batch in a buffer that may have been one before.
    pub(super) fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER, 0);
        Open { buffer, count: 0, base_time: 0, max_time: i64::MIN }
    }

    /// Whether nothing was appended.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far, header included, before compression.
    pub(super) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Appends a record. Allocates only while the buffer grows.
    #[inline]
    pub(super) fn append(&mut self, entry: &Entry<'_>) {
        let time = entry.timestamp.0;
        if self.count == 0 {
            self.base_time = time;
        }
        self.max_time = self.max_time.max(time);
        let (time_delta, offset_delta) = (time.wrapping_sub(self.base_time), self.count);
        let key_length = entry.key.map_or(-1, length);
        let value_length = entry.value.map_or(-1, length);
        let header_count = length(&entry.headers.0);
        let body = 1
            + varlong_bytes(time_delta)
            + varint_bytes(offset_delta)
            + field_bytes(entry.key)
            + field_bytes(entry.value)
            + varint_bytes(header_count)
            + headers_bytes(entry.headers);

        let mut prefix = [0_u8; PREFIX];
        let mut at = 0;
        put_varlong(&mut prefix, &mut at, i64::try_from(body).unwrap_or(i64::MAX));
        at += 1; // attributes: none are defined
        put_varlong(&mut prefix, &mut at, time_delta);
        put_varlong(&mut prefix, &mut at, i64::from(offset_delta));
        put_varlong(&mut prefix, &mut at, i64::from(key_length));
        self.buffer.reserve(body + 5);
        self.buffer.extend_from_slice(&prefix[..at]);
        self.buffer.extend_from_slice(entry.key.unwrap_or_default());
        let (mut middle, mut at) = ([0_u8; 10], 0);
        put_varlong(&mut middle, &mut at, i64::from(value_length));
        self.buffer.extend_from_slice(&middle[..at]);
        self.buffer.extend_from_slice(entry.value.unwrap_or_default());
        self.append_headers(entry.headers, header_count);
        self.count += 1;
    }

    /// Appends a record that was in a batch before: `rest` is what follows its offset.
    fn append_rest(&mut self, time_delta: i64, rest: &[u8]) {
        self.max_time = self.max_time.max(self.base_time.wrapping_add(time_delta));
        let body = 1 + varlong_bytes(time_delta) + varint_bytes(self.count) + rest.len();
        push_varint(&mut self.buffer, i32::try_from(body).unwrap_or(i32::MAX));
        self.buffer.push(0);
        push_varlong(&mut self.buffer, time_delta);
        push_varint(&mut self.buffer, self.count);
        self.buffer.extend_from_slice(rest);
        self.count += 1;
    }

    #[inline]
    fn append_headers(&mut self, headers: &Headers, count: i32) {
        if count == 0 {
            self.buffer.push(0);
            return;
        }
        push_varint(&mut self.buffer, count);
        for header in headers.iter() {
            push_varint(&mut self.buffer, length(header.name.as_bytes()));
            self.buffer.extend_from_slice(header.name.as_bytes());
            push_varint(&mut self.buffer, header.value.as_deref().map_or(-1, length));
            self.buffer.extend_from_slice(header.value.as_deref().unwrap_or_default());
        }
    }

    /// Ends it. What is known without a producer is written into the header.
    pub(super) fn close(mut self) -> Closed {
        let header = &mut self.buffer[..HEADER];
        header[LEADER_EPOCH..MAGIC].copy_from_slice(&(-1_i32).to_be_bytes());
        header[MAGIC] = MAGIC_2;
        header[LAST_DELTA..BASE_TIME].copy_from_slice(&(self.count - 1).to_be_bytes());
        header[BASE_TIME..MAX_TIME].copy_from_slice(&self.base_time.to_be_bytes());
        header[MAX_TIME..PRODUCER_ID].copy_from_slice(&self.max_time.to_be_bytes());
        header[COUNT..HEADER].copy_from_slice(&self.count.to_be_bytes());
        Closed { bytes: self.buffer, count: self.count }
    }
}

/// Largest size that a record can take in a batch, its length field included.
#[inline]
pub(super) fn largest_size(entry: &Entry<'_>) -> usize {
    PREFIX + field_bytes(entry.key) + field_bytes(entry.value) + 5 + headers_bytes(entry.headers)
}

/// Who produces a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The producer's id.
    pub(super) id: i64,
    /// Its epoch.
    pub(super) epoch: i16,
    /// Sequence of the first record.
    pub(super) sequence: i32,
    /// Whether it is part of a transaction.
    pub(super) transactional: bool,
}

/// A batch that is complete but for its producer.
#[derive(Debug)]
pub(super) struct Closed {
    bytes: Vec<u8>,
    count: i32,
}

impl Closed {
    /// Records in it.
    pub(super) fn count(&self) -> i32 {
        self.count
    }

    /// Bytes, header included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The records as they are, after the header.
    pub(super) fn records(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    /// Puts compressed records in place of the plain ones, and gives back the buffer that held these. `compressed`
    /// starts with [`HEADER`] bytes of room.
    pub(super) fn replace(&mut self, mut compressed: Vec<u8>, codec: i16) -> Vec<u8> {
        compressed[..HEADER].copy_from_slice(&self.bytes[..HEADER]);
        compressed[ATTRIBUTES..LAST_DELTA].copy_from_slice(&codec.to_be_bytes());
        std::mem::replace(&mut self.bytes, compressed)
    }

    /// Fills in producer, sequence and checksum. May be called again: a batch that was never sent gets a new producer.
    pub(super) fn stamp(&mut self, stamp: Stamp) {
        let length = i32::try_from(self.bytes.len() - LENGTH_END).unwrap_or(i32::MAX);
        let header = &mut self.bytes[..HEADER];
        header[LENGTH..LENGTH_END].copy_from_slice(&length.to_be_bytes());
        let codec = i16::from_be_bytes([header[ATTRIBUTES], header[ATTRIBUTES + 1]]) & 7;
        let attributes = if stamp.transactional { codec | TRANSACTIONAL } else { codec };
        header[ATTRIBUTES..LAST_DELTA].copy_from_slice(&attributes.to_be_bytes());
        header[PRODUCER_ID..PRODUCER_EPOCH].copy_from_slice(&stamp.id.to_be_bytes());
        header[PRODUCER_EPOCH..BASE_SEQUENCE].copy_from_slice(&stamp.epoch.to_be_bytes());
        header[BASE_SEQUENCE..COUNT].copy_from_slice(&stamp.sequence.to_be_bytes());
        let checksum = crc32c::crc32c(&self.bytes[ATTRIBUTES..]);
        self.bytes[CHECKSUM..ATTRIBUTES].copy_from_slice(&checksum.to_be_bytes());
    }

    /// The batch as it is so far.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The batch as it is sent.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Cuts a batch that a topic refused as too large into two of half the records. Nothing if it has one record.
pub(super) fn split(batch: &[u8]) -> Option<(Closed, Closed)> {
    let field = |from: usize| Some(i32::from_be_bytes(batch.get(from..from + 4)?.try_into().ok()?));
    let count = field(COUNT)?;
    if count < 2 {
        return None;
    }
    let plain = plain(batch)?;
    let base_time = i64::from_be_bytes(batch.get(BASE_TIME..MAX_TIME)?.try_into().ok()?);
    let open = || Open { base_time, ..Open::new(Vec::new()) };
    let (mut first, mut second) = (open(), open());
    let mut at = 0;
    for number in 0..count {
        let length = usize::try_from(take_varlong(&plain, &mut at)?).ok()?;
        let end = at + length;
        at += 1; // attributes
        let time_delta = take_varlong(&plain, &mut at)?;
        take_varlong(&plain, &mut at)?; // its offset changes
        let half = if number < count / 2 { &mut first } else { &mut second };
        half.append_rest(time_delta, plain.get(at..end)?);
        at = end;
    }
    Some((first.close(), second.close()))
}

/// A batch's records, uncompressed.
fn plain(batch: &[u8]) -> Option<Vec<u8>> {
    let (codec, mut plain) = (i16::from(*batch.get(ATTRIBUTES + 1)?) & 7, Vec::new());
    let unpacked = Decompressor::default().decompress(codec, batch.get(HEADER..)?, &mut plain, MAX_REQUEST_BYTES);
    unpacked.ok().map(|()| plain)
}

/// Bytes of the keys, values and headers of a batch's records, without the lengths between them. Nothing if it is no batch.
pub(super) fn payload_bytes(batch: &[u8]) -> Option<usize> {
    let count = i32::from_be_bytes(batch.get(COUNT..HEADER)?.try_into().ok()?);
    let plain = plain(batch)?;
    let (mut at, mut bytes) = (0, 0);
    for _ in 0..count {
        let length = usize::try_from(take_varlong(&plain, &mut at)?).ok()?;
        let end = at + length;
        at += 1; // attributes
        take_varlong(&plain, &mut at)?; // time
        take_varlong(&plain, &mut at)?; // offset
        let mut field = |at: &mut usize| {
            let length = usize::try_from(take_varlong(&plain, at)?.max(0)).ok()?;
            (*at, bytes) = (*at + length, bytes + length);
            Some(())
        };
        field(&mut at)?;
        field(&mut at)?;
        for _ in 0..2 * take_varlong(&plain, &mut at)? {
            field(&mut at)?;
        }
        at = end;
    }
    Some(bytes)
}

/// Kafka's lengths are `int`; `max_request_bytes` keeps everything far below.
#[inline]
fn length<T>(bytes: &[T]) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

#[inline]
fn field_bytes(field: Option<&[u8]>) -> usize {
    match field {
        Some(bytes) => varint_bytes(length(bytes)) + bytes.len(),
        None => 1,
    }
}

#[inline]
fn headers_bytes(headers: &Headers) -> usize {
    let size = |header: &crate::record::Header| {
        field_bytes(Some(header.name.as_bytes())) + field_bytes(header.value.as_deref())
    };
    headers.iter().map(size).sum()
}

#[inline]
fn varint_bytes(value: i32) -> usize {
    varlong_bytes(i64::from(value))
}

/// Bytes of a zigzag varint: one for each seven bits.
#[inline]
fn varlong_bytes(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    (70 - (zigzag | 1).leading_zeros() as usize) / 7
}

#[inline]
fn put_varlong(target: &mut [u8], at: &mut usize, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        target[*at] = (zigzag as u8) | 0x80;
        zigzag >>= 7;
        *at += 1;
    }
    target[*at] = zigzag as u8;
    *at += 1;
}

fn push_varint(target: &mut Vec<u8>, value: i32) {
    push_varlong(target, i64::from(value));
}

fn push_varlong(target: &mut Vec<u8>, value: i64) {
    let (mut bytes, mut at) = ([0_u8; 10], 0);
    put_varlong(&mut bytes, &mut at, value);
    target.extend_from_slice(&bytes[..at]);
}

fn take_varlong(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut zigzag = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()));
        }
    }
    None
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
