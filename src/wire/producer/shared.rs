//! What the stream thread and its I/O thread share: commands one way, news the other, behind one lock.
//!
//! The lock is taken once a batch, never once a record. Bounds: bytes by `max_unacknowledged_bytes`, so commands are
//! bounded too; one outcome, one failure; [`SPARES`] buffers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::ProduceError;
use crate::position::{Offset, TopicPartition};
use crate::wire::batch::Closed;

/// Buffers that wait to become batches again.
const SPARES: usize = 16;

/// Marks a changelog partition, so that the producer can say how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// The consumer's place in its group (rule N-4): it is what fences a zombie (KIP-447).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The consumer group.
    pub group: String,
    /// Its generation; −1 is refused.
    pub generation: i32,
    /// The member's id, as it was when the partitions were assigned; an empty one is refused.
    pub member_id: String,
    /// The static member's name (KIP-345).
    pub instance_id: Option<String>,
}

/// A committed transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Next offset of each changelog partition that was produced to.
    pub next_offsets: Vec<(Slot, Offset)>,
    /// From the seal until all records were acknowledged.
    pub flush: Duration,
    /// Then until the positions were in the transaction.
    pub offsets: Duration,
    /// Then until its end was answered.
    pub end: Duration,
}

/// A closed batch on its way to the I/O thread.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) topic: usize,
    pub(super) partition: i32,
    pub(super) slot: Option<Slot>,
    pub(super) batch: Closed,
}

/// What ends a transaction.
#[derive(Debug)]
pub(super) struct Seal {
    pub(super) positions: Vec<(TopicPartition, Offset)>,
    pub(super) member: Option<Member>,
}

/// From the stream thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Take over the transactional id, and forget everything before.
    Initialise,
    /// A topic of this name will be produced to, or `named` by records; topics are numbered in this order.
    Topic {
        name: Arc<str>,
        named: bool,
    },
    /// A partition that the topic did not have when it was looked at.
    Sought {
        topic: usize,
        partition: i32,
    },
    Batch(Handed),
    Seal(Seal),
    /// The membership of the sealed transaction, in the group's present generation.
    Renew(Member),
    /// Stop.
    Close,
}

/// How many partitions a topic has, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Partitions {
    /// With what to say if that stays so.
    Unknown(ProduceError),
    Known(i32),
    Refused(ProduceError),
}

/// From the I/O thread.
#[derive(Debug)]
pub(super) enum Notice {
    Initialised,
    Topic {
        index: usize,
        partitions: Partitions,
    },
    Acknowledged {
        bytes: usize,
        spare: Vec<u8>,
    },
    /// The coordinator has refused this generation: the group has gone on.
    Outdated(i32),
    Committed(Committed),
    Failed(ProduceError),
}

/// What is behind the lock.
#[derive(Default)]
pub(super) struct State {
    pub(super) commands: VecDeque<Command>,
    pub(super) unacknowledged: usize,
    pub(super) spares: Vec<Vec<u8>>,
    pub(super) initialised: bool,
    pub(super) topics: Vec<Partitions>,
    /// Counts what is learnt about topics, so that the other side sees a change at a glance.
    pub(super) topics_version: u64,
    pub(super) outcome: Option<Committed>,
    /// The generation that the coordinator has refused, until the membership is renewed.
    pub(super) outdated: Option<i32>,
    pub(super) failure: Option<ProduceError>,
    /// Why the last try to initialise has not succeeded yet.
    pub(super) hindrance: Option<String>,
    pub(super) gone: bool,
}

/// The meeting place.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Set with `failure`, so that each append can look without the lock.
    failed: AtomicBool,
    /// Wakes the I/O thread.
    pub(super) wake: Notify,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, or for the deadline; false at the deadline.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Instant) -> (MutexGuard<'a, State>, bool) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (state, false);
        }
        let (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        (state, true)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Ends the transaction from the stream thread's side: later calls say the same.
    pub(super) fn fail(&self, mut state: MutexGuard<'_, State>, error: ProduceError) -> ProduceError {
        state.failure.get_or_insert_with(|| error.clone());
        self.failed.store(true, Ordering::Relaxed);
        error
    }

    /// A new beginning: what was under way is forgotten on this side.
    pub(super) fn reset(&self) {
        let mut state = self.lock();
        // Topics keep their numbers, so their announcements are not thrown away.
        state.commands.retain(|command| matches!(command, Command::Topic { .. }));
        state.commands.push_back(Command::Initialise);
        state.unacknowledged = 0;
        state.initialised = false;
        state.outcome = None;
        state.outdated = None;
        state.failure = None;
        state.hindrance = None;
        self.failed.store(false, Ordering::Relaxed);
    }

    pub(super) fn command(&self, command: Command) {
        self.lock().commands.push_back(command);
        self.wake.notify_one();
    }

    pub(super) fn take_commands(&self) -> VecDeque<Command> {
        std::mem::take(&mut self.lock().commands)
    }

    /// Tells the stream thread what has happened. Nothing of a time before a reset is told: the I/O thread takes commands
    /// and gives notices in turn, and a reset empties the account on both sides.
    pub(super) fn tell(&self, notices: &mut Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        let mut state = self.lock();
        let reset = state.commands.iter().any(|command| matches!(command, Command::Initialise));
        for notice in notices.drain(..) {
            match notice {
                Notice::Topic { index, partitions } => {
                    if state.topics.len() <= index {
                        state.topics.resize(index + 1, Partitions::Unknown(ProduceError::Abort(String::new())));
                    }
                    state.topics[index] = partitions;
                    state.topics_version += 1;
                }
                Notice::Acknowledged { bytes, spare } => {
                    if !reset {
                        state.unacknowledged = state.unacknowledged.saturating_sub(bytes);
                    }
                    if state.spares.len() < SPARES && spare.capacity() > 0 {
                        state.spares.push(spare);
                    }
                }
                _ if reset => {}
                Notice::Initialised => state.initialised = true,
                Notice::Outdated(generation) => state.outdated = Some(generation),
                Notice::Committed(committed) => state.outcome = Some(committed),
                Notice::Failed(error) => {
                    state.failure.get_or_insert(error);
                    self.failed.store(true, Ordering::Relaxed);
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Why initialising takes so long.
    pub(super) fn hinder(&self, reason: Option<String>) {
        self.lock().hindrance = reason;
    }

    /// The I/O thread is over.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.gone = true;
        if state.failure.is_none() {
            state.failure = Some(ProduceError::Abort("the producer's I/O thread has ended".to_owned()));
        }
        self.failed.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }
}
