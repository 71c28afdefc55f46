//! Headrace: Kafka-native stream processing.

pub mod backoff;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod config;
pub mod dead_letter;
pub mod error;
pub mod external;
pub mod kafka;
pub mod partitioner;
pub mod position;
pub mod processor;
pub mod record;
pub mod runtime;
pub mod share;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod testing;
pub mod topology;
pub mod wire;
