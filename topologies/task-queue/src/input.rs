//! What happens to tasks, from three topics: submitted, spoken of by handlers, commanded.
//!
//! It goes on by its *lane*: the order key of a task, else its unique key, else its id. So all that has to know of each other comes
//! to one task of the topology, however the producers of the three topics choose keys and partitions.

use headrace::codec::{Avro, AvroSchema, Binding, Codec as _, DecodeError, RecordCodec, avro};
use headrace::error::{RecordError, Stage};
use headrace::processor::{Context, Fault, Processor};
use headrace::record::{RawRecord, Record};
use serde::{Deserialize, Serialize};

use crate::tasks::{Command, Outcome, Task};

/// One of the three.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// A task was submitted.
    pub task: Option<Task>,
    /// A handler has spoken of an attempt.
    pub outcome: Option<Outcome>,
    /// Somebody wants something of a task.
    pub command: Option<Command>,
}

impl AvroSchema for Input {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue-lanes-repartition-value.avsc");
}

/// Reads a record by the topic that it is from.
#[derive(Debug)]
pub struct InputCodec {
    /// Topic of outcomes.
    pub outcomes: String,
    /// Topic of commands.
    pub commands: String,
    tasks: Avro<Task>,
    spoken: Avro<Outcome>,
    wanted: Avro<Command>,
}

impl InputCodec {
    /// All that is from neither topic is a task.
    pub fn new(outcomes: &str, commands: &str) -> Self {
        let (outcomes, commands) = (outcomes.to_owned(), commands.to_owned());
        InputCodec { outcomes, commands, tasks: avro(), spoken: avro(), wanted: avro() }
    }
}

/// Key and what has happened. The keys of outcomes and commands are lanes already.
type Keyed = (Option<String>, Input);

impl RecordCodec<Option<String>, Input> for InputCodec {
    fn name(&self) -> String {
        "text, avro(Task | Outcome | Command)".to_owned()
    }

    fn bind(&self, binding: &Binding) {
        self.tasks.bind(binding);
        self.spoken.bind(binding);
        self.wanted.bind(binding);
    }

    fn decode(&self, record: &RawRecord<'_>) -> Result<Keyed, DecodeError> {
        // A task's own fields say where it belongs, whatever its key is.
        let key = record.key.and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned);
        let input = match record.topic {
            topic if *topic == *self.outcomes => {
                Input { outcome: Some(self.spoken.decode(record.value)?), ..Input::default() }
            }
            topic if *topic == *self.commands => {
                Input { command: Some(self.wanted.decode(record.value)?), ..Input::default() }
            }
            _ => Input { task: Some(self.tasks.decode(record.value)?), ..Input::default() },
        };
        Ok((key, input))
    }
}

/// Gives each record its lane as key.
#[derive(Debug, Clone)]
pub struct ByLane;

impl Processor for ByLane {
    type KeyIn = Option<String>;
    type ValueIn = Input;
    type KeyOut = String;
    type ValueOut = Input;

    fn process(
        &mut self,
        record: &Record<Option<String>, Input>,
        context: &mut Context<'_, String, Input>,
    ) -> Result<(), Fault> {
        let lane = match (&record.value.task, &record.key) {
            (Some(task), _) => task.lane().to_owned(),
            (None, Some(lane)) => lane.clone(),
            (None, None) => {
                let reason = "an outcome or a command without a key; its key is the lane of its task";
                return Err(RecordError::new(Stage::Process, "no-lane", reason).into());
            }
        };
        context.forward(&record.map(lane, record.value.clone()));
        Ok(())
    }
}
