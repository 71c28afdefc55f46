//! Times at which something is to happen, in their order.
//!
//! A timer is a key of a store: eight bytes of its time, big-endian, so that the store's order is the order of time, and what it
//! is of. So its changelog brings it back after a loss, and it is set, and taken, with everything else that a record does, or
//! not at all.
//!
//! ```text
//!  taken: tombstones │ due │ not yet
//!  ──────────────────┼─────┼──────────────▶ time
//!                  mark   now
//! ```
//!
//! What has been taken leaves tombstones behind, which a scan from the beginning would have to pass at each look. So a look begins
//! at the mark: no timer is left before it. Whoever sets one there, because clocks differ between owners or were set back, takes
//! the mark back to it.

use super::error::ReadError;
use super::handle::Store;
use super::range::Bounds;
use super::spec::StoreIndex;
use super::state::TaskState;
use crate::record::Timestamp;

/// Where the mark is kept: behind the last time there is, so that it is none of the timers.
const MARK: &[u8] = b"\xffdone-until";
/// What the mark may be behind, in milliseconds, before it is moved for its own sake.
const BEHIND: i64 = 60_000;

/// A time, and what is to happen then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// When, in milliseconds since the epoch; the epoch itself for what was set before it.
    pub at: Timestamp,
    /// What it is of, in the words of whoever set it.
    pub of: Vec<u8>,
}

/// The timers of a task: a store of keys without values.
#[derive(Debug, Clone)]
pub struct Timers(Store<Vec<u8>, Vec<u8>>);

impl Timers {
    /// Timers that are kept in this store, and nothing else is.
    pub fn new(store: Store<Vec<u8>, Vec<u8>>) -> Self {
        Timers(store)
    }

    /// The store's number; a processor that has timers names it among its stores.
    pub fn index(&self) -> StoreIndex {
        self.0.index()
    }

    /// Sets one. The same again is one; the same of another time is another.
    ///
    /// # Errors
    /// The store failed.
    pub fn set(&self, state: &mut TaskState, at: Timestamp, of: &[u8]) -> Result<(), ReadError> {
        let at = Timestamp(at.0.max(0));
        if self.mark(state)?.is_some_and(|mark| at.0 < mark) {
            self.move_mark(state, at.0)?;
        }
        self.0.write(state, &encode(at, of), Some(&Vec::new()))
    }

    /// Takes one away. None such: nothing happens.
    ///
    /// # Errors
    /// The store failed.
    pub fn cancel(&self, state: &mut TaskState, at: Timestamp, of: &[u8]) -> Result<(), ReadError> {
        self.0.write(state, &encode(at, of), None)
    }

    /// Takes those that are due at a time, in the order of their times, `most` of them; the others are for the next look. All that is
    /// taken is one transaction.
    ///
    /// # Errors
    /// The store failed.
    pub fn take(&self, state: &mut TaskState, now: Timestamp, most: usize) -> Result<Vec<Timer>, ReadError> {
        // Beyond a mark that is ahead, of a clock that was set back since, there is nothing: nor is before it.
        let begin = self.mark(state)?.unwrap_or(0);
        let end = now.0.saturating_add(1).max(0).to_be_bytes();
        let due = self.0.range(state, Bounds::between(&begin.to_be_bytes(), &end))?;
        let keys = due.take(most).map(|timer| Ok(timer?.0)).collect::<Result<Vec<_>, ReadError>>()?;
        let taken: Vec<Timer> = keys.iter().filter_map(|key| decode(key)).collect();
        let done = if keys.len() < most { now.0 } else { taken.last().map_or(begin, |timer| timer.at.0) };
        if !keys.is_empty() || done.saturating_sub(begin) > BEHIND {
            self.move_mark(state, done)?;
        }
        keys.iter().try_for_each(|key| self.0.write(state, key, None))?;
        Ok(taken)
    }

    /// The first of those that are due at a time, which stays.
    ///
    /// # Errors
    /// The store failed.
    pub fn first(&self, state: &mut TaskState, now: Timestamp) -> Result<Option<Timer>, ReadError> {
        let (begin, end) = (self.mark(state)?.unwrap_or(0), now.0.saturating_add(1).max(0));
        let mut due = self.0.range(state, Bounds::between(&begin.to_be_bytes(), &end.to_be_bytes()))?;
        Ok(due.next().transpose()?.and_then(|(key, _)| decode(&key)))
    }

    pub(super) fn mark(&self, state: &mut TaskState) -> Result<Option<i64>, ReadError> {
        let mark = self.0.read(state, &MARK.to_vec())?;
        Ok(mark.and_then(|bytes| Some(i64::from_be_bytes(bytes.try_into().ok()?))))
    }

    fn move_mark(&self, state: &mut TaskState, to: i64) -> Result<(), ReadError> {
        self.0.write(state, &MARK.to_vec(), Some(&to.to_be_bytes().to_vec()))
    }
}

fn encode(at: Timestamp, of: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(size_of::<i64>() + of.len());
    // What is due before the epoch is due now.
    key.extend(at.0.max(0).to_be_bytes());
    key.extend(of);
    key
}

/// What a key says; nothing if it is none of a timer.
fn decode(key: &[u8]) -> Option<Timer> {
    let (at, of) = key.split_first_chunk()?;
    Some(Timer { at: Timestamp(i64::from_be_bytes(*at)), of: of.to_vec() })
}
