//! What a member was given: every offset that it has acquired is told once, in order, as a record or as none (rule R7).
//!
//! ```text
//!  Records    │ batch 0…9        │ batch 10…19 │ marker 20 │ batch 21…29 │ cut o▐
//!                  4 is compacted      damaged               compressed
//!  acquired        ├ 3 ┄┄┄┄┄┄┄┄┄┄┄┄┄┄ 12 ┤   ├┄┄┄ 20 ┄┄┄┄┄┄┄┄┄ 24 ┤
//!  told           3 │ gap 4 │ 5 … 9 │ damaged 10…12 │ gap 20 │ 21 … 24
//! ```
//!
//! A gap is acknowledged as one, and the broker never gives it again. So nothing is a gap beside a batch that is
//! damaged or cut off: what is acquired from the end of the last whole batch to the beginning of the next one is
//! damaged as well, since not even the damaged one's own offsets are to be believed. Elsewhere what has no record is a
//! gap, after the last batch too. (A batch's checksum leaves out its base offset; only its order among the others is
//! looked at.)
//!
//! The broker leaves out what was aborted, if the group reads committed records only: then it is a gap as well.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::Acquired;
use crate::record::{Headers, Timestamp};
use crate::wire::decompression::Decompressor;
use crate::wire::fetch::batch::{Batch, HEADER};
use crate::wire::fetch::span::{SHORTEST, Span};

/// A buffer that has become larger than this for one batch is not kept for the next.
const KEPT_BYTES: usize = 8 << 20;
/// After all offsets.
const END: i64 = i64::MAX;

/// What reading needs, used again from answer to answer.
pub struct Tools {
    decompressor: Decompressor,
    plain: Vec<u8>,
    max_plain: usize,
}

impl Tools {
    /// `max_plain`: the largest size of one batch when it is decompressed, in bytes. A larger one is damaged.
    pub fn new(max_plain: usize) -> Self {
        Tools { decompressor: Decompressor::default(), plain: Vec::new(), max_plain }
    }
}

/// What is at acquired offsets.
#[derive(Clone, PartialEq)]
pub enum Found {
    /// A record.
    Record {
        /// Its offset.
        offset: i64,
        /// Its own time, or the broker's where the topic is stamped by it.
        timestamp: Timestamp,
        /// Its key, a part of the answer's memory; if the batch was compressed, of memory that its records share.
        key: Option<Bytes>,
        /// Its value, where the key is.
        value: Option<Bytes>,
        /// Its headers.
        headers: Headers,
        /// How often it was delivered, this time included.
        delivery_count: i16,
    },
    /// No record: compaction took it, it was aborted, or it is a transaction's marker.
    Gap {
        /// The first offset.
        first: i64,
        /// The last offset, itself included.
        last: i64,
    },
    /// Something that can't be read: release it or reject it, but don't stall (rule R7).
    Damaged {
        /// The first offset.
        first: i64,
        /// The last offset, itself included.
        last: i64,
        /// What is wrong.
        reason: String,
    },
}

impl fmt::Debug for Found {
    /// Without the record (rule O5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Record { offset, delivery_count, .. } => write!(f, "Record({offset}, delivery {delivery_count})"),
            Found::Gap { first, last } => write!(f, "Gap({first} to {last})"),
            Found::Damaged { first, last, reason } => write!(f, "Damaged({first} to {last}: {reason})"),
        }
    }
}

/// Tells what is at each acquired offset, ascending. `records` and `acquired` are those of one
/// [`FetchedPart`](super::FetchedPart).
pub fn read(records: &Bytes, acquired: &[Acquired], tools: &mut Tools, each: impl FnMut(Found)) {
    let ranges = ordered(acquired);
    let mut telling = Telling::new(&ranges, each);
    // The next batch, and the offset after the last one that is whole.
    let (mut at, mut end) = (0, 0);
    while telling.next < END {
        let rest = records.get(at..).unwrap_or_default();
        let batch = match next_batch(rest, end) {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(reason) => {
                telling.doubt(end, reason);
                break;
            }
        };
        if let Err(reason) = batch.check(rest) {
            // Not even its own offsets are to be believed.
            telling.doubt(end, reason);
        } else {
            telling.settle(batch.base);
            let wanted = telling.next < batch.next() && !batch.is_control();
            if wanted && let Err(reason) = tell_batch(&batch, records, at, tools, &mut telling) {
                telling.doubt(batch.base, reason);
                telling.settle(batch.next());
            }
            end = batch.next();
        }
        at += batch.bytes;
    }
    telling.missing(END);
    if tools.plain.capacity() > KEPT_BYTES {
        tools.plain = Vec::new();
    }
}

/// The batch at the start of `rest`, none at its end. It begins at `end` or after it.
fn next_batch(rest: &[u8], end: i64) -> Result<Option<Batch>, String> {
    if rest.is_empty() {
        return Ok(None);
    }
    let batch = Batch::at_start(rest)?.ok_or("a batch that is cut off")?;
    if batch.base < end {
        return Err(format!("a batch from {} on comes after {}", batch.base, end - 1));
    }
    Ok(Some(batch))
}

