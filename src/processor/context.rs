//! What a processor sees of the task it runs in.

use std::sync::Arc;

use crate::codec::{DecodeError, SchemaId};
use crate::error::{RecordError, Stage};
use crate::position::{Offset, Partition};
use crate::record::{Record, Timestamp};
use crate::store::{
    Bounds, Entries, GlobalState, GlobalTable, Lines, Place, ReadError, Store, StoreError, Table, TaskState, Timer,
    Timers,
};

use super::effects::Effects;
use super::node::Receive;
use super::punctuator::{Clock, LastTick, Punctuator, Schedule};

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
            other => RecordError::new(Stage::Deserialize, other.class(), other.to_string()).into(),
        }
    }
}

/// When a punctuator is due next, by each clock: what is compared for each record.
#[derive(Debug, Clone, Copy)]
pub struct NextTicks {
    /// On stream time.
    pub stream_time: Timestamp,
    /// On wall-clock time.
    pub wall_clock: Timestamp,
    /// What is remembered of the punctuators may have changed: their store has to be read again.
    pub unread: bool,
}

impl NextTicks {
    /// At once: the punctuators have to be looked at.
    pub const UNREAD: NextTicks =
        NextTicks { stream_time: Timestamp(i64::MIN), wall_clock: Timestamp(i64::MIN), unread: true };
    /// A task without punctuators.
    pub const NEVER: NextTicks =
        NextTicks { stream_time: Timestamp(i64::MAX), wall_clock: Timestamp(i64::MAX), unread: false };
}

/// The part of a task that all its nodes share while one record, or one tick of a punctuator, passes through.
#[derive(Debug)]
pub struct Scope {
    /// Staged and committed state.
    pub state: TaskState,
    /// The process's global tables.
    pub globals: Arc<GlobalState>,
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
    /// Offset of the record in hand; −1 at a tick.
    pub offset: Offset,
    /// The first fault of this record; once set, later effects of the record do not matter, they are rolled back.
    pub fault: Option<Fault>,
    /// Reasons for which the record is set aside *although* its effects stand.
    pub set_aside: Option<RecordError>,
    /// Reused for encoding keys and values.
    pub scratch: (Vec<u8>, Vec<u8>),
    /// When the task's punctuators are due.
    pub next_ticks: NextTicks,
}

impl Scope {
    /// A scope over a task's state.
    pub fn new(state: TaskState) -> Self {
        Scope {
            state,
            globals: Arc::default(),
            effects: Effects::default(),
            now: Timestamp::NONE,
            stream_time: Timestamp::NONE,
            topic: Arc::from(""),
            partition: Partition(0),
            offset: Offset(0),
            fault: None,
            set_aside: None,
            scratch: (Vec::new(), Vec::new()),
            next_ticks: NextTicks::NEVER,
        }
    }

    /// Remembers the record's first fault.
    pub fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

/// A processor's view of its task: forward, read and write stores, set the record aside, cancel its punctuators.
pub struct Context<'a, K, V> {
    pub(super) scope: &'a mut Scope,
    pub(super) children: &'a mut [Box<dyn Receive<K, V>>],
    pub(super) schedule: &'a Schedule,
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

    /// Timers of this task.
    pub fn timers<'s>(&'s mut self, timers: &'s Timers) -> TimersAccess<'s> {
        TimersAccess { timers, now: self.scope.now, state: &mut self.scope.state }
    }

    /// Lines of this task.
    pub fn lines<'s>(&'s mut self, lines: &'s Lines) -> LinesAccess<'s> {
        LinesAccess { lines, state: &mut self.scope.state }
    }

    /// A lookup table of this task.
    pub fn table<'s, TK: 'static, TV: 'static>(&'s mut self, table: &'s Table<TK, TV>) -> TableAccess<'s, TK, TV> {
        TableAccess(StoreAccess { store: table.store(), state: &mut self.scope.state })
    }

