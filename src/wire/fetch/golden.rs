//! Batches for tests: made as the producer makes them, then given what only a broker or another producer gives.

use bytes::Bytes;

use crate::record::{Headers, Timestamp};
use crate::wire::batch::{Entry, Open, Stamp};
use crate::wire::compression::{Codec, Compressor};

/// A batch to be.
pub(in crate::wire) struct Golden {
    pub(in crate::wire) bytes: Vec<u8>,
}

pub(in crate::wire) fn record(value: &[u8]) -> Entry<'_> {
    static NONE: Headers = Headers::new();
    Entry { key: Some(b"key"), value: Some(value), timestamp: Timestamp(1_000), headers: &NONE }
}

/// A batch of no transaction from `base` on.
pub(in crate::wire) fn batch(base: i64, records: &[Entry<'_>], codec: Codec) -> Golden {
    produced(base, records, codec, Stamp { id: -1, epoch: -1, sequence: -1, transactional: false })
}

/// A batch of a producer's transaction.
pub(in crate::wire) fn transactional(base: i64, producer: i64, values: &[&str]) -> Golden {
    let records: Vec<Entry<'_>> = values.iter().map(|value| record(value.as_bytes())).collect();
    produced(base, &records, Codec::None, Stamp { id: producer, epoch: 0, sequence: 0, transactional: true })
}

fn produced(base: i64, records: &[Entry<'_>], codec: Codec, stamp: Stamp) -> Golden {
    let mut open = Open::new(Vec::new());
    for record in records {
        open.append(record);
    }
    let mut closed = open.close();
    Compressor::new(codec).compress(&mut closed);
    closed.stamp(stamp);
    let mut bytes = closed.into_bytes();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    Golden { bytes }
}

/// A transaction's marker (KIP-98): 0 aborts, 1 commits.
pub(in crate::wire) fn marker(base: i64, producer: i64, kind: u8) -> Golden {
    let key = [0, 0, 0, kind];
    let entry = Entry { key: Some(&key), ..record(&[0; 6]) };
    let stamp = Stamp { id: producer, epoch: 0, sequence: -1, transactional: true };
    produced(base, &[entry], Codec::None, stamp).with_attributes(1 << 5)
}

impl Golden {
    /// Sets these attributes beside its own.
    pub(in crate::wire) fn with_attributes(mut self, attributes: u8) -> Self {
        self.bytes[22] |= attributes;
        self.checked()
    }

    /// Overwrites bytes.
    pub(in crate::wire) fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.checked()
    }

    /// Gives it the checksum that it should have.
    fn checked(mut self) -> Self {
        let checksum = crc32c::crc32c(&self.bytes[21..]);
        self.bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        self
    }
}

/// Batches as an answer has them.
pub(in crate::wire) fn answer<const N: usize>(batches: [Golden; N]) -> Bytes {
    batches.into_iter().flat_map(|batch| batch.bytes).collect::<Vec<u8>>().into()
}
