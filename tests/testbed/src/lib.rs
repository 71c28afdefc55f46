//! Real servers as child processes: Kafka, a schema registry, Redis, PostgreSQL, Kafka Connect with Debezium, and
//! Prometheus, for the end-to-end tests and the demo. No container engine is needed, and nothing stays behind.
//!
//! ```no_run
//! # fn main() -> testbed::Result<()> {
//! let bed = testbed::Testbed::builder().kafka().redis().start()?;
//! println!("{} {}", bed.kafka()?.bootstrap_servers(), bed.redis()?.url());
//! bed.kafka()?.kill();
//! bed.kafka()?.start()?; // the same port, the same data
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! ```text
//! Testbed (bed) --starts in parallel--> kafka, registry, redis, postgres, connect (+ debezium), prometheus
//!    each: Server (server) --> Process (process) --> spawner thread --> the program
//!    programs: packages (Debian) and cache (artifacts --> maven --> lock)
//!    beneath: dirs (temporary data), ports, wait (the only sleep), http, broker_probe
//! ```
//!
//! Every part derefs to [`Server`]: `kill`, `stop`, `start`, `restart`, `pause`, `resume`.

mod artifacts;
mod bed;
mod broker_probe;
mod cache;
mod connect;
mod debezium;
mod dirs;
pub mod env_file;
mod error;
mod fetch;
pub mod here;
mod http;
mod identity;
mod java;
mod kafka;
mod lock;
mod maven;
mod packages;
mod ports;
mod postgres;
mod process;
mod prometheus;
mod redis;
mod registry;
mod secured;
mod server;
mod spawner;
pub mod wait;

pub use artifacts::{Artifacts, KafkaVersion, STREAMS_VERSION};
pub use bed::{Testbed, TestbedBuilder};
pub use cache::Cache;
pub use connect::Connect;
pub use debezium::{DebeziumPostgres, Format};
pub use dirs::Dirs;
pub use error::{Error, Result};
pub use fetch::{Part, check, fetch};
pub use http::get as http_get;
pub use identity::{TokenEndpoint, TokenQuestion, TokenSigner};
pub use kafka::{Kafka, KafkaBuilder};
pub use ports::free_port;
pub use postgres::Postgres;
pub use process::{descendants, is_alive};
pub use prometheus::{Prometheus, ScrapeTarget};
pub use redis::Redis;
pub use registry::Registry;
pub use secured::Secured;
pub use server::Server;
pub use spawner::spawn;
