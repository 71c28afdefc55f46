//! A queue of tasks on Kafka: each is done once, when its time has come, by whoever has time.
//!
//! ```text
//!  crons ─▶ tasks ┐                    (by lane)
//!  commands ──────┼─▶ lane ─▶ lanes ─▶ schedule (tasks, places, timers, unique) ─▶ results
//!  outcomes ──────┘                      │ └─▶ stops             │ of limited queues
//!      ▲                                 │                       ▼  (by queue)
//!      │                                 ▼                     gate (gates, queued, admitted)
//!      │                      ready-high, ready-normal, ready-low ◀┘
//!      │                                 │ share group
//!      └────────────────────────── handlers ◀─ stops, queues
//! ```

pub mod board;
pub mod commands;
pub mod config;
pub mod cron;
pub mod desk;
mod flow;
pub mod gate;
pub mod handlers;
pub mod input;
pub mod leases;
pub mod limits;
pub mod pull;
pub mod push;
pub mod rules;
pub mod schedule;
pub mod tasks;
pub mod timers;
pub mod wishes;

use std::sync::Arc;
use std::time::Duration;

use headrace::cli::{OwnRoutes, Parts};
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

/// The dataflow, with what handlers ask and say.
///
/// # Errors
/// As [`topology`].
pub fn parts(config: &Config) -> Result<Parts, FatalError> {
    let (topology, counters) = flow::build(config)?;
    // An answer to who waits for work comes a moment after the wait.
    let longest = pull::LONGEST_WAIT + Duration::from_secs(5);
    let routes = (!counters.is_empty()).then(|| OwnRoutes::changing(pull::routes(Arc::new(counters)), longest));
    Ok(Parts { topology, routes })
}
