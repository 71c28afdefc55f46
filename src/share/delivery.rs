//! A record on loan: what of it there is, and how it is settled.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use super::error::{Lost, NotSettled};
use super::grant::{Fate, Grant};
use crate::position::{Offset, Partition, Position};
use crate::record::{Headers, Timestamp};
use crate::wire::share::Acknowledgement;

/// What a holder says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settlement {
    pub(super) grant: u64,
    pub(super) index: u32,
    pub(super) kind: Acknowledgement,
}

/// Where holders leave their settlements for the consumer.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Records that may be held.
    window: AtomicUsize,
    left: Mutex<Vec<Settlement>>,
    pub(super) wake: Notify,
}

impl Desk {
    pub(super) fn new(window: usize) -> Self {
        Desk { window: AtomicUsize::new(window), ..Desk::default() }
    }

    /// Records that may be held at the same time.
    pub(super) fn window(&self) -> usize {
        self.window.load(Ordering::Relaxed)
    }

    pub(super) fn set_window(&self, records: usize) {
        if self.window.swap(records, Ordering::Relaxed) < records {
            self.wake.notify_one();
        }
    }

    fn leave(&self, settlement: Settlement) {
        let first = {
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            left.push(settlement);
            left.len() == 1
        };
        // Whoever takes them takes all.
        if first {
            self.wake.notify_one();
        }
    }

    /// Takes what was left, in place of what `into` has.
    pub(super) fn take(&self, into: &mut Vec<Settlement>) {
        into.clear();
        mem::swap(into, &mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A record, held under a lock until it is settled. One that is dropped without a word is released: somebody has it again at
/// once.
#[must_use = "dropped without a word it is released, and delivered again"]
pub struct Delivery {
    /// When it was written, or what its producer says.
    pub timestamp: Timestamp,
    /// The key's bytes, if it has one.
    pub key: Option<Bytes>,
    /// The value's bytes, if it has one.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Headers,
    /// How often it has been delivered, this time included; the broker's limit is the group's `share.delivery.count.limit`.
    pub delivery_count: u16,
    lease: Lease,
    settled: bool,
}

/// Says whether a record is still held. Clones are of the same record.
#[derive(Clone)]
pub struct Lease {
    grant: Arc<Grant>,
    index: u32,
    desk: Arc<Desk>,
}

impl Lease {
    pub(super) fn new(grant: &Arc<Grant>, index: u32, desk: &Arc<Desk>) -> Self {
        Lease { grant: Arc::clone(grant), index, desk: Arc::clone(desk) }
    }

    /// Why it is lost, if it is.
    pub fn is_lost(&self) -> Option<Lost> {
        match self.grant.fate(self.index) {
            Fate::Lost(lost) => Some(lost),
            Fate::Held | Fate::Settled => None,
        }
    }

    /// Waits until the record is lost, so that the work on it can be given up; for ever if it is settled first.
    pub async fn lost(&self) -> Lost {
        match self.grant.decided(self.index).await {
            Fate::Lost(lost) => lost,
            Fate::Held | Fate::Settled => std::future::pending().await,
        }
    }

    /// Where the record is.
    pub fn position(&self) -> Position {
        self.grant.position(self.index)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.position(), self.grant.fate(self.index))
    }
}

/// What a record has.
pub(super) struct Content {
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Headers,
    pub(super) delivery_count: u16,
}

impl Delivery {
    pub(super) fn new(content: Content, lease: Lease) -> Self {
        let Content { timestamp, key, value, headers, delivery_count } = content;
        Delivery { timestamp, key, value, headers, delivery_count, lease, settled: false }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.lease.grant.topic
    }

    /// The partition.
    pub fn partition(&self) -> Partition {
        self.lease.grant.partition
    }

    /// The offset.
    pub fn offset(&self) -> Offset {
        Offset(self.lease.grant.first + i64::from(self.lease.index))
    }

    /// When it came here. The time from then on until work on it begins is the stock's, not the broker's.
    pub fn fetched(&self) -> Instant {
        self.lease.grant.fetched
    }

    /// Its hold on the record, to look at while the record is worked on.
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// It is done with: nobody has it again.
    pub fn accept(self) -> Settling {
        self.settle(Acknowledgement::Accept)
    }

    /// Somebody is to have it again, at once. It has been delivered once more by then.
    pub fn release(self) -> Settling {
        self.settle(Acknowledgement::Release)
    }

    /// It can't be processed, by nobody: it is archived, or goes to the broker's own dead letters (KIP-1191).
    pub fn reject(self) -> Settling {
        self.settle(Acknowledgement::Reject)
    }

    fn settle(mut self, kind: Acknowledgement) -> Settling {
        self.leave(kind);
        Settling { lease: self.lease.clone() }
    }

    fn leave(&mut self, kind: Acknowledgement) {
        self.settled = true;
        let Lease { grant, index, desk } = &self.lease;
        desk.leave(Settlement { grant: grant.number, index: *index, kind });
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            self.leave(Acknowledgement::Release);
        }
    }
}

impl fmt::Debug for Delivery {
    /// Without key and value (rule O5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("lease", &self.lease).field("delivery_count", &self.delivery_count).finish()
    }
}

/// An acknowledgement on its way. It gets there also if nobody waits for it.
#[derive(Debug)]
pub struct Settling {
    lease: Lease,
}

impl Settling {
    /// Waits for the broker's word.
    ///
    /// # Errors
    /// The record was lost before.
    pub async fn done(self) -> Result<(), NotSettled> {
        match self.lease.grant.decided(self.lease.index).await {
            Fate::Lost(reason) => Err(NotSettled { at: self.lease.position(), reason }),
            Fate::Held | Fate::Settled => Ok(()),
        }
    }
}

impl IntoFuture for Settling {
    type Output = Result<(), NotSettled>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.done())
    }
}
