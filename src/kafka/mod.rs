//! Kafka through librdkafka: fetching, group membership, administration, and the transactions-v1 producer.
//!
//! This is the only place that names rdkafka. What it hands up is in Headrace's own terms: events of a
//! [`GroupConsumer`], a [`TransactionalProducer`] behind a trait, changelogs read to their end. All of it runs on the
//! stream thread that owns it (rule R-1); nothing here spawns a thread.

mod admin;
mod anew;
mod changelog;
mod consumer;
mod ends;
mod log;
mod membership;
mod native;
mod producer;
mod settings;
mod transaction;

pub use admin::{Admin, TopicState, TopicWanted};
pub use changelog::{Bounds, ChangelogReader};
pub use consumer::{ConsumerError, Event, Fetched, GroupConsumer, KafkaFailure, Rebalance};
pub use ends::EndOffsets;
pub use membership::Membership;
pub use native::{NativeProducer, speaks_transactions_v2};
pub use producer::LibrdkafkaProducer;
pub use settings::Settings;
pub use transaction::{Committed, Outgoing, ProduceError, Slot, TooLarge, TransactionalProducer};
