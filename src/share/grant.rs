//! Records that a broker has handed over together, and what has become of each: what the holder of a record, and the
//! consumer behind it, both look at.
//!
//! A broker hands records over in ranges of offsets. So a range has one allocation, and each of its records a byte in it:
//!
//! ```text
//!  offsets   400  401  402  403  404
//!  fates     held held gap  settled held      ◀── Delivery, Lease (index 4) …
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

use super::error::Lost;
use crate::position::{Offset, Partition, Position};

/// What has become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is this member's.
    Held,
    /// The broker has taken its acknowledgement.
    Settled,
    /// It is not this member's any more.
    Lost(Lost),
}

const HELD: u8 = 0;
const SETTLED: u8 = 1;
const LOST: [Lost; 5] = [Lost::Expired, Lost::Session, Lost::Refused, Lost::Moved, Lost::Closed];

impl Fate {
    fn number(self) -> u8 {
        match self {
            Fate::Held => HELD,
            Fate::Settled => SETTLED,
            Fate::Lost(lost) => 2 + LOST.iter().position(|other| *other == lost).unwrap_or_default() as u8,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            HELD => Fate::Held,
            SETTLED => Fate::Settled,
            lost => LOST.get(usize::from(lost - 2)).map_or(Fate::Held, |lost| Fate::Lost(*lost)),
        }
    }
}

/// A range of records, handed over together.
#[derive(Debug)]
pub(super) struct Grant {
    /// By which the consumer knows it.
    pub(super) number: u64,
    pub(super) topic: Arc<str>,
    pub(super) partition: Partition,
    pub(super) first: i64,
    /// When it came.
    pub(super) fetched: Instant,
    fates: Box<[AtomicU8]>,
    changed: Notify,
}

impl Grant {
    pub(super) fn new(
        number: u64,
        topic: Arc<str>,
        partition: Partition,
        (first, count): (i64, usize),
        fetched: Instant,
    ) -> Self {
        let fates = (0..count).map(|_| AtomicU8::new(HELD)).collect();
        Grant { number, topic, partition, first, fetched, fates, changed: Notify::new() }
    }

    pub(super) fn len(&self) -> i64 {
        self.fates.len() as i64
    }

    pub(super) fn position(&self, index: u32) -> Position {
        let offset = Offset(self.first + i64::from(index));
        Position { topic: Arc::clone(&self.topic), partition: self.partition, offset }
    }

    /// Tells what has become of these records; those who wait for it look when [`tell`](Self::tell) is called.
    pub(super) fn decide(&self, records: impl IntoIterator<Item = u32>, fate: Fate) {
        for index in records {
            self.fates[index as usize].store(fate.number(), Ordering::Release);
        }
    }

    /// Wakes all who wait for a record of it.
    pub(super) fn tell(&self) {
        self.changed.notify_waiters();
    }

    pub(super) fn fate(&self, index: u32) -> Fate {
        Fate::from_number(self.fates[index as usize].load(Ordering::Acquire))
    }

    /// Waits until something has become of a record.
    pub(super) async fn decided(&self, index: u32) -> Fate {
        loop {
            let changed = self.changed.notified();
            // What is told between the two is not missed: the future counts from its making on.
            match self.fate(index) {
                Fate::Held => changed.await,
                fate => return fate,
            }
        }
    }
}
