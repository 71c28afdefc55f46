//! What targets answer to the calls that the task's records and ticks have made.
//!
//! An answer belongs to the record, or the tick, that the call was made for, and to its transaction: the nodes below the call
//! see its topic and its offset, and if they fail, that record is what is set aside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::RecordError;
use crate::position::{Offset, Origin};
use crate::processor::{Fault, Settled};
use crate::record::Timestamp;

use super::{Task, TaskFault};

impl Task {
    /// Tells the topology what a target has answered, at wall-clock time `now`. Gives the error that the call's origin is to be
    /// set aside for, if the nodes below the call failed: its transaction can't be committed then.
    ///
    /// # Errors
    /// A [`TaskFault`]: nothing has happened, and the answer is still to be told.
    pub fn settle(
        &mut self,
        settled: Settled<'_>,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<Option<RecordError>, TaskFault> {
        self.scope.now = now;
        (self.scope.topic, self.scope.partition, self.scope.offset) = match origin {
            Origin::Record(position) => (Arc::clone(&position.topic), position.partition, position.offset),
            Origin::Punctuator { .. } => (Arc::from(""), self.id.partition, Offset(-1)),
        };
        Ok(self.attempt(|task| task.run_answer(settled))?.map(|(error, _)| error))
    }

    fn run_answer(&mut self, settled: Settled<'_>) -> Result<(), Fault> {
        let (sources, scope) = (&mut self.sources, &mut self.scope);
        let settle = || sources.iter_mut().any(|source| source.entry.settle(settled, scope));
        match catch_unwind(AssertUnwindSafe(settle)) {
            Ok(true) => self.scope.fault.take().map_or(Ok(()), Err),
            // Nobody waits for it: who did has panicked at the try before.
            Ok(false) | Err(_) => Err(self.panicked()),
        }
    }

    /// Calls from this number on were taken back.
    pub(super) fn forget_calls(&mut self, from: u64) {
        self.sources.iter_mut().for_each(|source| source.entry.forget(from));
    }
}
