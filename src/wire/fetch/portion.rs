//! What one answer has of one partition, on the stream thread: records are read where they are, in the answer's own
//! memory, or in one plain buffer if they are compressed.
//!
//! ```text
//!  run      ▐ batch │ batch │ batch ▐        shared with the answer
//!                │ open: header, plain bytes
//!                ▼
//!           record, record, record …         views; nothing is allocated but headers, and no lock is taken
//! ```
//!
//! A seek, a pause or the loss of the partition ends it at the next record, by one number that both sides look at. What was
//! not read when it is dropped goes back to the front of the partition's line; after a seek it is void.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::batch::{Batch, HEADER};
use super::event::Unreadable;
use super::shared::{Shared, Weight};
use super::sorting::Run;
use super::span::{SHORTEST, Span};
use crate::position::{Offset, Position, TopicPartition};
use crate::record::{Headers, RawRecord, Timestamp};
use crate::wire::decompression::Decompressor;

/// A plain buffer that has become larger than this for one batch is not kept for the next.
const KEPT_BYTES: usize = 8 << 20;

static NO_HEADERS: Headers = Headers::new();

/// What reading a batch needs, used again from portion to portion.
#[derive(Default)]
pub(super) struct Tools {
    decompressor: Decompressor,
    plain: Vec<u8>,
    headers: Headers,
}

/// Whose a portion is, and whether it still is.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) slot: usize,
    pub(super) ticket: u64,
    /// The ticket of now, and whether it is paused.
    pub(super) live: Arc<AtomicU64>,
}

impl Claim {
    /// The number of a ticket that is not paused.
    pub(super) fn live(ticket: u64) -> u64 {
        ticket << 1
    }

    /// The number of one that is.
    pub(super) fn paused(ticket: u64) -> u64 {
        ticket << 1 | 1
    }

    #[inline]
    fn holds(&self) -> bool {
        self.live.load(Ordering::Relaxed) == Claim::live(self.ticket)
    }
}

/// Records of one partition, in order.
pub struct Portion {
    shared: Arc<Shared>,
    claim: Claim,
    at: TopicPartition,
    run: Run,
    weight: Option<Arc<Weight>>,
    tools: Tools,
    max_plain: usize,
    /// Where the open batch begins in the run, and where the one after it does.
    start: usize,
    after: usize,
    batch: Option<Batch>,
    /// Next record of the open batch, and how many are left.
    cursor: usize,
    left: usize,
    failed: Option<Unreadable>,
}

impl Portion {
    pub(super) fn new(
        shared: Arc<Shared>,
        claim: Claim,
        at: TopicPartition,
        (run, weight): (Run, Arc<Weight>),
        (tools, max_plain): (Tools, usize),
    ) -> Self {
        let weight = Some(weight);
        let (start, after, batch, cursor, left, failed) = (0, 0, None, 0, 0, None);
        Portion { shared, claim, at, run, weight, tools, max_plain, start, after, batch, cursor, left, failed }
    }

    /// The partition that the records are of.
    pub fn partition(&self) -> &TopicPartition {
        &self.at
    }

    /// The offset after the last record that was given, or where the first one will be.
    pub fn position(&self) -> Offset {
        Offset(self.run.from)
    }

