//! A topology that does nothing but wait: each record is held until the time that it names.
//!
//! ```text
//! timers ─▶ hold (store: timers) ─▶ due    one output per timer, when its time has come: its number, and that time
//! ```

use headrace::codec::raw;
use headrace::config::Span;
use headrace::error::FatalError;
use headrace::processor::{Context, Fault, Processor, Punctuator, Tick};
use headrace::record::{Record, Timestamp};
use headrace::store::{StoreIndex, Stores, Timers};
use headrace::topology::Topology;
use serde::Deserialize;

use crate::number;

/// Every key of the configuration with its default.
pub const DEFAULTS: &str = include_str!("timers.toml");

/// The name of the store.
pub const STORE: &str = "timers";

/// The name of the store of its punctuator.
pub const TICKS: &str = "hold-punctuators";

/// The topology's own part of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Topics.
    pub topics: Topics,
    /// How exact times are kept.
    pub tick: Span,
    /// Timers of a partition that are released in one go.
    pub at_once: usize,
}

/// Topics of this topology.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Topics {
    /// What is to wait, by number, with its time in milliseconds since the epoch.
    pub timers: String,
    /// The same when that time has come.
    pub due: String,
}

/// The dataflow.
///
/// # Errors
/// The configuration does not make a topology; touches no network.
pub fn topology(config: &Config) -> Result<Topology, FatalError> {
    let mut builder = Topology::builder("pending-timers");
    let set = builder.source("timers", &config.topics.timers, (raw(), number()));
    let timers = Timers::new(builder.store(STORE, Stores::rocks(raw(), raw()).with_changelog()));
    let hold = Hold { timers, tick: config.tick, at_once: config.at_once };
    let due = builder.process("hold", set, hold);
    builder.sink("due", due, &config.topics.due, raw(), number());
    builder.build().map_err(|error| FatalError::Topology(error.to_string()))
}

/// Sets a timer for each record, and gives it when it is due.
#[derive(Debug, Clone)]
struct Hold {
    timers: Timers,
    tick: Span,
    at_once: usize,
}

impl Processor for Hold {
    type KeyIn = Vec<u8>;
    type ValueIn = u64;
    type KeyOut = Vec<u8>;
    type ValueOut = u64;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.timers.index()]
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![Punctuator::wall_clock("due", self.tick.duration())]
    }

    fn punctuate(&mut self, _: &Tick<'_>, out: &mut Context<'_, Vec<u8>, u64>) -> Result<(), Fault> {
        let now = out.now();
        for timer in out.timers(&self.timers).take(self.at_once)? {
            out.forward(&Record::new(timer.of, timer.at.0.cast_unsigned(), now));
        }
        Ok(())
    }

    fn process(&mut self, record: &Record<Vec<u8>, u64>, out: &mut Context<'_, Vec<u8>, u64>) -> Result<(), Fault> {
        out.timers(&self.timers).set(Timestamp(record.value.cast_signed()), &record.key)
    }
}
