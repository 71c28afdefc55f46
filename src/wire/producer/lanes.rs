//! One lane per partition: batches in order, their sequences, and their retries (rule N-3).
//!
//! ```text
//!           front                              back
//!  queue    [ seq 0 ] [ seq 5 ] [ seq 9 ] [ – ] [ – ]
//!             sent      sent      sent     waiting
//! ```
//!
//! A batch takes its sequence when it is first sent and keeps it. If one of those that are out fails, nothing more is
//! sent until all of them are answered; then all that is left goes again from the front, with the same sequences. So the
//! order holds, a successor's OUT_OF_ORDER_SEQUENCE is no more than a consequence, and what had been written after all is
//! a duplicate, which is success. The broker remembers the last five batches of a producer: no more are ever out. Of two
//! producer ids only one at a time has batches out, because nothing keeps their order but the answers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::codes::{self, Class, Meaning};
use super::shared::Slot;
use super::sides::{Side, Turn};
use crate::wire::BrokerId;
use crate::wire::batch::{Closed, Stamp, payload_bytes, split};
use crate::wire::compression::Compressor;

/// Requests, and so batches of one partition, that may be out (the broker's memory of a producer).
pub(super) const MAX_OUT: usize = 5;
/// First and last wait of a lane after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LAST_WAIT: Duration = Duration::from_secs(1);
/// First and last wait while the transaction before is still being completed: it takes milliseconds.
const CONCURRENT_FIRST_WAIT: Duration = Duration::from_millis(1);
const CONCURRENT_LAST_WAIT: Duration = Duration::from_millis(50);

#[derive(Debug)]
enum Body {
    /// Not yet sent: belongs to no producer. With a sequence if it is a part of a batch that had one.
    Waiting(Closed, Option<i32>),
    /// Sent, as often as it takes, with these bytes.
    Stamped { bytes: Bytes, sequence: i32 },
    /// For the moment of a change from one to the other.
    Nothing,
}

/// A batch that is not acknowledged.
#[derive(Debug)]
pub(super) struct Pending {
    body: Body,
    /// The transaction that it belongs to.
    pub(super) turn: Turn,
    pub(super) count: i32,
    pub(super) slot: Option<Slot>,
    /// Bytes that the stream thread was charged.
    pub(super) charged: usize,
    since: Instant,
}

impl Pending {
    pub(super) fn new(batch: Closed, turn: Turn, slot: Option<Slot>, charged: usize, since: Instant) -> Self {
        Pending { count: batch.count(), body: Body::Waiting(batch, None), turn, slot, charged, since }
    }

    /// Two batches of half the records each, or nothing if there is one.
    pub(super) fn split(&self, compressor: &mut Compressor) -> Option<(Pending, Pending)> {
        let (parts, sequence) = match &self.body {
            Body::Waiting(batch, sequence) => (split(batch.as_bytes())?, *sequence),
            Body::Stamped { bytes, sequence } => (split(bytes)?, Some(*sequence)),
            Body::Nothing => return None,
        };
        let (mut first, mut second) = parts;
        for part in [&mut first, &mut second] {
            compressor.compress(part);
        }
        let next = sequence.map(|sequence| after(sequence, first.count()));
        let half = self.charged / 2;
        let (turn, slot, since) = (self.turn, self.slot, self.since);
        let pending = |batch: Closed, sequence, charged| Pending {
            count: batch.count(),
            body: Body::Waiting(batch, sequence),
            turn,
            slot,
            charged,
            since,
        };
        Some((pending(first, sequence, half), pending(second, next, self.charged - half)))
    }

    /// Bytes on the wire.
    pub(super) fn bytes(&self) -> usize {
        match &self.body {
            Body::Waiting(batch, _) => batch.bytes(),
            Body::Stamped { bytes, .. } => bytes.len(),
            Body::Nothing => 0,
        }
    }