    /// A global table.
    pub fn global<'s, TK: 'static, TV: 'static>(
        &'s mut self,
        table: &'s GlobalTable<TK, TV>,
    ) -> GlobalAccess<'s, TK, TV> {
        GlobalAccess { table, state: &self.scope.globals, scratch: &mut self.scope.scratch.0 }
    }

    /// Sets the input record aside as a dead letter while its effects stand: for a record that is only half readable. At a
    /// tick the dead letter names the punctuator and the tick.
    pub fn set_aside(&mut self, error: RecordError) {
        self.scope.set_aside.get_or_insert(error);
    }

    /// Counts one of an event, for the metric `headrace_processor_events_total`; `of` tells series of it apart (a queue, a target), or
    /// is empty, and has few values: each is a series. An effect like any other: taken back if the record or the transaction fails, and
    /// told when that has committed, so that nothing counts twice.
    pub fn count(&mut self, event: &'static str, of: &str) {
        self.scope.effects.count(&self.schedule.processor, event, of);
    }

    /// Ends a punctuator of this processor: it gives no more ticks, after a restart neither, until it is
    /// [resumed](Self::resume). An effect like any other: taken back if the record or the transaction fails.
    ///
    /// # Errors
    /// The processor has no punctuator of this name, or the store failed.
    pub fn cancel(&mut self, punctuator: &str) -> Result<(), Fault> {
        let last = self.last_tick(punctuator)?.1;
        self.remember(punctuator, LastTick { cancelled: true, ..last });
        Ok(())
    }

    /// Lets a cancelled punctuator go on. Its ticks are counted from now on; those of the time between are not made up. One
    /// that was not cancelled stays as it is.
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub fn resume(&mut self, punctuator: &str) -> Result<(), Fault> {
        let (clock, last) = self.last_tick(punctuator)?;
        if !last.cancelled {
            return Ok(());
        }
        let now = match clock {
            Clock::StreamTime => self.scope.stream_time,
            Clock::WallClock => self.scope.now,
        };
        let at = if now == Timestamp::NONE { last.at } else { last.at.max(Some(now)) };
        self.remember(punctuator, LastTick { at, cancelled: false });
        Ok(())
    }

    fn last_tick(&mut self, punctuator: &str) -> Result<(Clock, LastTick), Fault> {
        let known = self.schedule.punctuators.iter().find(|known| known.name() == punctuator).map(Punctuator::clock);
        let clock = known.ok_or_else(|| {
            let reason = format!("processor {} has no punctuator {punctuator}", self.schedule.processor);
            RecordError::new(Stage::Process, "unknown-punctuator", reason)
        })?;
        Ok((clock, self.schedule.last_tick(&mut self.scope.state, punctuator)?))
    }

    fn remember(&mut self, punctuator: &str, last: LastTick) {
        self.scope.state.write(self.schedule.ticks, punctuator.as_bytes(), Some(&last.encode()));
        self.scope.next_ticks = NextTicks::UNREAD;
    }

    /// Wall-clock time, the same for everything that one record causes.
    pub fn now(&self) -> Timestamp {
        self.scope.now
    }

    /// Highest record timestamp that the task has processed.
    pub fn stream_time(&self) -> Timestamp {
        self.scope.stream_time
    }

    /// Topic of the input record; empty at a tick.
    pub fn topic(&self) -> &str {
        &self.scope.topic
    }

    /// Partition of the input record; at a tick, the task's.
    pub fn partition(&self) -> Partition {
        self.scope.partition
    }

    /// Offset of the input record; −1 at a tick.
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
        Ok(self.store.read(self.state, key)?)
    }

    /// The entries within bounds of the keys' *bytes*, in their order. To write while looking through them, collect what is to
    /// be written first: no more than fits into memory, since all of it is one transaction.
    ///
    /// # Errors
    /// The store failed. An entry that can't be decoded is an error of its own.
    pub fn range(&mut self, bounds: Bounds<'_>) -> Result<Entries<'_, K, V>, Fault> {
        Ok(self.store.range(self.state, bounds)?)
    }

    /// The entries whose key's bytes start with `prefix`, as [`range`](Self::range).
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn prefix(&mut self, prefix: &[u8]) -> Result<Entries<'_, K, V>, Fault> {
        Ok(self.store.prefix(self.state, prefix)?)
    }

    /// Stages a write; `None` deletes.
    ///
    /// # Errors
    /// The value does not fit the store's codec.
    pub fn write(&mut self, key: &K, value: Option<&V>) -> Result<(), Fault> {
        Ok(self.store.write(self.state, key, value)?)
    }
}

/// Timers, as the processor of the record in hand sees them: those included that it has set. They are wall-clock's, looked at
/// at the ticks of a [punctuator](Punctuator::wall_clock).
pub struct TimersAccess<'a> {
    timers: &'a Timers,
    now: Timestamp,
    state: &'a mut TaskState,
}

impl TimersAccess<'_> {
    /// Sets one for a time, `of` whatever it is of.
    ///
    /// # Errors
    /// The store failed.
    pub fn set(&mut self, at: Timestamp, of: &[u8]) -> Result<(), Fault> {
        Ok(self.timers.set(self.state, at, of)?)
    }

    /// Takes one away.
    ///
    /// # Errors
    /// The store failed.
    pub fn cancel(&mut self, at: Timestamp, of: &[u8]) -> Result<(), Fault> {
        Ok(self.timers.cancel(self.state, at, of)?)
    }

    /// Takes those that are due by now, in the order of their times, `most` of them; all that is taken is one transaction.
    ///
    /// # Errors
    /// The store failed.
    pub fn take(&mut self, most: usize) -> Result<Vec<Timer>, Fault> {
        self.take_until(self.now, most)
    }

    /// Takes those that are due at a time. Where that is a time that a record has, which of them are taken before it does not depend
    /// on when it is processed, nor on how often.
    ///
    /// # Errors
    /// The store failed.
    pub fn take_until(&mut self, at: Timestamp, most: usize) -> Result<Vec<Timer>, Fault> {
        Ok(self.timers.take(self.state, at, most)?)
    }

    /// The first of those that are due by now, which stays.
    ///
    /// # Errors
    /// The store failed.
    pub fn first(&mut self) -> Result<Option<Timer>, Fault> {
        Ok(self.timers.first(self.state, self.now)?)
    }
}

