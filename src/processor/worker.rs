//! Workers: logic that takes its time, on the records of a share group.
//!
//! ```text
//!  share group ─▶ Worker::run ─▶ sinks ─▶ produced, acknowledged ─▶ accepted
//!                  many at a time,            └─ in doubt: produced again
//!                  in no order
//! ```
//!
//! The counterpart of a [`Processor`](super::Processor): it may wait for whatever it likes, and has neither order nor a store. What it gives is
//! produced before its record is accepted, so nothing is lost, and after a crash, or when a lock was lost, it is given once
//! more: processing is at least once. What must be known once is remembered by its key behind the sink.

use std::fmt;
use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;

use crate::codec::{DecodeError, RecordCodec};
use crate::error::RecordError;
use crate::position::Position;
use crate::record::{RawRecord, Record};
use crate::store::TaskState;

use super::context::{Fault, Scope};
use super::effects::Effects;
use super::external::BoxFuture;
use super::lookups::Lookups;
use super::node::Bound;

/// Which delivery of a record this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first; the broker counts (KIP-932), and a delivery counts also if its member was killed.
    pub number: u16,
    /// Where the record is.
    pub at: Position,
}

/// Work on one record, and what is at hand for it.
pub struct Job<K, V> {
    /// Which delivery it is.
    pub attempt: Attempt,
    /// The topology's global tables.
    pub lookups: Lookups,
    tell: Tell<K, V>,
}

type Tell<K, V> = Arc<dyn Fn(Vec<Record<K, V>>) -> Posted + Send + Sync>;
/// Done when the brokers have it.
type Posted = BoxFuture<'static, Result<(), Failed>>;

impl<K, V> Job<K, V> {
    /// Gives something before the end, how far it is for instance; returns when the brokers have it. Whether the work comes to
    /// an end is open then: the same may be given again by another attempt.
    ///
    /// # Errors
    /// A record can't be encoded, is too large for its topic, or the process stops.
    pub async fn tell(&self, records: Vec<Record<K, V>>) -> Result<(), Failed> {
        (self.tell)(records).await
    }
}

impl<K, V> fmt::Debug for Job<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// Why a worker gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// Another try may help: the record is released, and delivered again at once. After as many attempts as the policy has it
    /// is set aside.
    #[error("{0}")]
    Again(String),
    /// No other try can help: the record is set aside.
    #[error(transparent)]
    ForGood(#[from] RecordError),
}

/// What a worker gives: records for the sinks that stand behind it, in no order.
pub type Given<K, V> = Result<Vec<Record<K, V>>, Failed>;

/// Logic on records of a share group. One value serves all of a node's records, many of them at the same time.
pub trait Worker: Send + Sync + 'static {
    /// Key type of the records.
    type KeyIn: Send + Sync + 'static;
    /// Value type of the records.
    type ValueIn: Send + Sync + 'static;
    /// Key type of what it gives.
    type KeyOut: Send + 'static;
    /// Value type of what it gives.
    type ValueOut: Send + 'static;

    /// Works on one record. The future is dropped at its next await when the record's lock is lost, for somebody else has it
    /// by then; locks are renewed for as long as it runs.
    ///
    /// # Errors
    /// [`Failed`]. A panic is [`Failed::Again`].
    fn run(
        &self,
        record: &Record<Self::KeyIn, Self::ValueIn>,
        job: &Job<Self::KeyOut, Self::ValueOut>,
    ) -> impl Future<Output = Given<Self::KeyOut, Self::ValueOut>> + Send;

    /// Waits until records may be begun at all; asked before each of them. Until then none is begun and none is fetched, and
    /// what has been begun goes on.
    fn hold(&self, lookups: &Lookups) -> BoxFuture<'static, ()> {
        _ = lookups;
        Box::pin(std::future::ready(()))
    }

    /// How many records may be under way: at first, and whenever that changes. Beyond it none is begun, and none is fetched; one
    /// that is lowered ends nothing. While it has been 0 for some seconds the members are out of their groups, since of
    /// what is in one member's partitions others may be handed nothing (KIP-932 deals partitions out among members).
    /// `None`: as many as there are places.
    fn bound(&self) -> Option<BoxStream<'static, usize>> {
        None
    }

    /// What is given in place of a dead letter when a record is to be set aside: it was [refused](Failed::ForGood), it is out of
    /// attempts, or no worker has come to an end with it. Then the record is accepted. `None` leaves it to the dead letters.
    fn give_up(
        &self,
        record: &Record<Self::KeyIn, Self::ValueIn>,
        attempt: &Attempt,
        error: &RecordError,
    ) -> Option<Vec<Record<Self::KeyOut, Self::ValueOut>>> {
        _ = (record, attempt, error);
        None
    }
}

/// One that is looked at from elsewhere, too.
impl<W: Worker> Worker for Arc<W> {
    type KeyIn = W::KeyIn;
    type ValueIn = W::ValueIn;
    type KeyOut = W::KeyOut;
    type ValueOut = W::ValueOut;

    fn run(
        &self,
        record: &Record<W::KeyIn, W::ValueIn>,
        job: &Job<W::KeyOut, W::ValueOut>,
    ) -> impl Future<Output = Given<W::KeyOut, W::ValueOut>> + Send {
        W::run(self, record, job)
    }

