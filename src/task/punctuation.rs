//! The ticks of a task: which punctuator is due, and what becomes of its call (rule R-27).
//!
//! ```text
//!  (clock, time) ─▶ is_due? ─▶ punctuate, until none is due ─▶ effects + the tick itself, staged together
//!                   one comparison per record                   └─▶ store <processor>-punctuators ─▶ changelog
//! ```
//!
//! A tick is remembered where its effects are: staged, in the same transaction, in the same WriteBatch, and in a changelog. So
//! the changelog decides what has been fired (rule R-18), as it decides what is in the stores: after a crash between the commit
//! in Kafka and the WriteBatch, after the partition has moved, and after the disk is lost. Only a tick of wall-clock time that
//! did nothing is not remembered, for that would open a transaction over nothing (rule R-8).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::dead_letter::{Origin, Provenance, RECORD_OVERHEAD, tick_provenance};
use crate::error::RecordError;
use crate::position::Offset;
use crate::processor::{Clock, Fault, LastTick, NextTicks, Punctuator, Schedule, Tick};
use crate::record::{RawRecord, Timestamp};

use super::{Task, TaskFault};

/// A punctuator was called.
#[derive(Debug)]
pub struct Punctuated {
    /// `<processor>/<punctuator>`.
    pub name: Arc<str>,
    /// The tick.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: TickOutcome,
}

/// What came of a tick.
#[derive(Debug)]
pub enum TickOutcome {
    /// Its effects stand.
    Done,
    /// It asked for nothing and wrote nothing.
    Nothing,
    /// It failed, and a dead letter says so; the next tick is the next chance.
    SetAside(RecordError),
}

/// An external target refused for good what a punctuator has asked for.
struct Refused {
    error: RecordError,
    /// Its dead letter is in the open transaction, or in one on the wire.
    told: bool,
}

/// One of the task's punctuators.
struct Entry {
    schedule: Arc<Schedule>,
    /// Its number there.
    number: usize,
    name: Arc<str>,
    /// As the store has it, staged writes included.
    stored: LastTick,
    /// Where the counting of wall-clock time began, while no tick is stored.
    begun: Option<Timestamp>,
    /// The last tick of wall-clock time that did nothing.
    quiet: Option<Timestamp>,
    refused: Option<Refused>,
}

impl Entry {
    fn punctuator(&self) -> &Punctuator {
        &self.schedule.punctuators[self.number]
    }

    fn last(&self) -> Option<Timestamp> {
        [self.stored.at, self.begun, self.quiet].into_iter().flatten().max()
    }

    fn ticks_by(&self, clock: Clock) -> bool {
        self.punctuator().clock() == clock && !self.stored.cancelled
    }
}

/// All punctuators of a task.
pub(super) struct Punctuators(Vec<Entry>);

impl Punctuators {
    pub(super) fn new<'a>(schedules: impl Iterator<Item = &'a Arc<Schedule>>) -> Self {
        let entry = |schedule: &Arc<Schedule>, number: usize| Entry {
            schedule: Arc::clone(schedule),
            number,
            name: schedule.full_name(&schedule.punctuators[number]),
            stored: LastTick::default(),
            begun: None,
            quiet: None,
            refused: None,
        };
        let entries =
            |schedule: &'a Arc<Schedule>| (0..schedule.punctuators.len()).map(move |number| entry(schedule, number));
        Punctuators(schedules.flat_map(entries).collect())
    }

    /// Before anything is known of them.
    pub(super) fn unread(&self) -> NextTicks {
        if self.0.is_empty() { NextTicks::NEVER } else { NextTicks::UNREAD }
    }

    /// When each clock has to be looked at again.
    fn next(&self) -> NextTicks {
        let next = |clock, begin| {
            let own = self.0.iter().filter(move |entry| entry.ticks_by(clock));
            let next = own.map(|entry| entry.last().map_or(begin, |last| entry.punctuator().next_after(last)));
            next.min().unwrap_or(Timestamp(i64::MAX))
        };
        NextTicks {
            // Begins with the first record that has a timestamp.
            stream_time: next(Clock::StreamTime, Timestamp(0)),
            wall_clock: next(Clock::WallClock, Timestamp(i64::MIN)),
            unread: false,
        }
    }

    /// The punctuator whose tick is the earliest of those due, with the tick and how many it stands for besides.
    fn due(&self, clock: Clock, time: Timestamp) -> Option<(usize, Timestamp, u64)> {
        let entries = self.0.iter().enumerate().filter(|(_, entry)| entry.ticks_by(clock));
        let due = entries.filter_map(|(number, entry)| {
            let (at, missed) = entry.punctuator().due(entry.last()?, time)?;
            Some((number, at, missed))
        });
        due.min_by_key(|(_, at, _)| *at)
    }

    /// The transaction was aborted.
    pub(super) fn rewind(&mut self) {
        self.0.iter_mut().filter_map(|entry| entry.refused.as_mut()).for_each(|refused| refused.told = false);
    }

    /// A transaction has committed: refusals whose dead letters may have been in it are done with. If they were not, and
    /// theirs is aborted, the target refuses again.
    pub(super) fn committed(&mut self) {
        for entry in &mut self.0 {
            entry.refused.take_if(|refused| refused.told);
        }
    }
}

