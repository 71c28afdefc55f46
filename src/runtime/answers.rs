//! Answers to calls on the stream thread: told to the task that has asked, before its transaction is sealed.
//!
//! ```text
//!  turn: … ─▶ settle_answers ─▶ is the commit due, and all settled? ─▶ seal
//!                  └─▶ Task::settle ─▶ effects, into the open transaction
//! ```

use crate::error::FatalError;
use crate::external::{Answered, Refusal};
use crate::position::{Origin, TaskId};
use crate::processor::Settled;
use crate::task::TaskFault;
use crate::telemetry::AbortReason;

use super::halt::Halt;
use super::stream_thread::{GRACE, StreamThread, now};

impl StreamThread {
    /// Tells what targets have answered since the last look.
    pub(super) fn settle_answers(&mut self) -> Result<(), Halt> {
        for answered in self.dispatcher.take_answers() {
            let task = match &answered.origin {
                Origin::Record(at) => self.tasks.find(&at.topic, at.partition).map(|owned| owned.task.id()),
                Origin::Punctuator { task, .. } => Some(*task),
            };
            if let Some(task) = task {
                self.settle(task, &answered)?;
            }
        }
        Ok(())
    }

    fn settle(&mut self, task: TaskId, answered: &Answered) -> Result<(), Halt> {
        let Answered { origin, sink, call, answer } = answered;
        let (settled, now) = (Settled { sink: *sink, call: *call, answer }, now());
        loop {
            let Some(owned) = self.tasks.get_mut(task) else { return Ok(()) };
            match owned.task.settle(settled, origin, now) {
                Ok(None) => break,
                Ok(Some(error)) => {
                    let sink = self.topology.externals()[sink.0].name.clone();
                    let reason = format!("its answer could not be worked off: {error}");
                    self.dispatcher.refuse(Refusal { origin: origin.clone(), sink, reason });
                    break;
                }
                Err(TaskFault::SchemaNotLoaded(schema)) => {
                    self.loader.load(schema);
                    if !self.loader.wait(schema, GRACE) {
                        // Asked again once what reads the input has the schema, or rests for it.
                        return Err(Halt::Recover(AbortReason::External, format!("schema id {schema} is missing")));
                    }
                }
                Err(TaskFault::Store(error)) => return Err(self.store_failed(task, &error)),
                Err(fault) => return Err(Halt::Fatal(FatalError::Environment(fault.to_string()))),
            }
        }
        self.carry_out(task, now, || origin.clone())
    }
}