    /// Bytes of the keys, values and headers in it.
    fn payload_bytes(&self) -> usize {
        match &self.body {
            Body::Waiting(batch, _) => payload_bytes(batch.as_bytes()),
            Body::Stamped { bytes, .. } => payload_bytes(bytes),
            Body::Nothing => None,
        }
        .unwrap_or_else(|| self.bytes())
    }

    fn sequence(&self) -> Option<i32> {
        match self.body {
            Body::Stamped { sequence, .. } => Some(sequence),
            _ => None,
        }
    }

    /// The buffer, if nobody else reads it any more.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        match self.body {
            Body::Waiting(batch, _) => batch.into_bytes(),
            Body::Stamped { bytes, .. } => bytes.try_into_mut().map(Vec::from).unwrap_or_default(),
            Body::Nothing => Vec::new(),
        }
    }
}

/// What an answer means for its lane.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Written, at this offset if it is known.
    Acknowledged(Pending, Option<i64>),
    /// Will go again.
    Again { elsewhere: bool },
    /// Too large for its topic, though not by one record: cut into two, of at most this many bytes before.
    Cut(usize),
    /// One record that is too large for its topic: key, value and headers have this many bytes.
    TooLarge(usize),
    /// The transaction is dead.
    Dead(Class),
    /// Nothing of this lane: it was answered before.
    Stale,
}

/// The batches of one partition.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) topic: usize,
    pub(super) partition: i32,
    pub(super) leader: Option<BrokerId>,
    queue: VecDeque<Pending>,
    /// How many from the front have been sent and not acknowledged.
    sent: usize,
    /// How many of these have not been answered at all.
    out: usize,
    /// One has failed: nothing more until all are answered.
    draining: bool,
    attempts: u32,
    concurrent: bool,
    wait_until: Option<Instant>,
    /// Of each of the producer's ids.
    next_sequences: [i32; 2],
    /// What was last in the way.
    pub(super) hindrance: Option<String>,
}

impl Lane {
    pub(super) fn new(topic: usize, partition: i32) -> Self {
        Lane {
            topic,
            partition,
            leader: None,
            queue: VecDeque::new(),
            sent: 0,
            out: 0,
            draining: false,
            attempts: 0,
            concurrent: false,
            wait_until: None,
            next_sequences: [0; 2],
            hindrance: None,
        }
    }

    pub(super) fn push(&mut self, pending: Pending) {
        self.queue.push_back(pending);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The transaction of the oldest batch.
    pub(super) fn turn(&self) -> Option<Turn> {
        self.queue.front().map(|pending| pending.turn)
    }

    /// A new epoch of one of the ids, or another producer id: its sequences begin at 0 (rule N-2).
    pub(super) fn restart(&mut self, side: Side) {
        let sent = |pending: &Pending| pending.turn.side == side && pending.sequence().is_some();
        debug_assert!(!self.queue.iter().any(sent), "sent under the epoch before");
        self.next_sequences[side as usize] = 0;
    }

    /// Forgets everything: the transaction is dead.
    pub(super) fn clear(&mut self) {
        let (topic, partition, leader) = (self.topic, self.partition, self.leader);
        *self = Lane::new(topic, partition);
        self.leader = leader;
    }

    /// The size of the batch of this transaction that may go now. It has to wait for what another producer id has not had
    /// acknowledged: only within one id does the broker keep the order (rule N-5).
    pub(super) fn sendable(&self, turn: Turn, now: Instant) -> Option<usize> {
        let free = !self.draining && self.sent < MAX_OUT && self.wait_until.is_none_or(|until| until <= now);
        let next = self.queue.get(self.sent).filter(|next| free && next.turn == turn)?;
        self.turn().filter(|oldest| oldest.side == turn.side).map(|_| next.bytes())
    }

    /// Whether something waits that has no leader to go to.
    pub(super) fn is_lost(&self) -> bool {
        self.leader.is_none() && self.queue.len() > self.sent
    }

    /// When a wait ends, if it has not.
    pub(super) fn wakes(&self, now: Instant) -> Option<Instant> {
        self.wait_until.filter(|until| *until > now && self.queue.len() > self.sent && !self.draining)
    }

    /// Since when the oldest batch is being tried.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.queue.front().map(|pending| pending.since)
    }

