//! The proofs of the task queue: its binary under kills, rolling restarts and long tasks, and a judge of what each task came to.
//!
//! ```text
//!  submit ─▶ tasks ─▶ members (the binary, killed, restarted) ─▶ results ─▶ judge ◀─ ledger of calls
//!     ▲                  │   ▲                                     │                  ▲
//!     └── window ◀───────┼───┼──────────── follower ◀──────────────┘                  │
//!                        └───┴──── handlers: called, or asking ───────────────────────┘
//! ```
//!
//! # Layout
//!
//! ```text
//! kills, restarts, long     the three runs, each with its control arm
//! naive                     the worker that everybody writes: the control arm of the kills
//! fate                      what is to become of a task, by its id
//! submit, results           who submits, and what came of it
//! handlers                  who works on tasks, and a ledger of all calls
//! ground, member            names, topics and settings; the processes
//! judge                     pure: what is lost, twice, wrong, out of order, early
//! ```

pub mod fate;
pub mod ground;
pub mod handlers;
pub mod judge;
pub mod kills;
pub mod long;
pub mod member;
pub mod naive;
pub mod restarts;
pub mod results;
pub mod submit;
mod whole;

use std::time::Duration;

pub use whole::{Whole, run};

/// Bound of whatever is waited for: three brokers, a registry and several instances on few cores are slow to come back.
const PATIENCE: Duration = Duration::from_secs(180);
