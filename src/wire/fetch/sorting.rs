//! What a committed reader may see of a fetched partition (KIP-98): runs of whole batches, cut out of the answer without
//! copying.
//!
//! ```text
//!  answer   ▐ before │ data │ data │ commit │ data of an │ abort │ data │ par▐
//!           ▐ the    │      │      │ marker │ aborted    │marker │      │tial▐
//!           ▐position│      │      │        │ transaction│       │      │    ▐
//!  runs              ├── one ──────┤ ◀─ next moves on ──────────▶├─two──┤
//! ```
//!
//! A broker answers up to the last stable offset, so no transaction is open in what comes; those that were aborted it
//! names, by producer and first offset. A producer's batches from that offset on are left out until its abort marker: the
//! same producer may commit its next transaction in the same answer.

use std::collections::HashSet;

use bytes::Bytes;

use super::batch::{Batch, HEADER};
use super::span::Span;

/// A control record's type: this one aborts, 1 commits.
const ABORT: i16 = 0;

/// Batches in a row that may be seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Whole batches. The first may begin before the position.
    pub(super) bytes: Bytes,
    /// The first offset that was not given before.
    pub(super) from: i64,
    /// The offset after all of it, and after what follows that nobody may see.
    pub(super) next: i64,
}

/// An answer, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    pub(super) runs: Vec<Run>,
    /// Where the next fetch begins.
    pub(super) next: i64,
    /// What can't be read, from `next` on.
    pub(super) bad: Option<String>,
    /// Whether anything came that had not come before.
    pub(super) advanced: bool,
}

/// Sorts the records of a partition, fetched from `position` on. `aborted`: producer id and first offset.
pub(super) fn sort(data: &Bytes, position: i64, aborted: Vec<(i64, i64)>) -> Sorted {
    let mut filter = Filter::new(aborted);
    let mut sorted = Sorted { next: position, ..Sorted::default() };
    let (mut at, mut run) = (0, None);
    while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
        let batch = match Batch::at_start(rest) {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(reason) => {
                sorted.bad = Some(reason);
                break;
            }
        };
        let end = at + batch.bytes;
        if batch.next() > sorted.next {
            if let Err(reason) = batch.check(rest) {
                sorted.bad = Some(reason);
                break;
            }
            if sorted.advanced && batch.base < sorted.next {
                sorted.bad = Some(format!("a batch from {} on comes after {}", batch.base, sorted.next - 1));
                break;
            }
            if filter.lets_through(&batch, rest) && batch.count > 0 {
                let (start, from) = *run.get_or_insert((at, sorted.next));
                sorted.put(Run { bytes: data.slice(start..end), from, next: batch.next() });
            } else {
                run = None;
                if let Some(last) = sorted.runs.last_mut() {
                    last.next = batch.next();
                }
            }
            sorted.next = batch.next();
            sorted.advanced = true;
        }
        at = end;
    }
    sorted
}

impl Sorted {
    /// A run, or a longer one in place of what there was of it.
    fn put(&mut self, run: Run) {
        match self.runs.last_mut().filter(|last| last.from == run.from) {
            Some(last) => *last = run,
            None => self.runs.push(run),
        }
    }
}

/// Which producers' transactions are being left out.
struct Filter {
    /// Latest first, so that the next one is at the end.
    aborted: Vec<(i64, i64)>,
    producers: HashSet<i64>,
}

impl Filter {
    fn new(mut aborted: Vec<(i64, i64)>) -> Self {
        // A broker names them segment by segment.
        aborted.sort_unstable_by_key(|(_, first)| std::cmp::Reverse(*first));
        Filter { aborted, producers: HashSet::new() }
    }

    fn lets_through(&mut self, batch: &Batch, bytes: &[u8]) -> bool {
        while let Some((producer, _)) = self.aborted.pop_if(|(_, first)| *first < batch.next()) {
            self.producers.insert(producer);
        }
        if batch.is_control() {
            if marker(batch, bytes) == Some(ABORT) {
                self.producers.remove(&batch.producer_id);
            }
            return false;
        }
        !(batch.is_transactional() && self.producers.contains(&batch.producer_id))
    }
}

/// The type of a control batch: its record's key is a version and the type. It is never compressed.
fn marker(batch: &Batch, bytes: &[u8]) -> Option<i16> {
    let records = bytes.get(HEADER..batch.bytes)?;
    let key = Span::at(records, 0)?.key.of(records)?;
    Some(i16::from_be_bytes(key.get(2..4)?.try_into().ok()?))
}

#[cfg(test)]
#[path = "sorting_tests.rs"]
mod tests;
