//! A partition's log: what is at each offset, and the bytes that a broker sends of it.
//!
//! A broker sends batches as they are in its log, also those of which a member has acquired nothing. So the bytes are always
//! the whole log.

use bytes::Bytes;

/// What is at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum At {
    Record,
    /// Nothing: compaction took it.
    Gap,
    /// A batch whose checksum is wrong.
    Damaged,
}

/// A log from offset 0 on, a batch for each record.
pub(super) fn bytes(log: &[At]) -> Bytes {
    let batch = |(offset, at): (usize, &At)| match at {
        At::Record => batch(offset as i64, true),
        At::Damaged => batch(offset as i64, false),
        At::Gap => Vec::new(),
    };
    log.iter().enumerate().flat_map(batch).collect::<Vec<u8>>().into()
}

/// A batch of one record, without key, with an empty value.
fn batch(base: i64, whole: bool) -> Vec<u8> {
    // Its length (each number is a zigzag varint), attributes, time, offset, no key, a value of nothing, no headers.
    let record: [u8; 7] = [12, 0, 0, 0, 1, 0, 0];
    let mut checked = Vec::new();
    // Attributes, last delta, times, producer's id, epoch and sequence, number of records.
    checked.extend(0_i16.to_be_bytes());
    checked.extend(0_i32.to_be_bytes());
    checked.extend([0; 16]);
    checked.extend((-1_i64).to_be_bytes());
    checked.extend((-1_i16).to_be_bytes());
    checked.extend((-1_i32).to_be_bytes());
    checked.extend(1_i32.to_be_bytes());
    checked.extend(record);
    let checksum = if whole { crc32c::crc32c(&checked) } else { 0 };
    let mut batch = Vec::new();
    batch.extend(base.to_be_bytes());
    // What comes after the length: leader's epoch, magic, checksum, and the rest.
    batch.extend((4 + 1 + 4 + checked.len() as i32).to_be_bytes());
    batch.extend(0_i32.to_be_bytes());
    batch.push(2);
    batch.extend(checksum.to_be_bytes());
    batch.extend(checked);
    batch
}
