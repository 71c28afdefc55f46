//! A topology whose state is large: each event's value replaces its key's, with a count before it.
//!
//! ```text
//! events ─▶ store-values (stores: values-0, values-1, …) ─▶ counts    one output per event: how often its key has come
//! ```

use headrace::codec::raw;
use headrace::error::FatalError;
use headrace::processor::{Context, Fault, Processor};
use headrace::record::Record;
use headrace::store::{Store, StoreIndex, Stores};
use headrace::topology::Topology;
use serde::Deserialize;

use crate::{Topics, number};

/// Every key of the configuration with its default.
pub const DEFAULTS: &str = include_str!("stored.toml");

/// Bytes of the count before a value.
const COUNT_BYTES: usize = size_of::<u64>();

/// The topology's own part of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Topics.
    pub topics: Topics,
    /// How many stores each value is written to.
    pub stores: u8,
}

/// The dataflow.
///
/// # Errors
/// The configuration does not make a topology; touches no network.
pub fn topology(config: &Config) -> Result<Topology, FatalError> {
    let mut builder = Topology::builder("stored-values");
    let events = builder.source("events", &config.topics.events, (raw(), raw()));
    let stores = 0..config.stores;
    let values = stores.map(|n| builder.store(&store_name(n), Stores::rocks(raw(), raw()).with_changelog())).collect();
    let stored = builder.process("store-values", events, StoreValues { values, encoded: Vec::new() });
    builder.sink("counts", stored, &config.topics.counts, raw(), number());
    builder.build().map_err(|error| FatalError::Topology(error.to_string()))
}

/// The name of a store; Kafka Streams' program calls it the same.
pub fn store_name(number: u8) -> String {
    format!("values-{number}")
}

/// What the stores hold of a key that has come so often, with this value last.
pub fn encode(count: u64, value: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(value);
}

/// Replaces values, and counts them.
#[derive(Debug, Clone)]
struct StoreValues {
    values: Vec<Store<Vec<u8>, Vec<u8>>>,
    /// Kept for its memory.
    encoded: Vec<u8>,
}

impl Processor for StoreValues {
    type KeyIn = Vec<u8>;
    type ValueIn = Vec<u8>;
    type KeyOut = Vec<u8>;
    type ValueOut = u64;

    fn stores(&self) -> Vec<StoreIndex> {
        self.values.iter().map(Store::index).collect()
    }

    fn process(
        &mut self,
        record: &Record<Vec<u8>, Vec<u8>>,
        context: &mut Context<'_, Vec<u8>, u64>,
    ) -> Result<(), Fault> {
        let mut count = 0;
        for store in &self.values {
            let before = context.store(store).read(&record.key)?;
            let before = before.as_deref().and_then(<[u8]>::first_chunk::<COUNT_BYTES>);
            count = before.map_or(0, |bytes| u64::from_be_bytes(*bytes)) + 1;
            encode(count, &record.value, &mut self.encoded);
            context.store(store).write(&record.key, Some(&self.encoded))?;
        }
        context.forward(&record.map(record.key.clone(), count));
        Ok(())
    }
}