/// Lines, as the processor of the record in hand sees them: those included that it has put in.
pub struct LinesAccess<'a> {
    lines: &'a Lines,
    state: &'a mut TaskState,
}

impl LinesAccess<'_> {
    /// Puts one at the end of a key's line, `of` whatever it is of.
    ///
    /// # Errors
    /// The store failed.
    pub fn join(&mut self, key: &[u8], of: &[u8]) -> Result<Place, Fault> {
        Ok(self.lines.join(self.state, key, of)?)
    }

    /// A number for a place, higher than all that were given: for who may have to stand in line later.
    ///
    /// # Errors
    /// The store failed.
    pub fn take_number(&mut self) -> Result<i64, Fault> {
        Ok(self.lines.take_number(self.state)?)
    }

    /// Puts one into a key's line at a number that was taken before; whether it is the first one now.
    ///
    /// # Errors
    /// The store failed.
    pub fn join_at(&mut self, key: &[u8], number: i64, of: &[u8]) -> Result<bool, Fault> {
        Ok(self.lines.join_at(self.state, key, number, of)?)
    }

    /// The first ones of a key's line, `most` of them, in their order.
    ///
    /// # Errors
    /// The store failed.
    pub fn front(&mut self, key: &[u8], most: usize) -> Result<Vec<(i64, Vec<u8>)>, Fault> {
        Ok(self.lines.front(self.state, key, most)?)
    }

    /// Takes one out of a key's line. If it was the first, gives who is now, if anybody: its number, and what it is of.
    ///
    /// # Errors
    /// The store failed.
    pub fn leave(&mut self, key: &[u8], number: i64) -> Result<Option<(i64, Vec<u8>)>, Fault> {
        Ok(self.lines.leave(self.state, key, number)?)
    }

    /// The first one of a key's line: its number, and what it is of.
    ///
    /// # Errors
    /// The store failed.
    pub fn first(&mut self, key: &[u8]) -> Result<Option<(i64, Vec<u8>)>, Fault> {
        Ok(self.lines.first(self.state, key)?)
    }
}

/// One lookup table, as it is when the record in hand is processed.
pub struct TableAccess<'a, K, V>(StoreAccess<'a, K, V>);

impl<K: 'static, V: 'static> TableAccess<'_, K, V> {
    /// The value of a key.
    ///
    /// # Errors
    /// The store failed, or what the topic has for the key can't be decoded.
    pub fn read(&mut self, key: &K) -> Result<Option<V>, Fault> {
        self.0.read(key)
    }

    /// The entries within bounds of the keys' *bytes*, as [`StoreAccess::range`].
    ///
    /// # Errors
    /// As there.
    pub fn range(&mut self, bounds: Bounds<'_>) -> Result<Entries<'_, K, V>, Fault> {
        self.0.range(bounds)
    }

    /// The entries whose key's bytes start with `prefix`, as [`StoreAccess::prefix`].
    ///
    /// # Errors
    /// As there.
    pub fn prefix(&mut self, prefix: &[u8]) -> Result<Entries<'_, K, V>, Fault> {
        self.0.prefix(prefix)
    }
}

/// One global table, as it is at each look: two looks of one record may see two states of it.
pub struct GlobalAccess<'a, K, V> {
    table: &'a GlobalTable<K, V>,
    state: &'a GlobalState,
    scratch: &'a mut Vec<u8>,
}

impl<K: 'static, V: 'static> GlobalAccess<'_, K, V> {
    /// The value of a key.
    ///
    /// # Errors
    /// The database failed, or what the topic has for the key can't be decoded.
    pub fn read(&mut self, key: &K) -> Result<Option<V>, Fault> {
        Ok(self.table.read(self.state, key, self.scratch)?)
    }

    /// The entries within bounds of the keys' *bytes*, in their order, as they are when the scan begins.
    ///
    /// # Errors
    /// The database failed. An entry that can't be decoded is an error of its own.
    pub fn range(&mut self, bounds: Bounds<'_>) -> Result<Entries<'_, K, V>, Fault> {
        Ok(self.table.range(self.state, bounds)?)
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Fault::Store(error),
            ReadError::Decode(error) => Fault::from_decode(error),
            ReadError::Encode(error) => RecordError::new(Stage::Serialize, "store-encode", error.to_string()).into(),
        }
    }
}
