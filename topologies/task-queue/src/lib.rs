//! A queue of tasks on Kafka: each is done once, when its time has come, by whoever has time.
//!
//! ```text
//!  tasks ──────┐                    (by lane)
//!  commands ───┼─▶ lane ─▶ lanes ─▶ schedule (tasks, places, timers, unique) ─┬▶ ready-high, ready-normal, ready-low
//!  outcomes ───┘                                                             └▶ results
//!      ▲                                                                        │ share group
//!      └──────────────────────── handlers ◀─────────────────────────────────────┘
//! ```

pub mod board;
pub mod commands;
pub mod config;
pub mod desk;
pub mod input;
pub mod order;
pub mod pull;
pub mod push;
pub mod rules;
pub mod schedule;
pub mod tasks;
pub mod timers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headrace::cli::Parts;
use headrace::codec::{avro, raw, text};
use headrace::dead_letter::Policy;
use headrace::error::FatalError;
use headrace::store::Stores;
use headrace::topology::Topology;

use board::Board;
use config::{Config, Queue};
use desk::Desk;
use input::{ByLane, Input, InputCodec};
use pull::Pull;
use push::Push;
use rules::Rules;
use schedule::{Ended, ReadyOf, Schedule};
use tasks::{Entry, Outcome, Priority, ReadyTask, TaskResult};

/// Every key of the configuration with its default.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// How often the same attempt is delivered to handlers that don't come to an end with it, before it counts as failed.
const DELIVERIES: u32 = 3;

/// The dataflow.
///
/// # Errors
/// The configuration does not make a topology; touches no network.
pub fn topology(config: &Config) -> Result<Topology, FatalError> {
    build(config, &desks(config))
}

/// The dataflow, with what handlers ask.
///
/// # Errors
/// As [`topology`].
pub fn parts(config: &Config) -> Result<Parts, FatalError> {
    let desks = desks(config);
    let topology = build(config, &desks)?;
    // An answer to who waits for work comes a moment after the wait.
    let longest = pull::LONGEST_WAIT + Duration::from_secs(5);
    Ok(Parts { topology, routes: (!desks.is_empty()).then(|| (pull::routes(Arc::new(desks)), longest)) })
}

fn desks(config: &Config) -> BTreeMap<String, Desk> {
    let pulled = config.queues().into_iter().filter(|(_, queue)| queue.pull);
    pulled.map(|(name, queue)| (name, Desk::new(queue.timeout.duration()))).collect()
}

fn build(config: &Config, desks: &BTreeMap<String, Desk>) -> Result<Topology, FatalError> {
    let (topics, mut builder) = (&config.topics, Topology::builder("task-queue"));

    let inputs = vec![topics.tasks.clone(), topics.commands.clone(), topics.outcomes.clone()];
    inputs.iter().for_each(|topic| builder.own_topic(topic));
    let codec = InputCodec::new(&topics.outcomes, &topics.commands);
    let inputs = builder.source("inputs", &inputs, codec);
    let by_lane = builder.process("lane", inputs, ByLane);
    let by_lane = builder.repartition("lanes", by_lane, text(), avro::<Input>());

    let board = Board {
        tasks: builder.store("tasks", Stores::rocks(text(), avro::<Entry>())),
        places: builder.store("places", Stores::rocks(raw(), text())),
        timers: builder.store("timers", Stores::rocks(raw(), raw())),
        unique: builder.store("unique", Stores::rocks(text(), text())),
        rules: Arc::new(Rules::new(config)),
    };
    let tick = config.tasks.tick.duration();
    let events = builder.process("schedule", by_lane, Schedule { board, tick });
    let queues = config.queues();
    for queue in queues.keys() {
        for priority in Priority::ALL {
            let (name, queue) = (format!("{queue}-{}", priority.name()), queue.clone());
            let topic = topics.ready(&queue, priority);
            let ready = builder.process(&name, events, ReadyOf { queue, priority });
            builder.sink(&format!("ready-{name}"), ready, &topic, text(), avro::<ReadyTask>());
        }
    }
    let ended = builder.process("ends", events, Ended);
    builder.sink("results", ended, &topics.results, text(), avro::<TaskResult>());
    for (queue, settings) in &queues {
        let ready = Priority::ALL.map(|priority| (topics.ready(queue, priority), priority.weight()));
        let (codec, at_once) = ((text(), avro::<ReadyTask>()), settings.concurrency);
        let handled = match (desks.get(queue), settings.push.is_empty()) {
            (None, true) => continue,
            (None, false) => builder.workers_by_weight(queue, &ready, codec, at_once, push(queue, settings)?),
            (Some(desk), true) => builder.workers_by_weight(queue, &ready, codec, at_once, Pull(desk.clone())),
            (Some(_), false) => {
                return Err(FatalError::Config(format!(
                    "queues.{queue}: has both push and pull; a queue's handlers are called, or they ask"
                )));
            }
        };
        builder.sink(&format!("{queue}-outcomes"), handled, &topics.outcomes, text(), avro::<Outcome>());
    }
    builder.dead_letters(&topics.dead_letters, Policy::after_attempts(DELIVERIES));

    builder.build().map_err(|error| FatalError::Topology(error.to_string()))
}

fn push(name: &str, queue: &Queue) -> Result<Push, FatalError> {
    let wrong = |reason: String| FatalError::Config(format!("queues.{name}.push: {reason}"));
    let url = queue.push.parse().map_err(|error| wrong(format!("{} is no URL: {error}", queue.push)))?;
    Push::new(url, queue.timeout.duration(), name).map_err(|error| wrong(error.to_string()))
}
