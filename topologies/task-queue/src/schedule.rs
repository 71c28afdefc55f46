//! Hands tasks out when their time has come, and ends each once; what may happen to one is the [`Board`]'s to say.

use std::time::Duration;

use headrace::error::{RecordError, Stage};
use headrace::processor::{Context, Fault, Processor, Punctuator, Tick};
use headrace::record::Record;
use headrace::store::StoreIndex;

use crate::board::{Board, Event, Out};
use crate::input::Input;
use crate::tasks::{Priority, ReadyTask, Stop, TaskResult};

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

/// Lets pass the attempts that may begin, of one queue and priority.
#[derive(Debug, Clone)]
pub struct ReadyOf {
    /// The queue.
    pub queue: String,
    /// The priority.
    pub priority: Priority,
}

impl Processor for ReadyOf {
    type KeyIn = String;
    type ValueIn = Event;
    type KeyOut = String;
    type ValueOut = ReadyTask;

    fn process(
        &mut self,
        record: &Record<String, Event>,
        context: &mut Context<'_, String, ReadyTask>,
    ) -> Result<(), Fault> {
        if let Event::Ready(ready) = &record.value
            && (&ready.task.queue, ready.task.priority) == (&self.queue, self.priority)
        {
            context.forward(&record.map(record.key.clone(), ready.clone()));
        }
        Ok(())
    }
}

/// Lets pass what is not wanted any more.
#[derive(Debug, Clone)]
pub struct Stops;

impl Processor for Stops {
    type KeyIn = String;
    type ValueIn = Event;
    type KeyOut = String;
    type ValueOut = Option<Stop>;

    fn process(
        &mut self,
        record: &Record<String, Event>,
        context: &mut Context<'_, String, Option<Stop>>,
    ) -> Result<(), Fault> {
        if let Event::Stop(stop) = &record.value {
            context.forward(&record.map(record.key.clone(), stop.clone()));
        }
        Ok(())
    }
}

/// Lets pass the ends of tasks.
#[derive(Debug, Clone)]
pub struct Ended;

impl Processor for Ended {
    type KeyIn = String;
    type ValueIn = Event;
    type KeyOut = String;
    type ValueOut = TaskResult;

    fn process(
        &mut self,
        record: &Record<String, Event>,
        context: &mut Context<'_, String, TaskResult>,
    ) -> Result<(), Fault> {
        if let Event::Ended(result) = &record.value {
            context.forward(&record.map(record.key.clone(), result.clone()));
        }
        Ok(())
    }
}