    /// The next record; none at the end, and from the moment on at which the partition was sought, paused or given up.
    ///
    /// # Errors
    /// [`Unreadable`]; the same again until the partition is sought past it.
    #[inline]
    pub fn next_record(&mut self) -> Option<Result<RawRecord<'_>, Unreadable>> {
        let (span, offset) = match self.advance() {
            Ok(found) => found?,
            Err(reason) => return Some(Err(self.fail(reason))),
        };
        let batch = self.batch.as_ref()?;
        let plain = records(batch, &self.run.bytes, self.start, &self.tools.plain);
        let headers = if span.header_count == 0 {
            &NO_HEADERS
        } else if span.headers(plain, &mut self.tools.headers).is_some() {
            &self.tools.headers
        } else {
            // Before the position is moved past it.
            self.run.from = offset;
            return Some(Err(unreadable(&self.at, offset, "headers that are not whole", &mut self.failed)));
        };
        Some(Ok(RawRecord {
            topic: &self.at.topic,
            partition: self.at.partition,
            offset: Offset(offset),
            timestamp: Timestamp(batch.time(span.time_delta)),
            key: span.key.of(plain),
            value: span.value.of(plain),
            headers,
        }))
    }

    /// The next record's place and offset.
    #[inline]
    fn advance(&mut self) -> Result<Option<(Span, i64)>, String> {
        loop {
            if !self.claim.holds() {
                return Ok(None);
            }
            if self.left == 0 {
                if !self.open()? {
                    return Ok(None);
                }
                continue;
            }
            let Some(batch) = self.batch.as_ref() else { return Ok(None) };
            let plain = records(batch, &self.run.bytes, self.start, &self.tools.plain);
            let span = Span::at(plain, self.cursor).ok_or("a record that is not whole")?;
            let offset = batch.base.wrapping_add(span.offset_delta);
            if span.offset_delta < 0 || offset >= batch.next() {
                return Err("a record whose offset is not within its batch".to_owned());
            }
            self.cursor = span.end;
            self.left -= 1;
            // A batch begins before the position where that was within it.
            if offset >= self.run.from {
                self.run.from = offset + 1;
                return Ok(Some((span, offset)));
            }
        }
    }

    /// Goes on to the next batch; false after the last one.
    #[cold]
    fn open(&mut self) -> Result<bool, String> {
        if let Some(failed) = &self.failed {
            return Err(failed.reason.clone());
        }
        if let Some(batch) = &self.batch {
            if records(batch, &self.run.bytes, self.start, &self.tools.plain).len() != self.cursor {
                return Err("bytes after the last record of a batch".to_owned());
            }
            self.run.from = self.run.from.max(batch.next());
            self.batch = None;
        }
        self.start = self.after;
        let rest = self.run.bytes.get(self.start..).unwrap_or_default();
        let Some(batch) = Batch::at_start(rest)? else {
            self.run.from = self.run.from.max(self.run.next);
            return Ok(false);
        };
        // Nothing is between the two.
        self.run.from = self.run.from.max(batch.base);
        let room = if batch.codec() == 0 {
            batch.bytes - HEADER
        } else {
            let packed = rest.get(HEADER..batch.bytes).unwrap_or_default();
            self.tools.decompressor.decompress(batch.codec(), packed, &mut self.tools.plain, self.max_plain)?;
            self.tools.plain.len()
        };
        if batch.count > room / SHORTEST {
            return Err(format!("{} records in {room} bytes", batch.count));
        }
        self.after = self.start + batch.bytes;
        (self.cursor, self.left) = (0, batch.count);
        self.batch = Some(batch);
        Ok(true)
    }

    #[cold]
    fn fail(&mut self, reason: String) -> Unreadable {
        unreadable(&self.at, self.run.from, &reason, &mut self.failed)
    }

    /// Whether all was given.
    fn is_finished(&self) -> bool {
        self.failed.is_none() && self.run.from >= self.run.next
    }
}

/// The plain records of the batch that begins at `start` of a run.
#[inline]
fn records<'a>(batch: &Batch, run: &'a Bytes, start: usize, plain: &'a [u8]) -> &'a [u8] {
    match batch.codec() {
        0 => run.get(start + HEADER..start + batch.bytes).unwrap_or_default(),
        _ => plain,
    }
}

/// The error, remembered, so that what follows it is not taken for the next record.
fn unreadable(at: &TopicPartition, offset: i64, reason: &str, failed: &mut Option<Unreadable>) -> Unreadable {
    let at = Position { topic: Arc::clone(&at.topic), partition: at.partition, offset: Offset(offset) };
    failed.get_or_insert_with(|| Unreadable { at, reason: reason.to_owned() }).clone()
}

impl Drop for Portion {
    /// What was not read goes back, unless it is void.
    fn drop(&mut self) {
        let mut tools = std::mem::take(&mut self.tools);
        if tools.plain.capacity() > KEPT_BYTES {
            tools.plain = Vec::new();
        }
        // The open batch may have more records; those before it have none.
        let whole = self.run.bytes.len();
        let rest = if self.is_finished() { Bytes::new() } else { self.run.bytes.slice(self.start.min(whole)..) };
        let read = whole - rest.len();
        self.run.bytes = rest;
        let run = Run { bytes: std::mem::take(&mut self.run.bytes), from: self.run.from, next: self.run.next };
        self.shared.give_back(&self.claim, run, self.weight.take(), read, tools);
    }
}

impl std::fmt::Debug for Portion {
    /// Without the records (rule O5).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, next) = (self.run.from, self.run.next);
        write!(f, "Portion({} from {from} to {next}, {} bytes)", self.at, self.run.bytes.len())
    }
}

#[cfg(test)]
#[path = "portion_tests.rs"]
mod tests;
