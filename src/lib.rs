//! Headrace: Kafka-native stream processing.

pub mod codec;
pub mod dead_letter;
pub mod error;
pub mod position;
pub mod processor;
pub mod record;
pub mod store;
pub mod task;
pub mod topology;
