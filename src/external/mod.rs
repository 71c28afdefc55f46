//! Sinks outside Kafka: lanes that send requests in order, bounded, retried for as long as it takes.
//!
//! ```text
//!  stream thread ──push──▶ Dispatcher ──batches──▶ lane 0 ──▶ connection 0 ──▶ target
//!        ▲                    │ by order key      lane 1 ──▶ connection 1 ──▶
//!        └──── settled ◀──────┴──────────────── outcomes
//! ```
//!
//! Requests of one order key travel in one lane, one batch after the other, so the target sees them in order. A batch
//! that fails is sent again as a whole: targets are idempotent. The commit cycle waits until everything has settled.
//!
//! Of *calls* the topology hears each answer itself: a lane has one request of an order key under way at a time, and sends none
//! behind one that was not done.

mod batch;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod calls_tests;
mod dispatcher;
mod lane;
mod redis;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use dispatcher::{Answered, Dispatcher, Refusal};
pub use lane::LaneOptions;
pub use redis::{Epilogue, Prepare, ReadReply, RedisConnect, RedisSettings};