    /// Takes the next batch out, with its sequence, which it gets now if it has none.
    pub(super) fn send(&mut self, id: i64, epoch: i16, transactional: bool) -> Option<(Bytes, i32)> {
        let pending = self.queue.get_mut(self.sent)?;
        let body = std::mem::replace(&mut pending.body, Body::Nothing);
        let (bytes, sequence) = match body {
            Body::Waiting(mut batch, fixed) => {
                let following = &mut self.next_sequences[pending.turn.side as usize];
                let sequence = fixed.unwrap_or(*following);
                if fixed.is_none() {
                    *following = after(sequence, pending.count);
                }
                batch.stamp(Stamp { id, epoch, sequence, transactional });
                (Bytes::from(batch.into_bytes()), sequence)
            }
            Body::Stamped { bytes, sequence } => (bytes, sequence),
            Body::Nothing => return None,
        };
        pending.body = Body::Stamped { bytes: bytes.clone(), sequence };
        self.sent += 1;
        self.out += 1;
        Some((bytes, sequence))
    }

    /// What the broker, or the loss of it, says to the batch with this sequence. A code of 0 is success.
    pub(super) fn answer(
        &mut self,
        sequence: i32,
        code: i16,
        offset: i64,
        now: Instant,
        compressor: &mut Compressor,
    ) -> Verdict {
        let place = self.queue.iter().take(self.sent).position(|pending| pending.sequence() == Some(sequence));
        let Some(place) = place.filter(|_| self.out > 0) else { return Verdict::Stale };
        self.out -= 1;
        if code == 0 || code == codes::DUPLICATE_SEQUENCE {
            self.sent -= 1;
            self.attempts = 0;
            self.hindrance = None;
            self.settle(now);
            let known = (code == 0 && offset >= 0).then_some(offset);
            return self.queue.remove(place).map_or(Verdict::Stale, |pending| Verdict::Acknowledged(pending, known));
        }
        if code == codes::MESSAGE_TOO_LARGE || code == codes::RECORD_LIST_TOO_LARGE {
            let Some((first, second)) = self.queue[place].split(compressor) else {
                return Verdict::TooLarge(self.queue[place].payload_bytes());
            };
            let bytes = self.queue[place].bytes();
            self.queue[place] = second;
            self.queue.insert(place, first);
            (self.sent, self.draining, self.concurrent) = (self.sent + 1, true, true);
            self.settle(now);
            return Verdict::Cut(bytes);
        }
        let consequence = code == codes::OUT_OF_ORDER_SEQUENCE && (self.draining || place > 0);
        match codes::meaning(code) {
            Meaning::Dead(class) if !consequence => Verdict::Dead(class),
            meaning => {
                self.draining = true;
                if !consequence {
                    self.concurrent = code == codes::CONCURRENT_TRANSACTIONS;
                }
                self.settle(now);
                Verdict::Again { elsewhere: meaning == Meaning::Elsewhere }
            }
        }
    }

    /// All are answered and one has failed: what is left goes again, after a wait.
    fn settle(&mut self, now: Instant) {
        if self.out > 0 || !self.draining {
            return;
        }
        let (first, last) =
            if self.concurrent { (CONCURRENT_FIRST_WAIT, CONCURRENT_LAST_WAIT) } else { (FIRST_WAIT, LAST_WAIT) };
        self.wait_until = Some(now + first.saturating_mul(1 << self.attempts.min(10)).min(last));
        self.attempts += 1;
        (self.draining, self.sent) = (false, 0);
    }
}

/// The sequence after a batch: from 2³¹ − 1 it goes on at 0.
fn after(sequence: i32, count: i32) -> i32 {
    let next = (i64::from(sequence) + i64::from(count)) & i64::from(i32::MAX);
    i32::try_from(next).unwrap_or(0)
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
