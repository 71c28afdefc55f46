//! A write-ahead log for what lies outside of Kafka: who has written a mutation here may rely on its being applied.
//!
//! ```text
//!  namespaces ──────────────┬──────────────┐
//!                           ▼ (by lane)    ▼
//!  mutations ┐                            log ─▶ asked ─▶ targets ─▶ settle ─▶ results
//!  commands ─┴─▶ lane ─▶ lanes ─▶         │ (entries, lines, clocks, timers) │ ├─▶ exhausted
//!                                         │                                  │ └─▶ topics that are targets
//!                                         └─── results, exhausted, conflicts ┘
//!  groups ─▶ by-group ─▶ staging ─▶ mutations: a group's operations, when all of them are there
//! ```
//!
//! Callers write [mutations](mutation) of a namespace; the log applies each to the namespace's targets (Redis, PostgreSQL, HTTP, topics):
//! in order by ordering key, not before its time, again and again until it is done, or given up. One that fails is parked with those
//! behind it, and nobody else waits.

pub mod audit;
pub mod breaker;
pub mod call;
pub mod calls;
pub mod commands;
pub mod config;
pub mod conflict;
pub mod due;
pub mod entry;
mod flow;
pub mod group;
pub mod groups;
pub mod input;
pub mod intake;
pub mod ledger;
pub mod log;
pub mod mutation;
pub mod namespace;
pub mod number;
pub mod replay;
pub mod settle;
pub mod stamps;
pub mod targets;
pub mod version;
pub mod versions;

use headrace::cli::Parts;
use headrace::error::FatalError;
use headrace::topology::Topology;

use config::Config;

/// Every key of the configuration with its default.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// The dataflow.
///
/// # Errors
/// The configuration does not make a topology; touches no network.
pub fn topology(config: &Config) -> Result<Topology, FatalError> {
    Ok(flow::build(config)?.0)
}

/// The dataflow, with what is asked over HTTP.
///
/// # Errors
/// As [`topology`].
pub fn parts(config: &Config) -> Result<Parts, FatalError> {
    let (topology, namespaces) = flow::build(config)?;
    Ok(Parts { topology, routes: Some(intake::routes(config, namespaces)) })
}
