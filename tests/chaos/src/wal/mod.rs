//! The proof of the write-ahead log: its binary under kills, its brokers and targets as well, and a judge of what the targets have.
//!
//! ```text
//!  load ─▶ mutations ──┐                            ┌─▶ Redis ──────── killed, comes back
//!   ▲                  ├─▶ members (the binary,  ───┼─▶ PostgreSQL ─── killed, comes back; a trigger keeps each effect
//!   │  intake (HTTP) ──┘      killed, restarted)    └─▶ receiver ───── fails, hangs, is away; keeps each effect
//!   │                              │                                        │
//!   └─ window ◀── follower ◀── results ─────────────────▶ judge ◀───────────┘
//! ```
//!
//! # Layout
//!
//! ```text
//! kills                     the run
//! naive                     the applier that everybody writes: the control arm
//! plan                      what is written, by a seed
//! load, intake, results     who writes, to the topic and over HTTP, and what came of it
//! receiver, stores          the targets, as witnesses of their effects
//! settings, records         an instance's configuration; the records of a run
//! judge                     pure: what is lost, duplicated, early, reordered
//! regions                   a run of its own: two regions, and the way between them
//! ```

pub mod intake;
pub mod judge;
pub mod kills;
pub mod load;
pub mod naive;
pub mod plan;
pub mod receiver;
pub mod records;
pub mod regions;
pub mod results;
pub mod settings;
pub mod stores;
mod whole;

use std::time::Duration;

pub use whole::{Whole, run};

/// Bound of whatever is waited for: three brokers, a registry and several instances on few cores are slow to come back.
const PATIENCE: Duration = Duration::from_secs(180);
