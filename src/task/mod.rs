//! A task: one sub-topology × one partition, as a pure and synchronous state machine.
//!
//! ```text
//!  (record, now)      ─▶ Task::process   ─▶ effects (outputs, requests, staged writes) + next position
//!  (clock, time, now) ─▶ Task::punctuate ─▶ the same, without a position
//!  (answer, now)      ─▶ Task::settle    ─▶ the same, of what the call was made for
//! ```
//!
//! The task knows no Kafka, no threads and no clock; the I/O plane feeds it and carries its effects out. One record's
//! effects are all-or-nothing: on a fault or a panic they are taken back, and the record is dead-lettered by the
//! topology's policy, as an output like any other, so that it commits together with the position that skips it.

mod answers;
mod fault;
mod limits;
mod punctuation;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod punctuation_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use fault::TaskFault;
pub use limits::Limits;
pub use punctuation::{Punctuated, TickOutcome};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::codec::DecodeError;
use crate::dead_letter::{Breaker, DeadLetter, Origin, Policy, Provenance};
use crate::error::{RecordError, Stage};
use crate::position::{Offset, Partition, Position, TaskId, TopicPartition};
use crate::processor::{Effects, Fault, Scope, SourceEntry, TopicIndex};
use crate::record::{RawRecord, Timestamp};
use crate::store::{GlobalState, TaskState};
use crate::topology::{Topics, Topology};

use limits::TopicLimits;
use punctuation::Punctuators;

/// What became of a record.
#[derive(Debug)]
pub enum Outcome {
    /// Its effects stand.
    Processed,
    /// It was set aside as a dead letter.
    SetAside {
        /// Why.
        error: RecordError,
        /// True when so many were that the input should rest.
        tripped: bool,
    },
}

struct Source {
    topics: Topics,
    /// Whether it keeps a lookup table.
    is_table: bool,
    entry: Box<dyn SourceEntry>,
}

struct Progress {
    source: usize,
    next: Option<Offset>,
    name: Arc<str>,
}

/// One sub-topology × one partition.
pub struct Task {
    id: TaskId,
    application: Arc<str>,
    sources: Vec<Source>,
    /// One for each topic that came by; most tasks read one.
    progress: Vec<Progress>,
    /// Which of them the last record was of: a look-up by name for each record would be felt.
    last: usize,
    scope: Scope,
    dead_letters: Option<(TopicIndex, Policy)>,
    breaker: Breaker,
    refused: Vec<(Position, RecordError)>,
    limits: TopicLimits,
    punctuators: Punctuators,
}

impl Task {
    /// A task over its state. Positions start unknown; the consumer decides where reading starts.
    pub fn new(topology: &Topology, application: &str, id: TaskId, state: TaskState, limits: Limits) -> Self {
        let own = topology.sources().iter().filter(|source| source.sub_topology == id.sub_topology);
        let sources = own.map(|source| Source {
            topics: source.topics.clone(),
            is_table: source.table.is_some(),
            entry: source.instantiate(),
        });
        let dead_letters = topology.dead_letters().map(|(topic, policy)| (TopicIndex(topic), policy.clone()));
        let policy = dead_letters.as_ref().map_or_else(|| Policy::after_attempts(1), |(_, policy)| policy.clone());
        let mut scope = Scope::new(state);
        scope.stream_time = scope.state.stream_time().unwrap_or(Timestamp::NONE);
        let punctuators = Punctuators::new(topology.schedules(id.sub_topology));
        scope.next_ticks = punctuators.unread();
        Task {
            id,
            application: application.into(),
            sources: sources.collect(),
            progress: Vec::new(),
            last: 0,
            scope,
            breaker: policy.breaker(),
            dead_letters,
            refused: Vec::new(),
            limits: TopicLimits::new(topology, application, limits),
            punctuators,
        }
    }

    /// Has its processors look up global tables in here.
    pub fn look_up_in(&mut self, globals: Arc<GlobalState>) {
        self.scope.globals = globals;
    }

