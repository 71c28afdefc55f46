//! What comes in, from several topics: mutations, and what somebody wants of them.
//!
//! A mutation goes to one target, or to all of its namespace; from here on each goes its own way, by its *lane*: namespace,
//! target and ordering key. So a target that is away holds up nobody else's, and all that has to be in order comes to one task.

use headrace::codec::{Avro, AvroSchema, Binding, Codec as _, DecodeError, RecordCodec, avro};
use headrace::error::{RecordError, Stage};
use headrace::processor::{Context, Fault, Processor};
use headrace::record::{RawRecord, Record};
use headrace::store::{GlobalTable, StoreIndex};
use serde::{Deserialize, Serialize};

use crate::entry::{Command, lane};
use crate::mutation::Mutation;
use crate::namespace::{Namespace, TargetKind};
use crate::stamps::Stamps;

/// One of the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Something is to be written.
    pub mutation: Option<Mutation>,
    /// Somebody wants something of a mutation.
    pub command: Option<Command>,
    /// When it was given its lane, in milliseconds since the epoch: where it lies among the times of mutations that are put off.
    pub at: i64,
}

impl AvroSchema for Input {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log-lanes-repartition-value.avsc");
}

/// Reads a record by the topic that it is from.
#[derive(Debug)]
pub struct InputCodec {
    commands: String,
    mutations: Avro<Mutation>,
    wanted: Avro<Command>,
}

impl InputCodec {
    /// All that is not from the topic of commands is a mutation.
    pub fn new(commands: &str) -> Self {
        InputCodec { commands: commands.to_owned(), mutations: avro(), wanted: avro() }
    }
}

/// The record's key, if it is a text, and what it says.
type Keyed = (Option<String>, Input);

impl RecordCodec<Option<String>, Input> for InputCodec {
    fn name(&self) -> String {
        "text, avro(Mutation | Command)".to_owned()
    }

    fn bind(&self, binding: &Binding) {
        self.mutations.bind(binding);
        self.wanted.bind(binding);
    }

    fn decode(&self, record: &RawRecord<'_>) -> Result<Keyed, DecodeError> {
        // A mutation's own fields say where it belongs, whatever its key is.
        let key = record.key.and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned);
        let input = if *record.topic == *self.commands {
            Input { command: Some(self.wanted.decode(record.value)?), ..Input::default() }
        } else {
            Input { mutation: Some(self.mutations.decode(record.value)?), ..Input::default() }
        };
        Ok((key, input))
    }
}

/// Gives each record its lane as key, and each target of a mutation a record of its own.
#[derive(Debug, Clone)]
pub struct ByLane {
    /// What holds for whom.
    pub namespaces: GlobalTable<String, Namespace>,
    /// Gives mutations their versions, where several regions write.
    pub stamps: Stamps,
}

impl Processor for ByLane {
    type KeyIn = Option<String>;
    type ValueIn = Input;
    type KeyOut = String;
    type ValueOut = Input;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.stamps.last.index()]
    }

    fn process(
        &mut self,
        record: &Record<Option<String>, Input>,
        context: &mut Context<'_, String, Input>,
    ) -> Result<(), Fault> {
        match (&record.value, &record.key) {
            (Input { mutation: Some(mutation), .. }, _) => self.mutation(mutation, record, context),
            (Input { command: Some(_), .. }, Some(lane)) => {
                let at = context.now().0;
                context.forward(&record.map(lane.clone(), Input { at, ..record.value.clone() }));
                Ok(())
            }
            _ => Err(refused("no-lane", "a command without a key; its key is the lane of its mutation".to_owned())),
        }
    }
}

impl ByLane {
    fn mutation(
        &self,
        mutation: &Mutation,
        record: &Record<Option<String>, Input>,
        context: &mut Context<'_, String, Input>,
    ) -> Result<(), Fault> {
        mutation.validate()?;
        let name = &mutation.namespace;
        let Some(namespace) = context.global(&self.namespaces).read(name)? else {
            return Err(Namespace::unknown(name).into());
        };
        let targets: Vec<String> = match &mutation.target {
            Some(target) if namespace.target(target).is_none() => {
                let reason = format!("target {target} is none of {name}'s, which are {}", namespace.target_names());
                return Err(refused("unknown-target", reason));
            }
            Some(target) => vec![target.clone()],
            // What another region has written it has sent to all others itself: so nothing goes round in circles.
            None => {
                let is_own = mutation.version.as_ref().is_none_or(|version| version.region == self.stamps.region);
                let targets = namespace.targets.iter().filter(|target| is_own || target.kind != TargetKind::Region);
                targets.map(|target| target.name.clone()).collect()
            }
        };
        let version = self.stamps.version(mutation, &namespace, context)?;
        for target in targets {
            let mutation = Mutation { target: Some(target), version: version.clone(), ..mutation.clone() };
            let lane = lane(&mutation);
            let at = context.now().0;
            context.forward(&record.map(lane, Input { mutation: Some(mutation), command: None, at }));
        }
        Ok(())
    }
}

fn refused(class: &'static str, reason: String) -> Fault {
    RecordError::new(Stage::Process, class, reason).into()
}
