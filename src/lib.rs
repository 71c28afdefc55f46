//! Headrace: Kafka-native stream processing.
#![allow(missing_docs)]

pub mod backoff;
pub mod codec;
pub mod config;
pub mod error;
pub mod position;
pub mod record;
pub mod store;
pub mod telemetry;
