//! What a processor sees of the task it runs in.

use std::sync::Arc;

use crate::codec::{DecodeError, SchemaId};
use crate::error::RecordError;
use crate::position::{Offset, Partition};
use crate::record::{Record, Timestamp};
use crate::store::{ReadError, Store, StoreError, TaskState};

use super::effects::Effects;
use super::node::Receive;

/// Why a record could not be processed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The record itself: dead-lettered by policy.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A schema must be fetched first; the same record is then processed again.
    #[error("schema id {0} is not loaded yet")]
    SchemaNotLoaded(SchemaId),
    /// The local store failed; the task is closed and reconciled.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault {
    pub(super) fn from_decode(error: DecodeError) -> Fault {
        match error {
            DecodeError::SchemaNotLoaded(id) => Fault::SchemaNotLoaded(id),
            other => RecordError::new(crate::error::Stage::Deserialize, other.class(), other.to_string()).into(),
        }
    }
}

/// The part of a task that all its nodes share while one record passes through.
#[derive(Debug)]
pub struct Scope {
    /// Staged and committed state.
    pub state: TaskState,
    /// What has been asked of the I/O plane.
    pub effects: Effects,
    /// Wall-clock time of this record's processing, in milliseconds.
    pub now: Timestamp,
    /// Highest timestamp processed so far (rule R-27).
    pub stream_time: Timestamp,
    /// Topic of the record in hand.
    pub topic: Arc<str>,
    /// Partition of the record in hand.
    pub partition: Partition,
    /// Offset of the record in hand.
    pub offset: Offset,
    /// The first fault of this record; once set, later effects of the record do not matter, they are rolled back.
    pub fault: Option<Fault>,
    /// Reasons for which the record is set aside *although* its effects stand.
    pub set_aside: Option<RecordError>,
    /// Reused for encoding keys and values.
    pub scratch: (Vec<u8>, Vec<u8>),
}

impl Scope {
    /// A scope over a task's state.
    pub fn new(state: TaskState) -> Self {
        Scope {
            state,
            effects: Effects::default(),
            now: Timestamp::NONE,
            stream_time: Timestamp::NONE,
            topic: Arc::from(""),
            partition: Partition(0),
            offset: Offset(0),
            fault: None,
            set_aside: None,
            scratch: (Vec::new(), Vec::new()),
        }
    }

    /// Remembers the record's first fault.
    pub fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

/// A processor's view of its task: forward, read and write stores, set the record aside.
pub struct Context<'a, K, V> {
    pub(super) scope: &'a mut Scope,
    pub(super) children: &'a mut [Box<dyn Receive<K, V>>],
}

impl<K, V> Context<'_, K, V> {
    /// Hands a record to every node below. A failure there fails the input record as a whole.
    pub fn forward(&mut self, record: &Record<K, V>) {
        for child in self.children.iter_mut() {
            child.receive(record, self.scope);
        }
    }

    /// A store of this task.
    pub fn store<'s, SK: 'static, SV: 'static>(&'s mut self, store: &'s Store<SK, SV>) -> StoreAccess<'s, SK, SV> {
        StoreAccess { store, state: &mut self.scope.state }
    }

    /// Sets the input record aside as a dead letter while its effects stand: for a record that is only half readable.
    pub fn set_aside(&mut self, error: RecordError) {
        self.scope.set_aside.get_or_insert(error);
    }

    /// Wall-clock time, the same for everything that one record causes.
    pub fn now(&self) -> Timestamp {
        self.scope.now
    }

    /// Highest record timestamp that the task has processed.
    pub fn stream_time(&self) -> Timestamp {
        self.scope.stream_time
    }

    /// Topic of the input record.
    pub fn topic(&self) -> &str {
        &self.scope.topic
    }

    /// Partition of the input record.
    pub fn partition(&self) -> Partition {
        self.scope.partition
    }

    /// Offset of the input record.
    pub fn offset(&self) -> Offset {
        self.scope.offset
    }
}

/// One store, as the processor of the record in hand sees it: its own writes included.
pub struct StoreAccess<'a, K, V> {
    store: &'a Store<K, V>,
    state: &'a mut TaskState,
}

impl<K: 'static, V: 'static> StoreAccess<'_, K, V> {
    /// The value of a key.
    ///
    /// # Errors
    /// The store failed, or the stored bytes can't be decoded.
    pub fn read(&mut self, key: &K) -> Result<Option<V>, Fault> {
        self.store.read(self.state, key).map_err(|error| match error {
            ReadError::Decode(error) => Fault::from_decode(error),
            other => Fault::from(RecordOrStore(other)),
        })
    }

    /// Stages a write; `None` deletes.
    ///
    /// # Errors
    /// The value does not fit the store's codec.
    pub fn write(&mut self, key: &K, value: Option<&V>) -> Result<(), Fault> {
        self.store.write(self.state, key, value).map_err(|error| Fault::from(RecordOrStore(error)))
    }
}

struct RecordOrStore(ReadError);

impl From<RecordOrStore> for Fault {
    fn from(error: RecordOrStore) -> Self {
        match error.0 {
            ReadError::Store(error) => Fault::Store(error),
            ReadError::Decode(error) => Fault::from_decode(error),
            ReadError::Encode(error) => {
                RecordError::new(crate::error::Stage::Serialize, "store-encode", error.to_string()).into()
            }
        }
    }
}
