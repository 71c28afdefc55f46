//! Ticks on the stream thread (rule R-27): punctuators of stream time before the record that brings them on, those of
//! wall-clock time once a turn, also when no record comes.
//!
//! ```text
//!  turn: … ─▶ punctuate (wall clock) ─▶ process_batch: wait for a record, no longer than until the next tick
//!                                           └─▶ record ─▶ is_due? ─▶ punctuate_before ─▶ process
//! ```
//!
//! What a tick causes goes into the open transaction, and opens one if it is the first; a tick of wall-clock time that does
//! nothing opens none (rule R-8). A task that rests has no ticks: one call makes up for them when it goes on.

use std::time::Duration;

use crate::clock::Instant;
use crate::codec::SchemaId;
use crate::error::FatalError;
use crate::position::{Origin, TaskId};
use crate::processor::Clock;
use crate::record::{RawRecord, Timestamp};
use crate::task::{Punctuated, TaskFault, TickOutcome};
use crate::telemetry::AbortReason;

use super::halt::Halt;
use super::stream_thread::{GRACE, StreamThread, now};
use super::tasks::{OwnedTask, Rest};

/// What a look at a task's punctuators has brought.
enum Ticked {
    /// One was called; there may be others.
    Called,
    /// None is due.
    NoneDue,
    /// One can't go on before this schema is there. Its tick is still due.
    Needs(SchemaId),
}

impl StreamThread {
    /// Calls the punctuators of wall-clock time that are due.
    pub(super) fn punctuate(&mut self) -> Result<(), Halt> {
        let time = now();
        if self.resting || !self.tasks.iter().any(|owned| is_due(owned, time)) {
            return Ok(());
        }
        for id in self.tasks.ids() {
            while self.dispatcher.has_room() && self.tasks.get_mut(id).is_some_and(|owned| is_due(owned, time)) {
                match self.tick(id, Clock::WallClock, time, time)? {
                    Ticked::Called => {}
                    Ticked::NoneDue => break,
                    Ticked::Needs(schema) => {
                        self.loader.load(schema);
                        if !self.loader.wait(schema, GRACE) {
                            self.rest_punctuators(id, schema)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls the punctuators that are due before a record of this timestamp is processed; false when the task rests, and the
    /// record will be read again.
    pub(super) fn punctuate_before(&mut self, raw: &RawRecord<'_>, now: Timestamp) -> Result<bool, Halt> {
        let Some(owned) = self.tasks.find(raw.topic, raw.partition) else { return Ok(true) };
        let id = owned.task.id();
        // With its ticks the record may yet have to wait: the transaction's position is the one before it.
        let held = owned.task.skip_to(raw.topic, raw.offset);
        held.map_err(|fault| Halt::Fatal(FatalError::Environment(fault.to_string())))?;
        self.open();
        loop {
            let ticked = self.tick(id, Clock::StreamTime, raw.timestamp, now)?;
            match ticked {
                Ticked::Called => {}
                Ticked::NoneDue => return Ok(true),
                Ticked::Needs(schema) => {
                    self.loader.load(schema);
                    if !self.loader.wait(schema, GRACE) {
                        self.rest_task(raw, Rest::Schema(schema))?;
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// How long until the next tick of wall-clock time.
    pub(super) fn until_tick(&self) -> Duration {
        let ticking = self.tasks.iter().filter(|owned| owned.rest.is_none() && !self.resting);
        let next = ticking.map(|owned| owned.task.next_wall_clock_tick()).min();
        match next {
            Some(next) if next < Timestamp(i64::MAX) => {
                Duration::from_millis(u64::try_from(next.0.saturating_sub(now().0)).unwrap_or(0))
            }
            _ => Duration::MAX,
        }
    }

    fn tick(&mut self, id: TaskId, clock: Clock, time: Timestamp, now: Timestamp) -> Result<Ticked, Halt> {
        let Some(owned) = self.tasks.get_mut(id) else { return Ok(Ticked::NoneDue) };
        let started = Instant::now();
        let called = match owned.task.punctuate(clock, time, now) {
            Ok(called) => called,
            Err(TaskFault::SchemaNotLoaded(schema)) => return Ok(Ticked::Needs(schema)),
            Err(TaskFault::Store(error)) => return Err(self.store_failed(id, &error)),
            Err(fault) => return Err(Halt::Fatal(FatalError::Environment(fault.to_string()))),
        };
        let Some(punctuated) = called else {
            // Where the counting of stream time begins is staged, too.
            self.carry_out(id, time, || Origin::Punctuator { task: id, name: "".into() })?;
            return Ok(Ticked::NoneDue);
        };
        self.observe(id, clock, &punctuated, now, started.elapsed());
        if !matches!(punctuated.outcome, TickOutcome::Nothing) {
            self.open();
            self.hold_positions(id)?;
            let Punctuated { name, at, .. } = punctuated;
            self.carry_out(id, at, || Origin::Punctuator { task: id, name: name.clone() })?;
        }
        Ok(Ticked::Called)
    }

    fn observe(&self, id: TaskId, clock: Clock, punctuated: &Punctuated, now: Timestamp, took: Duration) {
        let (telemetry, Punctuated { name, at, outcome }) = (&self.options.telemetry, punctuated);
        let label = match outcome {
            TickOutcome::Done => "done",
            TickOutcome::Nothing => "nothing",
            TickOutcome::SetAside(error) => {
                telemetry.tick_set_aside(id, name, *at, error);
                "set-aside"
            }
        };
        telemetry.metrics.punctuations.with([name, label]).inc();
        telemetry.metrics.punctuation.with([name]).observe(took.as_secs_f64());
        if clock == Clock::WallClock {
            telemetry.metrics.punctuation_delay.with([name]).observe((now.0 - at.0).max(0) as f64 / 1000.0);
        }
    }

    /// Puts the task's positions into the transaction, where no record has: it is with them that the broker looks at the
    /// membership (KIP-447). Without any, a stream thread that has lost its partitions could commit what it did at a tick,
    /// and their new owner does the same at the same tick.
    fn hold_positions(&mut self, id: TaskId) -> Result<(), Halt> {
        let Some(owned) = self.tasks.get_mut(id) else { return Ok(()) };
        let unknown: Vec<_> = owned.inputs.iter().filter(|at| owned.task.next(&at.topic).is_none()).cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let positions = self.starts(unknown)?.0;
        let Some(owned) = self.tasks.get_mut(id) else { return Ok(()) };
        for (at, next) in positions {
            let held = owned.task.skip_to(&at.topic, next);
            held.map_err(|fault| Halt::Fatal(FatalError::Environment(fault.to_string())))?;
        }
        Ok(())
    }

    /// A punctuator waits for a schema: its task rests, as if a record of it did.
    fn rest_punctuators(&mut self, id: TaskId, schema: SchemaId) -> Result<(), Halt> {
        let Some(owned) = self.tasks.get_mut(id) else { return Ok(()) };
        let rest = Rest::Schema(schema);
        self.options.telemetry.task_rests(id, Some(&rest.reason()));
        owned.rest = Some(rest);
        let inputs = owned.inputs.clone();
        self.consumer.pause(&inputs).map_err(|error| Halt::Recover(AbortReason::Broker, error.to_string()))
    }
}

fn is_due(owned: &OwnedTask, time: Timestamp) -> bool {
    owned.rest.is_none() && owned.task.next_wall_clock_tick() <= time
}