impl Task {
    /// Whether a record of this timestamp brings the task to a tick of stream time.
    #[inline]
    pub fn is_due(&self, timestamp: Timestamp) -> bool {
        timestamp >= self.scope.next_ticks.stream_time
    }

    /// Whether [`punctuate`](Self::punctuate) goes before a record. Those of lookup tables do not move stream time.
    #[inline]
    pub fn is_due_before(&self, raw: &RawRecord<'_>) -> bool {
        self.is_due(raw.timestamp) && !self.is_of_table(raw.topic)
    }

    #[cold]
    fn is_of_table(&self, topic: &str) -> bool {
        self.sources.iter().any(|source| source.is_table && source.topics.matches(topic))
    }

    /// When the wall clock has to be looked at next. Far in the future if there is nothing to wait for.
    pub fn next_wall_clock_tick(&self) -> Timestamp {
        self.scope.next_ticks.wall_clock
    }

    /// Calls a punctuator that is due at this time of its clock; `None` if none is. To be called until then: several may be
    /// due, and they are called in the order of their ticks. What a call has caused is among the task's effects and staged
    /// writes, as with a record; looking at the clock for the first time may stage a write, too.
    ///
    /// # Errors
    /// A [`TaskFault`]: nothing of the call has happened, and the tick is still due.
    pub fn punctuate(
        &mut self,
        clock: Clock,
        time: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Punctuated>, TaskFault> {
        if self.scope.next_ticks.unread {
            self.read_ticks()?;
        }
        self.begin_counting(clock, time);
        let called = match self.punctuators.due(clock, time) {
            Some((entry, at, missed)) => Some(self.call(entry, at, missed, now)?),
            None => None,
        };
        // A call that has cancelled or resumed something leaves the store to be read again.
        if !self.scope.next_ticks.unread {
            self.scope.next_ticks = self.punctuators.next();
        }
        Ok(called)
    }

    fn read_ticks(&mut self) -> Result<(), TaskFault> {
        for entry in &mut self.punctuators.0 {
            let name = entry.schedule.punctuators[entry.number].name();
            let stored = entry.schedule.last_tick(&mut self.scope.state, name)?;
            if stored.at < entry.stored.at {
                // A tick was aborted. Those that did nothing after it may have more to do without it.
                entry.quiet = None;
            }
            entry.stored = stored;
            // A commit that reached Kafka and not the disk, or not this disk, is known by its ticks.
            if let (Clock::StreamTime, Some(at)) = (entry.punctuator().clock(), stored.at) {
                self.scope.stream_time = self.scope.stream_time.max(at);
            }
        }
        self.scope.next_ticks = self.punctuators.next();
        Ok(())
    }

    /// Counts from here where nothing was counted before. That of stream time is staged: a replay has to count from the same
    /// record. That of wall-clock time is not, since it would be a transaction over nothing.
    fn begin_counting(&mut self, clock: Clock, time: Timestamp) {
        for entry in self.punctuators.0.iter_mut().filter(|entry| entry.ticks_by(clock) && entry.last().is_none()) {
            match clock {
                Clock::WallClock => entry.begun = Some(time),
                Clock::StreamTime if time.0 < 0 => {}
                Clock::StreamTime => {
                    entry.stored.at = Some(time);
                    let name = entry.schedule.punctuators[entry.number].name().as_bytes();
                    self.scope.state.begin_record();
                    self.scope.state.write(entry.schedule.ticks, name, Some(&entry.stored.encode()));
                    self.scope.state.commit_record();
                }
            }
        }
    }

    fn call(&mut self, entry: usize, at: Timestamp, missed: u64, now: Timestamp) -> Result<Punctuated, TaskFault> {
        let Entry { schedule, number, name, refused, .. } = &mut self.punctuators.0[entry];
        let (schedule, name) = (Arc::clone(schedule), Arc::clone(name));
        let punctuator = &schedule.punctuators[*number];
        let refused = refused.as_mut().map(|refused| {
            refused.told = true;
            RecordError::new(refused.error.stage, refused.error.class, refused.error.reason.clone())
        });
        self.scope.now = now;
        self.scope.topic = Arc::from("");
        self.scope.partition = self.id.partition;
        self.scope.offset = Offset(-1);
        let tick = Tick { name: punctuator.name(), clock: punctuator.clock(), at, missed };
        let mut did_nothing = false;
        let failed = match refused {
            Some(error) => Some((error, 1)),
            None => self.attempt(|task| {
                did_nothing = task.run_tick(&schedule, &tick)?;
                Ok(())
            })?,
        };
        let outcome = match failed {
            Some((error, attempts)) => {
                self.set_tick_aside(&schedule, &tick, &error, attempts)?;
                TickOutcome::SetAside(error)
            }
            None if did_nothing => TickOutcome::Nothing,
            None => TickOutcome::Done,
        };
        let entry = &mut self.punctuators.0[entry];
        match outcome {
            TickOutcome::Nothing => entry.quiet = Some(at),
            TickOutcome::Done | TickOutcome::SetAside(_) => {
                entry.stored = schedule.last_tick(&mut self.scope.state, tick.name)?;
            }
        }
        Ok(Punctuated { name, at, outcome })
    }

    /// True if there was nothing to do, and so nothing is staged.
    fn run_tick(&mut self, schedule: &Schedule, tick: &Tick<'_>) -> Result<bool, Fault> {
        let before = self.scope.effects.mark();
        let (sources, scope) = (&mut self.sources, &mut self.scope);
        let punctuate = || sources.iter_mut().any(|source| source.entry.punctuate(schedule, tick, scope));
        let found = catch_unwind(AssertUnwindSafe(punctuate)).map_err(|_| self.panicked())?;
        debug_assert!(found, "a task's punctuators are those of its processors");
        self.scope.fault.take().map_or(Ok(()), Err)?;
        let idle = self.scope.effects.mark() == before
            && !self.scope.state.has_record_writes()
            && self.scope.set_aside.is_none();
        if idle && tick.clock == Clock::WallClock {
            return Ok(true);
        }
        self.stage_tick(schedule, tick)?;
        Ok(false)
    }

    /// The tick is over: written with its effects. What the call itself has cancelled stays so.
    fn stage_tick(&mut self, schedule: &Schedule, tick: &Tick<'_>) -> Result<(), Fault> {
        let known = schedule.last_tick(&mut self.scope.state, tick.name)?;
        let last = LastTick { at: known.at.max(Some(tick.at)), ..known };
        self.scope.state.write(schedule.ticks, tick.name.as_bytes(), Some(&last.encode()));
        Ok(())
    }

    fn set_tick_aside(
        &mut self,
        schedule: &Schedule,
        tick: &Tick<'_>,
        error: &RecordError,
        attempts: u32,
    ) -> Result<(), TaskFault> {
        let name = format!("{}/{}", schedule.processor, tick.name);
        let Some((topic, _)) = self.dead_letters else {
            return Err(TaskFault::UnhandledTick { task: self.id, name, at: tick.at, reason: error.to_string() });
        };
        let provenance = Provenance { application: &self.application, origin: Origin::Task(self.id), attempts };
        let headers = tick_provenance(&name, tick.at, error, &provenance);
        let (bytes, limit) = (headers.bytes() + name.len() + RECORD_OVERHEAD, self.limits.of(topic));
        if bytes > limit {
            return Err(TaskFault::NoRoom(format!(
                "task {}, punctuator {name}: {error}; its dead letter of {bytes} bytes does not fit into {}, limit {limit} \
                 bytes: raise max.message.bytes of the topic",
                self.id,
                self.limits.name(topic)
            )));
        }
        self.scope.state.begin_record();
        let staged = self.stage_tick(schedule, tick);
        self.scope.state.commit_record();
        if let Err(Fault::Store(error)) = staged {
            return Err(TaskFault::Store(error));
        }
        self.scope.effects.output(topic, None, Some(name.as_bytes()), None, tick.at, headers);
        Ok(())
    }

    /// Marks a punctuator whose request an external target refused for good: its tick is set aside when it comes again.
    pub fn refuse_tick(&mut self, name: &str, error: RecordError) {
        if let Some(entry) = self.punctuators.0.iter_mut().find(|entry| *entry.name == *name) {
            entry.refused = Some(Refused { error, told: false });
        }
    }
}
