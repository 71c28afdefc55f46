//! Hands tasks out when their time has come, and ends each once; what may happen to one is the [`Board`]'s to say.

use std::time::Duration;

use headrace::error::{RecordError, Stage};
use headrace::processor::{Fault, Processor, Punctuator, Tick};
use headrace::record::Record;
use headrace::store::StoreIndex;

use crate::board::{Board, Event, Out};
use crate::input::Input;

/// See the module's documentation.
#[derive(Clone)]
pub struct Schedule {
    /// The state of all tasks.
    pub board: Board,
    /// How exact times are kept.
    pub tick: Duration,
}

impl Processor for Schedule {
    type KeyIn = String;
    type ValueIn = Input;
    type KeyOut = String;
    type ValueOut = Event;

    fn stores(&self) -> Vec<StoreIndex> {
        self.board.stores()
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![Punctuator::wall_clock("due", self.tick)]
    }

    fn punctuate(&mut self, _: &Tick<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        self.board.tick(out)
    }

    fn process(&mut self, record: &Record<String, Input>, out: &mut Out<'_>) -> Result<(), Fault> {
        match &record.value {
            Input { task: Some(task), .. } => self.board.submit(task, out),
            Input { outcome: Some(outcome), .. } => self.board.hear(outcome, out),
            Input { command: Some(command), .. } => self.board.obey(command, out),
            Input { .. } => Err(RecordError::new(Stage::Process, "empty", "a record that says nothing").into()),
        }
    }
}