    /// Its id.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Processes one record at wall-clock time `now`.
    ///
    /// # Errors
    /// A [`TaskFault`]: nothing of the record has happened, and the position stands before it.
    pub fn process(&mut self, raw: &RawRecord<'_>, now: Timestamp) -> Result<Outcome, TaskFault> {
        debug_assert!(!self.is_due_before(raw), "a tick that is due comes before the record");
        self.scope.now = now;
        self.scope.partition = raw.partition;
        self.scope.offset = raw.offset;
        let own = self.progress_of(raw.topic)?;
        let Progress { source, ref name, next } = self.progress[own];
        if self.sources[source].is_table && next.is_some_and(|next| raw.offset < next) {
            // The store has it from a restore, and what came after it.
            return Ok(Outcome::Processed);
        }
        if !Arc::ptr_eq(&self.scope.topic, name) {
            self.scope.topic = Arc::clone(name);
        }
        let error = match self.refusal(raw) {
            Some(error) => Some((error, 1)),
            None => self.attempt(|task| task.run_once(source, raw))?,
        };
        let outcome = match error {
            None => Outcome::Processed,
            Some((error, attempts)) => self.set_aside(raw, error, attempts)?,
        };
        if !self.sources[source].is_table {
            self.scope.stream_time = self.scope.stream_time.max(raw.timestamp);
        }
        self.progress[own].next = Some(raw.offset.next());
        if matches!(outcome, Outcome::Processed) {
            self.breaker.count(false);
        }
        Ok(outcome)
    }

    /// Tries a record, or a tick, as often as the policy has it; gives the error that it is to be set aside for.
    #[inline]
    fn attempt(
        &mut self,
        mut run: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<Option<(RecordError, u32)>, TaskFault> {
        let allowed = self.dead_letters.as_ref().map_or(1, |(_, policy)| policy.attempts());
        for attempt in 1.. {
            let mark = self.scope.effects.mark();
            self.scope.state.begin_record();
            let fault = match run(self) {
                Ok(()) => match self.too_large(mark) {
                    None => {
                        self.scope.state.commit_record();
                        return Ok(self.scope.set_aside.take().map(|error| (error, attempt)));
                    }
                    Some(error) => Fault::Record(error),
                },
                Err(fault) => fault,
            };
            self.scope.set_aside = None;
            self.scope.effects.roll_back(mark);
            self.forget_calls(mark.calls());
            self.scope.state.rollback_record();
            match fault {
                Fault::SchemaNotLoaded(id) => return Err(TaskFault::SchemaNotLoaded(id)),
                Fault::Store(error) => return Err(TaskFault::Store(error)),
                Fault::Record(error) if attempt >= allowed || error.stage != Stage::Process => {
                    return Ok(Some((error, attempt)));
                }
                Fault::Record(_) => {}
            }
        }
        unreachable!("the loop ends at the policy's number of attempts")
    }

    fn run_once(&mut self, source: usize, raw: &RawRecord<'_>) -> Result<(), Fault> {
        let limit = self.dead_letters.as_ref().map_or(usize::MAX, |(_, policy)| policy.input_limit());
        if raw.size() > limit {
            let reason = format!("{} bytes, limit {limit}", raw.size());
            let error = RecordError::new(Stage::Deserialize, "record-too-large", reason);
            if !self.sources[source].entry.keep(raw, &mut self.scope) {
                return Err(error.into());
            }
            self.scope.set_aside.get_or_insert(error);
            return Ok(());
        }
        let entry = &mut self.sources[source].entry;
        let scope = &mut self.scope;
        // A processor that panics poisons its record, not the process (rule D7); its staged effects are taken back.
        match catch_unwind(AssertUnwindSafe(|| entry.accept(raw, scope))) {
            Ok(Ok(())) => self.scope.fault.take().map_or(Ok(()), Err),
            Ok(Err(DecodeError::SchemaNotLoaded(id))) => Err(Fault::SchemaNotLoaded(id)),
            Ok(Err(error)) => Err(RecordError::new(Stage::Deserialize, error.class(), error.to_string()).into()),
            Err(_) => Err(self.panicked()),
        }
    }

    fn panicked(&mut self) -> Fault {
        self.scope.fault = None;
        // The panic's text may hold payload; the hook has printed it to the log's stream already.
        RecordError::new(Stage::Process, "panic", "the processor panicked").into()
    }

    fn too_large(&self, mark: crate::processor::Mark) -> Option<RecordError> {
        self.limits.exceeded(&self.scope.effects, mark, self.scope.state.largest_record_write())
    }

    fn set_aside(&mut self, raw: &RawRecord<'_>, error: RecordError, attempts: u32) -> Result<Outcome, TaskFault> {
        let Some((topic, _)) = self.dead_letters else {
            let position = self.position_of(raw);
            return Err(TaskFault::Unhandled { position, error });
        };
        let provenance = Provenance { application: &self.application, origin: Origin::Task(self.id), attempts };
        let limit = self.limits.of(topic);
        let Some(DeadLetter { key, value, headers }) = DeadLetter::new(raw, &error, &provenance, limit) else {
            let (position, topic) = (self.position_of(raw), self.limits.name(topic));
            return Err(TaskFault::NoRoom(format!(
                "{position}: {error}; its dead letter does not fit into {topic}, limit {limit} bytes: raise \
                 max.message.bytes of the topic"
            )));
        };
        self.scope.effects.output(topic, None, key, value, raw.timestamp, headers);
        let tripped = self.breaker.count(true);
        Ok(Outcome::SetAside { error, tripped })
    }

    /// The number of a topic's progress.
    fn progress_of(&mut self, topic: &str) -> Result<usize, TaskFault> {
        let is_it = |progress: &Progress| *progress.name == *topic;
        if !self.progress.get(self.last).is_some_and(is_it) {
            self.last = match self.progress.iter().position(is_it) {
                Some(known) => known,
                None => {
                    let found = self.sources.iter().position(|source| source.topics.matches(topic));
                    let source = found.ok_or_else(|| TaskFault::UnknownTopic(topic.to_owned()))?;
                    self.progress.push(Progress { source, next: None, name: topic.into() });
                    self.progress.len() - 1
                }
            };
        }
        Ok(self.last)
    }

    /// Moves the position past offsets that hold no record, such as transaction markers (rule R-7).
    ///
    /// # Errors
    /// No source reads the topic.
    pub fn skip_to(&mut self, topic: &str, next: Offset) -> Result<(), TaskFault> {
        let own = self.progress_of(topic)?;
        let position = &mut self.progress[own].next;
        *position = (*position).max(Some(next));
        Ok(())
    }

    /// The next position in a topic, if it has moved since the task was made or rewound.
    pub fn next(&self, topic: &str) -> Option<Offset> {
        self.progress.iter().find(|progress| *progress.name == *topic)?.next
    }

    /// The topic's partition is not this task's any more.
    pub fn forget(&mut self, topic: &str) {
        self.progress.retain(|progress| *progress.name != *topic);
    }

    /// A topic takes no record of more than this many bytes of key + value + headers: the broker has refused one.
    pub fn lower_limit(&mut self, topic: &str, bytes: usize) {
        self.limits.lower(topic, bytes);
    }

    /// Marks a record that an external target refused for good: it is set aside when it comes by again.
    pub fn refuse(&mut self, position: Position, error: RecordError) {
        self.refused.push((position, error));
    }

    fn refusal(&mut self, raw: &RawRecord<'_>) -> Option<RecordError> {
        let is_it = |(position, _): &(Position, RecordError)| {
            position.offset == raw.offset && position.partition == raw.partition && *position.topic == *raw.topic
        };
        let error = &self.refused.iter().find(|refused| is_it(refused))?.1;
        Some(RecordError::new(error.stage, error.class, error.reason.clone()))
    }

    fn position_of(&self, raw: &RawRecord<'_>) -> Position {
        Position { topic: raw.topic.into(), partition: raw.partition, offset: raw.offset }
    }

    /// What has been asked of the I/O plane since [`Effects::clear`].
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.scope.effects
    }

