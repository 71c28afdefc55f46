//! The write-ahead log's demo: deletes that are put off with jitter, writes to three targets of which one goes away, mutations of a Python
//! script, a kill -9, and each mutation compared with what the targets have done.
//!
//! ```text
//! load ───────▶ Kafka ─▶ write-ahead-log: one (killed midway), two ─┬─▶ Redis        sessions: put, and deleted later; stock
//! put.py ─ HTTP ─┘           │                                      ├─▶ PostgreSQL   stock; away for a while; a trigger keeps each effect
//!                            └─▶ results                            └─▶ receiver     stock; fails now and then; keeps each effect
//! ```
//!
//! Last line: `demo: mutations=N applied=N delayed=N lost=0 duplicated_effects=0 early=0 reordered=0 p50_ms=… p99_ms=…`; the times are
//! those of stock from when it was written until Redis had it.

mod events;
mod mutations;
mod python;
mod scenario;
mod stage;
mod verdict;

pub(crate) use scenario::{run, up};