    fn hold(&self, lookups: &Lookups) -> BoxFuture<'static, ()> {
        W::hold(self, lookups)
    }

    fn bound(&self) -> Option<BoxStream<'static, usize>> {
        W::bound(self)
    }

    fn give_up(
        &self,
        record: &Record<W::KeyIn, W::ValueIn>,
        attempt: &Attempt,
        error: &RecordError,
    ) -> Option<Vec<Record<W::KeyOut, W::ValueOut>>> {
        W::give_up(self, record, attempt, error)
    }
}

/// What stands around a node of workers.
#[derive(Clone)]
pub struct Around {
    /// The topology's global tables.
    pub lookups: Lookups,
    /// Produces what is given before the end.
    pub post: Arc<dyn Fn(Effects) -> BoxFuture<'static, Result<(), Failed>> + Send + Sync>,
}

/// A node of workers seen from the share consumer: bytes in, records to produce out.
pub trait WorkerEntry: Send + Sync {
    /// Decodes a record; the future works on it.
    ///
    /// # Errors
    /// The bytes are not a record.
    fn begin(
        self: Arc<Self>,
        record: &RawRecord<'_>,
        attempt: Attempt,
        around: &Around,
    ) -> Result<BoxFuture<'static, Result<Effects, Failed>>, DecodeError>;

    /// See [`Worker::hold`].
    fn hold(&self, lookups: &Lookups) -> BoxFuture<'static, ()>;

    /// See [`Worker::bound`].
    fn bound(&self) -> Option<BoxStream<'static, usize>>;

    /// What is given in place of its dead letter, if anything is.
    fn give_up(&self, record: &RawRecord<'_>, attempt: &Attempt, error: &RecordError) -> Option<Effects>;
}

/// What encodes the results: the sinks, and the scope that they write into.
struct Outlet<K, V> {
    sinks: Bound<K, V>,
    scope: Scope,
}

/// Decodes, works, and hands what comes of it to the sinks.
pub struct WorkerNode<W: Worker> {
    worker: Arc<W>,
    codec: Arc<dyn RecordCodec<W::KeyIn, W::ValueIn>>,
    outlet: Mutex<Outlet<W::KeyOut, W::ValueOut>>,
}

impl<W: Worker> WorkerNode<W> {
    /// A worker over its sinks.
    pub fn new(
        worker: Arc<W>,
        codec: Arc<dyn RecordCodec<W::KeyIn, W::ValueIn>>,
        sinks: Bound<W::KeyOut, W::ValueOut>,
    ) -> Self {
        let scope = Scope::new(TaskState::in_memory(&[]));
        WorkerNode { worker, codec, outlet: Mutex::new(Outlet { sinks, scope }) }
    }

    fn decode(&self, raw: &RawRecord<'_>) -> Result<Record<W::KeyIn, W::ValueIn>, DecodeError> {
        let (key, value) = self.codec.decode(raw)?;
        Ok(Record { key, value, timestamp: raw.timestamp, headers: raw.headers.clone() })
    }

    fn give(&self, records: &[Record<W::KeyOut, W::ValueOut>]) -> Result<Effects, Failed> {
        // A sink that has panicked leaves nothing behind that the next one would not clear.
        let mut outlet = self.outlet.lock().unwrap_or_else(PoisonError::into_inner);
        let Outlet { sinks, scope } = &mut *outlet;
        (scope.fault, scope.effects) = (None, Effects::default());
        for record in records {
            sinks.iter_mut().for_each(|sink| sink.receive(record, scope));
        }
        match scope.fault.take() {
            None => Ok(mem::take(&mut scope.effects)),
            Some(Fault::Record(error)) => Err(error.into()),
            // Sinks have no store, and encode by schemas that are bound before the start.
            Some(fault) => Err(Failed::Again(fault.to_string())),
        }
    }
}

impl<W: Worker> WorkerEntry for WorkerNode<W> {
    fn begin(
        self: Arc<Self>,
        raw: &RawRecord<'_>,
        attempt: Attempt,
        around: &Around,
    ) -> Result<BoxFuture<'static, Result<Effects, Failed>>, DecodeError> {
        let record = self.decode(raw)?;
        let Around { lookups, post } = around.clone();
        let node = Arc::clone(&self);
        let tell = Arc::new(move |records: Vec<Record<W::KeyOut, W::ValueOut>>| -> Posted {
            match node.give(&records) {
                Ok(effects) => post(effects),
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        });
        Ok(Box::pin(async move {
            let given = self.worker.run(&record, &Job { attempt, lookups, tell }).await?;
            self.give(&given)
        }))
    }

    fn hold(&self, lookups: &Lookups) -> BoxFuture<'static, ()> {
        self.worker.hold(lookups)
    }

    fn bound(&self) -> Option<BoxStream<'static, usize>> {
        self.worker.bound()
    }

    fn give_up(&self, raw: &RawRecord<'_>, attempt: &Attempt, error: &RecordError) -> Option<Effects> {
        // What can't be decoded, or not be encoded, is a dead letter all the same.
        let record = self.decode(raw).ok()?;
        self.give(&self.worker.give_up(&record, attempt, error)?).ok()
    }
}