    /// The task's state: staged and committed.
    pub fn state(&mut self) -> &mut TaskState {
        &mut self.scope.state
    }

    /// Highest record timestamp processed.
    pub fn stream_time(&self) -> Timestamp {
        self.scope.stream_time
    }

    /// Next position per topic, of those that moved since the task was made or rewound.
    pub fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        let moved = self.progress.iter().filter_map(|progress| Some((progress, progress.next?)));
        moved.map(|(progress, next)| (self.topic_partition(&progress.name), next)).collect()
    }

    fn topic_partition(&self, topic: &Arc<str>) -> TopicPartition {
        TopicPartition { topic: Arc::clone(topic), partition: self.partition() }
    }

    /// Its partition.
    pub fn partition(&self) -> Partition {
        self.id.partition
    }

    /// A transaction committed up to these positions: refused records before them have been dealt with.
    pub fn committed(&mut self, positions: &[(TopicPartition, Offset)]) {
        let is_behind = |position: &Position| {
            let own = positions.iter().find(|(at, _)| at.topic == position.topic && at.partition == position.partition);
            own.is_some_and(|(_, next)| position.offset < *next)
        };
        self.refused.retain(|(position, _)| !is_behind(position));
        self.punctuators.committed();
    }

    /// The transaction was aborted: staged effects and positions go; reading starts again from what is committed.
    pub fn rewind(&mut self) {
        self.scope.effects.clear();
        self.forget_calls(0);
        self.scope.state.drop_staged();
        self.scope.fault = None;
        self.scope.set_aside = None;
        self.scope.stream_time = self.scope.state.stream_time().unwrap_or(Timestamp::NONE);
        self.progress.iter_mut().for_each(|progress| progress.next = None);
        // The changelog may say yet that the transaction has committed: what has been fired is read when it is needed.
        self.scope.next_ticks = self.punctuators.unread();
        self.punctuators.rewind();
    }

    /// Gives the state back, to be closed.
    pub fn into_state(self) -> TaskState {
        self.scope.state
    }
}
