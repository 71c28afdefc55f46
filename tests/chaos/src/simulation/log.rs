//! The log of one partition in the model: real record batches (magic 2), made by the generated encoder and not by ours.
//!
//! What a committed reader may see follows from the batches alone: the last stable offset is the first one of a transaction
//! without a marker, and the list of aborted transactions (KIP-98) is what the markers say.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use headrace::position::Offset;
use headrace::wire::fetch::Fetched;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use crate::reader::Stored;

/// A record as it is produced.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) timestamp: i64,
}

/// Who produces in which transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Producer {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

struct Batch {
    base: i64,
    next: i64,
    bytes: Bytes,
    producer: Option<Producer>,
    /// Of a marker: whether it commits.
    marker: Option<bool>,
    entries: Vec<Entry>,
}

/// The log of one partition.
#[derive(Default)]
pub(super) struct Log {
    batches: Vec<Batch>,
    /// First offsets of transactions without a marker, by producer id.
    open: BTreeMap<i64, i64>,
    /// Producer id, first offset and marker of each aborted one.
    aborted: Vec<(i64, i64, i64)>,
}

impl Log {
    /// The offset after the last one.
    pub(super) fn high(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next)
    }

    /// The last stable offset.
    pub(super) fn stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or_else(|| self.high())
    }

    /// Whether this producer has a transaction open here.
    pub(super) fn is_open(&self, producer: i64) -> bool {
        self.open.contains_key(&producer)
    }

    /// Appends a batch; gives its first offset.
    pub(super) fn append(&mut self, producer: Option<Producer>, entries: Vec<Entry>) -> i64 {
        let base = self.high();
        if let Some(producer) = producer {
            self.open.entry(producer.id).or_insert(base);
        }
        let next = base + i64::try_from(entries.len()).unwrap_or(0);
        let bytes = encode(base, producer, false, &entries);
        self.batches.push(Batch { base, next, bytes, producer, marker: None, entries });
        base
    }

    /// Ends a producer's transaction here.
    pub(super) fn end(&mut self, producer: Producer, commit: bool) {
        let Some(first) = self.open.remove(&producer.id) else { return };
        let base = self.high();
        if !commit {
            self.aborted.push((producer.id, first, base));
        }
        let key = Bytes::copy_from_slice(&[0, 0, 0, u8::from(commit)]);
        let entries = vec![Entry { key: Some(key), value: Some(Bytes::from_static(&[0; 6])), timestamp: 0 }];
        let bytes = encode(base, Some(producer), true, &entries);
        self.batches.push(Batch {
            base,
            next: base + 1,
            bytes,
            producer: Some(producer),
            marker: Some(commit),
            entries,
        });
    }

    /// Whole batches from an offset on, as many as asked for, up to the last stable offset.
    pub(super) fn fetch(&self, from: i64, batches: usize) -> Fetched {
        let stable = self.stable();
        let wanted = |batch: &&Batch| batch.next > from && batch.next <= stable;
        let given: Vec<&Batch> = self.batches.iter().filter(wanted).take(batches).collect();
        let end = given.last().map_or(from, |batch| batch.next);
        let records: Vec<u8> = given.iter().flat_map(|batch| batch.bytes.iter().copied()).collect();
        let within = self.aborted.iter().filter(|(_, first, marker)| *first < end && *marker >= from);
        let aborted = within.map(|(producer, first, _)| (*producer, Offset(*first))).collect();
        Fetched { records: records.into(), aborted, stable: Offset(stable), high: Offset(self.high()) }
    }

    /// All bytes, as a segment file has them.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.batches.iter().flat_map(|batch| batch.bytes.iter().copied()).collect()
    }

    /// All records, or those that a committed reader sees, each with its offset.
    pub(super) fn records(&self, committed: bool) -> impl Iterator<Item = (i64, &Entry)> {
        let stable = self.stable();
        let hidden = move |batch: &Batch| {
            let is_aborted = |(producer, first, marker): &(i64, i64, i64)| {
                batch.producer.is_some_and(|own| own.id == *producer) && (*first..*marker).contains(&batch.base)
            };
            committed && (batch.next > stable || self.aborted.iter().any(is_aborted))
        };
        let shown = self.batches.iter().filter(move |batch| batch.marker.is_none() && !hidden(batch));
        shown.flat_map(|batch| (batch.base..).zip(&batch.entries))
    }

    /// The same as the checker wants them.
    pub(super) fn stored(&self, partition: i32, committed: bool) -> Vec<Stored> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let stored = |(offset, entry): (i64, &Entry)| Stored {
            partition,
            offset,
            key: entry.key.as_ref().map(text).unwrap_or_default(),
            value: entry.value.as_ref().map(text),
        };
        self.records(committed).map(stored).collect()
    }
}

fn encode(base: i64, producer: Option<Producer>, control: bool, entries: &[Entry]) -> Bytes {
    let record = |(offset, entry): (i64, &Entry)| Record {
        transactional: producer.is_some(),
        control,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: producer.map_or(-1, |producer| producer.id),
        producer_epoch: producer.map_or(-1, |producer| producer.epoch),
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: i32::try_from(offset - base).unwrap_or(0),
        timestamp: entry.timestamp,
        key: entry.key.clone(),
        value: entry.value.clone(),
        headers: Default::default(),
    };
    let records: Vec<Record> = (base..).zip(entries).map(record).collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, records.iter(), &options).expect("a batch of plain records");
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::{Ending, Segments};

    fn entry(key: &'static str) -> Entry {
        Entry { key: Some(key.into()), value: Some(key.into()), timestamp: 7 }
    }

    #[test]
    fn a_log_shows_what_is_committed_up_to_the_first_open_transaction() {
        let (one, other) = (Producer { id: 1, epoch: 3 }, Producer { id: 2, epoch: 0 });
        let mut log = Log::default();
        log.append(Some(one), vec![entry("a"), entry("b")]);
        log.append(Some(other), vec![entry("c")]);
        assert_eq!((log.stable(), log.high()), (0, 3));
        log.end(one, false);
        assert_eq!((log.stable(), log.high()), (2, 4));
        log.append(Some(one), vec![entry("d")]);
        log.end(other, true);
        log.end(one, true);
        let seen: Vec<i64> = log.records(true).map(|(offset, _)| offset).collect();
        assert_eq!((seen, log.records(false).count()), (vec![2, 4], 4));
        // The checker reads the same out of the bytes.
        let segments = Segments::parse(&log.bytes());
        assert_eq!(segments.aborted, [0..=1]);
        assert_eq!(segments.endings.iter().filter(|(_, ending)| *ending == Ending::Committed).count(), 2);
        let fetched = log.fetch(0, 2);
        assert_eq!((fetched.aborted, fetched.stable, fetched.high), (vec![(1, Offset(0))], Offset(7), Offset(7)));
    }
}
