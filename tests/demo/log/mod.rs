//! The write-ahead log's demo: deletes that are put off with jitter, writes to three targets of which one goes away, mutations of a Python
//! script, an order of several tables in the middle of which all instances are killed, a second region that is out of reach for a while,
//! and each mutation compared with what the targets have done.
//!
//! ```text
//! load ───────▶ Kafka ─▶ write-ahead-log: one (killed midway), two ─┬─▶ Redis        sessions: put, and deleted later; stock
//! put.py ─ HTTP ─┘           │                                      ├─▶ PostgreSQL   stock; away for a while; a trigger keeps each effect
//!                            └─▶ results                            └─▶ receiver     stock; fails now and then; keeps each effect
//! load ─ HTTP ─▶ prices, in both regions                            └─▶ us           its own Kafka, log and Redis; out of reach for a while
//! ```
//!
//! Last line: `demo: mutations=N applied=N delayed=N lost=0 duplicated_effects=0 early=0 reordered=0 divergent_keys=0 orders_in_part=0
//! p50_ms=… p99_ms=…`; the times are those of stock from when it was written until Redis had it.

mod events;
mod mutations;
mod orders;
mod python;
mod regions;
mod scenario;
mod stage;
mod verdict;

pub(crate) use scenario::{run, up};
