//! The count topology that the benchmarks run, and the records that they run it on.
//!
//! ```text
//! events ─▶ count (store: counts) ─▶ counts        one output per event: its key, and how often that has come
//! ```
//!
//! [`stored`] is the topology of those benchmarks that are about state, [`timers`] of the one about times.

mod codec;
mod events;
mod processor;
pub mod stored;
pub mod timers;

pub use codec::{Number, number};
pub use events::{Events, RECORD_BYTES, key_number};
pub use processor::{Careless, Count};

use headrace::codec::raw;
use headrace::error::FatalError;
use headrace::processor::Processor;
use headrace::store::{Store, Stores};
use headrace::topology::Topology;
use serde::Deserialize;

/// Every key of the configuration with its default.
pub const DEFAULTS: &str = include_str!("default.toml");

/// The topology's own part of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Topics.
    pub topics: Topics,
}

/// Topics of this topology.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Topics {
    /// What is counted, by key.
    pub events: String,
    /// The new count of each event's key.
    pub counts: String,
}

/// The dataflow.
///
/// # Errors
/// The configuration does not make a topology; touches no network.
pub fn topology(config: &Config) -> Result<Topology, FatalError> {
    with(&config.topics, |counts| Count { counts })
}

/// The dataflow with another processor in the same place.
///
/// # Errors
/// As [`topology`].
pub fn with<P>(topics: &Topics, processor: impl FnOnce(Store<Vec<u8>, u64>) -> P) -> Result<Topology, FatalError>
where
    P: Processor<KeyIn = Vec<u8>, ValueIn = Vec<u8>, KeyOut = Vec<u8>, ValueOut = u64>,
{
    let mut builder = Topology::builder("stateful-count");
    let events = builder.source("events", &topics.events, (raw(), raw()));
    let counts = builder.store("counts", Stores::rocks(raw(), number()).with_changelog());
    let counted = builder.process("count", events, processor(counts));
    builder.sink("counts", counted, &topics.counts, raw(), number());
    builder.build().map_err(|error| FatalError::Topology(error.to_string()))
}