/// Tells the records of the batch that begins at `start` and is what was written; what lies behind the last of them is
/// left.
///
/// # Errors
/// What is wrong with those that have not been told.
fn tell_batch<F: FnMut(Found)>(
    batch: &Batch,
    records: &Bytes,
    start: usize,
    tools: &mut Tools,
    telling: &mut Telling<'_, F>,
) -> Result<(), String> {
    let packed = records.slice(start + HEADER..start + batch.bytes);
    let plain = if batch.codec() == 0 {
        packed
    } else {
        tools.decompressor.decompress(batch.codec(), &packed, &mut tools.plain, tools.max_plain)?;
        // Records may be held for long, so they get memory of their size; the buffer that has grown is used again.
        Bytes::copy_from_slice(&tools.plain)
    };
    if batch.count > plain.len() / SHORTEST {
        return Err(format!("{} records in {} bytes", batch.count, plain.len()));
    }
    let (mut cursor, mut least) = (0, batch.base);
    for _ in 0..batch.count {
        if telling.next >= batch.next() {
            return Ok(());
        }
        let span = Span::at(&plain, cursor).ok_or("a record that is not whole")?;
        let offset = batch.base.wrapping_add(span.offset_delta);
        if offset < least || offset >= batch.next() {
            return Err("a record whose offset is not where it should be in its batch".to_owned());
        }
        (cursor, least) = (span.end, offset + 1);
        telling.missing(offset);
        telling.tell(offset, |delivery_count| record(batch, &span, &plain, offset, delivery_count));
    }
    if cursor == plain.len() { Ok(()) } else { Err("bytes after the last record of a batch".to_owned()) }
}

#[inline]
fn record(batch: &Batch, span: &Span, plain: &Bytes, offset: i64, delivery_count: i16) -> Found {
    let mut headers = Headers::new();
    if span.header_count > 0 && span.headers(plain, &mut headers).is_none() {
        return Found::Damaged { first: offset, last: offset, reason: "headers that are not whole".to_owned() };
    }
    Found::Record {
        offset,
        timestamp: Timestamp(batch.time(span.time_delta)),
        key: span.key.shared(plain),
        value: span.value.shared(plain),
        headers,
        delivery_count,
    }
}

/// Acquired offsets, as far as they are told. Gaps wait until something else is told, so that they come in one piece.
struct Telling<'a, F> {
    /// Those with anything left: ascending, without overlap.
    ranges: &'a [Acquired],
    /// The first offset that is left, [`END`] if none is.
    next: i64,
    /// Why what is left is damaged, and no gap.
    doubt: Option<String>,
    each: F,
}

impl<'a, F: FnMut(Found)> Telling<'a, F> {
    fn new(ranges: &'a [Acquired], each: F) -> Self {
        Telling { ranges, next: ranges.first().map_or(END, |range| range.first), doubt: None, each }
    }

    /// What is left from `from` on is damaged, up to where that is [`settled`](Self::settle).
    #[cold]
    fn doubt(&mut self, from: i64, reason: String) {
        if self.doubt.is_none() {
            self.missing(from);
            self.doubt = Some(reason);
        }
    }

    /// What is left from `until` on is in no doubt any more.
    fn settle(&mut self, until: i64) {
        if self.doubt.is_some() {
            self.missing(until);
            self.doubt = None;
        }
    }

    /// There is no record at any offset that is left before `until`.
    #[inline]
    fn missing(&mut self, until: i64) {
        while self.next < until {
            let Some(range) = self.ranges.first() else { return };
            let (first, last) = (self.next, range.last.min(until - 1));
            (self.each)(match &self.doubt {
                None => Found::Gap { first, last },
                Some(reason) => Found::Damaged { first, last, reason: reason.clone() },
            });
            self.told(range.last, last);
        }
    }

    /// There is a record at this offset; nothing before it is left.
    #[inline]
    fn tell(&mut self, offset: i64, found: impl FnOnce(i16) -> Found) {
        let Some(range) = self.ranges.first().filter(|_| self.next == offset) else { return };
        (self.each)(found(range.delivery_count));
        self.told(range.last, offset);
    }

    /// All up to `last` is told, of the range that ends at `end`.
    #[inline]
    fn told(&mut self, end: i64, last: i64) {
        self.next = last + 1;
        if last == end {
            self.ranges = self.ranges.get(1..).unwrap_or_default();
            self.next = self.ranges.first().map_or(END, |range| range.first);
        }
    }
}

/// The acquired offsets in order, each of them once, below [`END`]. A broker gives them so.
fn ordered(acquired: &[Acquired]) -> Cow<'_, [Acquired]> {
    let in_order = acquired.windows(2).all(|pair| pair[0].last < pair[1].first);
    let within = |range: &Acquired| 0 <= range.first && range.first <= range.last && range.last < END;
    if in_order && acquired.iter().all(within) { Cow::Borrowed(acquired) } else { Cow::Owned(mended(acquired)) }
}

#[cold]
fn mended(acquired: &[Acquired]) -> Vec<Acquired> {
    let mut ranges = acquired.to_vec();
    ranges.sort_by_key(|range| range.first);
    let mut least = 0;
    for range in &mut ranges {
        range.first = range.first.max(least);
        range.last = range.last.min(END - 1);
        least = least.max(range.last.saturating_add(1));
    }
    ranges.retain(|range| range.first <= range.last);
    ranges
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
