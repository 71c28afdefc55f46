//! The topology, node by node.

use std::collections::BTreeMap;
use std::sync::Arc;

use headrace::codec::{avro, nullable, raw, text};
use headrace::dead_letter::Policy;
use headrace::error::FatalError;
use headrace::processor::Only;
use headrace::store::{self, Lines, Stores};
use headrace::topology::{Builder, Stream, Topology};

use crate::board::{Board, Event};
use crate::config::{Config, Queue};
use crate::cron::{Cron, CronEntry, Crons};
use crate::desk::Desk;
use crate::gate::{ByQueue, Gate, GateState, Told};
use crate::handlers::Handlers;
use crate::input::{ByLane, Input, InputCodec};
use crate::leases::Leases;
use crate::limits::Limits;
use crate::pull::{Counter, Pull};
use crate::push::Push;
use crate::rules::Rules;
use crate::schedule::Schedule;
use crate::tasks::{Entry, Outcome, Priority, QueueState, ReadyTask, Stop, Task, TaskResult};
use crate::timers::Timers;
use crate::wishes::Wishes;

/// How often the same attempt is delivered to handlers that don't come to an end with it, before it counts as failed.
const DELIVERIES: u32 = 3;

type Events = Stream<String, Event>;
type Limited = Arc<BTreeMap<String, Limits>>;

/// The topology, and who may be spoken with.
pub(crate) fn build(config: &Config) -> Result<(Topology, BTreeMap<String, Counter>), FatalError> {
    let (topics, queues, mut builder) = (&config.topics, config.queues(), Topology::builder("task-queue"));
    let events = schedule(config, &mut builder);
    crons(config, &mut builder);
    builder.own_topic(&topics.queues);
    let wishes = Wishes {
        queues: builder.global_table("queues", &topics.queues, text(), avro::<QueueState>()),
        stops: builder.global_table("stops", &topics.stops, text(), avro::<Stop>()),
    };
    let limits = queues.iter().map(|(name, queue)| (name.clone(), queue.limits()));
    let limits: Limited = Arc::new(limits.filter(|(_, limits)| limits.is_limited()).collect());
    let passed = gate(config, &mut builder, events, &wishes, &limits);
    let mut counters = BTreeMap::new();
    for (name, queue) in &queues {
        ready(config, &mut builder, passed, name, "");
        if !limits.contains_key(name) {
            ready(config, &mut builder, events, name, "-at-once");
        }
        let (silence, leases) = (queue.timeout.duration(), Leases::default());
        let handlers = Handlers { queue: name.clone(), silence, leases, wishes: wishes.clone() };
        if let Some(desk) = handled(config, &mut builder, queue, &handlers)? {
            counters.insert(name.clone(), Counter { desk, handlers });
        }
    }
    builder.dead_letters(&topics.dead_letters, Policy::after_attempts(DELIVERIES));
    let topology = builder.build().map_err(|error| FatalError::Topology(error.to_string()))?;
    Ok((topology, counters))
}

/// From what happens to tasks to what is to be done about it.
fn schedule(config: &Config, builder: &mut Builder) -> Events {
    let topics = &config.topics;
    let inputs = vec![topics.tasks.clone(), topics.commands.clone(), topics.outcomes.clone()];
    inputs.iter().for_each(|topic| builder.own_topic(topic));
    let codec = InputCodec::new(&topics.outcomes, &topics.commands);
    let inputs = builder.source("inputs", &inputs, codec);
    let by_lane = builder.process("lane", inputs, ByLane);
    let by_lane = builder.repartition("lanes", by_lane, text(), avro::<Input>());
    let board = Board {
        tasks: builder.store("tasks", Stores::rocks(text(), avro::<Entry>())),
        places: Lines::new(builder.store("places", Stores::rocks(raw(), raw()))),
        timers: timers(builder, "timers"),
        unique: builder.store("unique", Stores::rocks(text(), text())),
        rules: Arc::new(Rules::new(config)),
    };
    let events = builder.process("schedule", by_lane, Schedule { board, tick: config.tasks.tick.duration() });
    let ended = Only::new(|event| if let Event::Ended(result) = event { Some(result) } else { None });
    let ended = builder.process("ends", events, ended);
    builder.sink("results", ended, &topics.results, text(), avro::<TaskResult>());
    let stopped = Only::new(|event| if let Event::Stop(stop) = event { Some(stop) } else { None });
    let stopped = builder.process("stopped", events, stopped);
    builder.sink("stop", stopped, &topics.stops, text(), nullable(avro::<Stop>()));
    events
}

