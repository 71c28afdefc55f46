//! A partition's log as it lies on the broker's disk: which offsets belong to which transaction, and how that ended.
//!
//! It asks neither the broker nor a client, so it can judge both: what a committed reader was shown is compared with the
//! markers themselves. Only headers of batches and the keys of control records are read (Kafka's record format v2).

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::Result;

/// Bytes of a batch before its records.
const HEADER: usize = 61;
/// Base offset and length, which the length does not count.
const BEFORE_LENGTH: usize = 12;
const CONTROL: u16 = 1 << 5;
const TRANSACTIONAL: u16 = 1 << 4;

/// How a transaction ended in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Its records are to be seen.
    Committed,
    /// They are not.
    Aborted,
}

/// A producer's id and epoch; with transactions v2 each transaction has another one.
pub type Transaction = (i64, i16);

/// What the log of one partition says about its transactions.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Segments {
    /// Offsets of aborted transactions' batches.
    pub aborted: Vec<RangeInclusive<i64>>,
    /// Offsets of batches whose transaction has no marker yet.
    pub open: Vec<RangeInclusive<i64>>,
    /// Each transaction that wrote here, as often as it ended.
    pub endings: Vec<(Transaction, Ending)>,
}

impl Segments {
    /// Reads all segments in a partition's directory.
    ///
    /// # Errors
    /// A file can't be read, or is no log.
    pub fn read(directory: &Path) -> Result<Segments> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        files.sort();
        let bytes = files.iter().map(fs::read).collect::<std::io::Result<Vec<_>>>()?.concat();
        Ok(Segments::parse(&bytes))
    }

    /// The same of one log's bytes. What is cut off at the end was never acknowledged.
    pub fn parse(mut bytes: &[u8]) -> Segments {
        let mut segments = Segments::default();
        let mut open: BTreeMap<i64, Vec<(RangeInclusive<i64>, i16)>> = BTreeMap::new();
        while let Some((batch, rest)) = next(bytes) {
            bytes = rest;
            match batch.ending {
                None if batch.transactional => {
                    open.entry(batch.producer).or_default().push((batch.offsets, batch.epoch))
                }
                None => {}
                Some(ending) => segments.end(ending, batch.producer, open.remove(&batch.producer).unwrap_or_default()),
            }
        }
        segments.open = open.into_values().flatten().map(|(offsets, _)| offsets).collect();
        segments
    }

    fn end(&mut self, ending: Ending, producer: i64, batches: Vec<(RangeInclusive<i64>, i16)>) {
        let mut epochs: Vec<i16> = batches.iter().map(|(_, epoch)| *epoch).collect();
        epochs.dedup();
        self.endings.extend(epochs.into_iter().map(|epoch| ((producer, epoch), ending)));
        if ending == Ending::Aborted {
            self.aborted.extend(batches.into_iter().map(|(offsets, _)| offsets));
        }
    }

    /// Whether an offset is of an aborted transaction.
    pub fn is_aborted(&self, offset: i64) -> bool {
        self.aborted.iter().any(|range| range.contains(&offset))
    }
}

struct Batch {
    offsets: RangeInclusive<i64>,
    producer: i64,
    epoch: i16,
    transactional: bool,
    /// Of a transaction marker.
    ending: Option<Ending>,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn next(bytes: &[u8]) -> Option<(Batch, &[u8])> {
    let base = i64::from_be_bytes(array(bytes, 0)?);
    let length = usize::try_from(i32::from_be_bytes(array(bytes, 8)?)).ok()?;
    let (batch, rest) = bytes.split_at_checked(BEFORE_LENGTH + length)?;
    let attributes = u16::from_be_bytes(array(batch, 21)?);
    let last = base + i64::from(i32::from_be_bytes(array(batch, 23)?));
    let producer = i64::from_be_bytes(array(batch, 43)?);
    let epoch = i16::from_be_bytes(array(batch, 51)?);
    let ending = if attributes & CONTROL == 0 { None } else { ending(batch.get(HEADER..)?) };
    let transactional = attributes & TRANSACTIONAL != 0;
    Some((Batch { offsets: base..=last, producer, epoch, transactional, ending }, rest))
}

/// Of a control record: its key is version and type, 0 to abort and 1 to commit.
fn ending(record: &[u8]) -> Option<Ending> {
    let mut at = varint(record, 0)?; // length
    at = varint(record, at + 1)?; // attributes, then the timestamp's delta
    at = varint(record, at)?; // the offset's delta
    at = varint(record, at)?; // the key's length
    match i16::from_be_bytes(array(record, at + 2)?) {
        0 => Some(Ending::Aborted),
        1 => Some(Ending::Committed),
        _ => None,
    }
}

/// Where the number that starts here has ended.
fn varint(bytes: &[u8], at: usize) -> Option<usize> {
    let last = bytes.get(at..)?.iter().position(|byte| byte & 0x80 == 0)?;
    Some(at + last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base: i64, records: i32, transaction: Transaction, attributes: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[0..8].copy_from_slice(&base.to_be_bytes());
        bytes[8..12].copy_from_slice(&i32::try_from(HEADER - BEFORE_LENGTH + body.len()).unwrap().to_be_bytes());
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        bytes[43..51].copy_from_slice(&transaction.0.to_be_bytes());
        bytes[51..53].copy_from_slice(&transaction.1.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn marker(base: i64, transaction: Transaction, kind: u8) -> Vec<u8> {
        // length, attributes, timestamp, offset, key length 4, version 0, type, …
        let record = [32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 0, 0];
        batch(base, 1, transaction, TRANSACTIONAL | CONTROL, &record)
    }

    #[test]
    fn batches_belong_to_the_next_marker_of_their_producer() {
        let log = [
            batch(0, 3, (7, 1), TRANSACTIONAL, b"abc"),
            batch(3, 1, (8, 0), TRANSACTIONAL, b"other"),
            batch(4, 2, (-1, -1), 0, b"plain"),
            marker(6, (7, 2), 0),
            batch(7, 2, (7, 2), TRANSACTIONAL, b"again"),
            marker(9, (8, 1), 1),
            marker(10, (9, 1), 0),
        ]
        .concat();
        let segments = Segments::parse(&log);
        assert_eq!(segments.aborted, [0..=2]);
        assert_eq!(segments.open, [7..=8]);
        assert_eq!(segments.endings, [((7, 1), Ending::Aborted), ((8, 0), Ending::Committed)]);
        assert!(segments.is_aborted(1) && !segments.is_aborted(3));
        assert_eq!(Segments::parse(&log[..log.len() - 1]).endings, segments.endings, "a torn end");
    }
}