fn timers(builder: &mut Builder, name: &str) -> Timers {
    Timers(store::Timers::new(builder.store(name, Stores::rocks(raw(), raw()))))
}

/// From the clock to tasks.
fn crons(config: &Config, builder: &mut Builder) {
    let topics = &config.topics;
    builder.own_compacted_topic(&topics.crons);
    let written = builder.source("crons", topics.crons.as_str(), (text(), nullable(avro::<Cron>())));
    let crons = Crons {
        crons: builder.store("crons", Stores::rocks(text(), avro::<CronEntry>())),
        timers: timers(builder, "cron-timers"),
        tick: config.tasks.tick.duration(),
    };
    let tasks = builder.process("cron", written, crons);
    builder.sink("submit", tasks, &topics.tasks, text(), avro::<Task>());
}

/// From what may begin to what may begin now. It is there without any limits, too: whoever waited when a limit was taken away is let
/// go, and one that is added moves no state.
fn gate(config: &Config, builder: &mut Builder, events: Events, wishes: &Wishes, limits: &Limited) -> Events {
    let limited = builder.process("limited", events, ByQueue { limits: Arc::clone(limits) });
    let by_queue = builder.repartition("gates", limited, text(), avro::<Told>());
    let gate = Gate {
        gates: builder.store("gates", Stores::rocks(text(), avro::<GateState>())),
        queued: builder.store("queued", Stores::rocks(raw(), avro::<ReadyTask>())),
        admitted: builder.store("admitted", Stores::rocks(raw(), raw())),
        queues: wishes.queues.clone(),
        limits: Arc::clone(limits),
        known: Arc::new(config.queues().into_keys().collect()),
        tick: config.tasks.tick.duration(),
    };
    builder.process("gate", by_queue, gate)
}

/// A queue's attempts, by priority; `suffix` tells the nodes from others of the queue.
fn ready(config: &Config, builder: &mut Builder, events: Events, queue: &str, suffix: &str) {
    for priority in Priority::ALL {
        let (name, queue) = (format!("{queue}-{}{suffix}", priority.name()), queue.to_owned());
        let topic = config.topics.ready(&queue, priority);
        let ready = Only::new(move |event| match event {
            Event::Ready(ready) if (&ready.task.queue, ready.task.priority) == (&queue, priority) => Some(ready),
            _ => None,
        });
        let ready = builder.process(&name, events, ready);
        builder.sink(&format!("ready-{name}"), ready, &topic, text(), avro::<ReadyTask>());
    }
}

/// A queue's handlers, if there are any here: with the desk at which they ask, if they do.
fn handled(
    config: &Config,
    builder: &mut Builder,
    queue: &Queue,
    handlers: &Handlers,
) -> Result<Option<Option<Desk>>, FatalError> {
    let (name, topics) = (&handlers.queue, &config.topics);
    let ready = Priority::ALL.map(|priority| (topics.ready(name, priority), priority.weight()));
    let (codec, at_once) = ((text(), avro::<ReadyTask>()), queue.concurrency);
    let (handled, desk) = match (queue.pull, queue.push.is_empty()) {
        (false, true) => return Ok(None),
        (false, false) => {
            let push = push(queue, handlers)?;
            (builder.workers_by_weight(name, &ready, codec, at_once, push), None)
        }
        (true, true) => {
            let desk = Desk::default();
            let pull = Pull { desk: desk.clone(), handlers: handlers.clone() };
            (builder.workers_by_weight(name, &ready, codec, at_once, pull), Some(desk))
        }
        (true, false) => {
            return Err(FatalError::Config(format!(
                "queues.{name}: has both push and pull; a queue's handlers are called, or they ask"
            )));
        }
    };
    builder.sink(&format!("{name}-outcomes"), handled, &topics.outcomes, text(), avro::<Outcome>());
    Ok(Some(desk))
}

fn push(queue: &Queue, handlers: &Handlers) -> Result<Push, FatalError> {
    let wrong = |reason: String| FatalError::Config(format!("queues.{}.push: {reason}", handlers.queue));
    let url = queue.push.parse().map_err(|error| wrong(format!("{} is no URL: {error}", queue.push)))?;
    Push::new(url, handlers.clone()).map_err(|error| wrong(error.to_string()))
}
