//! Runs a topology against Kafka: stream threads, assignment, the commit cycle, restore, shutdown.
//!
//! ```text
//!  App ──▶ stream thread 0 ─┬─ GroupConsumer ──records──▶ Task ──effects──▶ producer / dispatcher
//!      ──▶ stream thread 1  ├─ commit cycle: external settled ▶ acknowledged ▶ offsets ▶ end ▶ one WriteBatch
//!      │                    └─ rebalances: commit or abort first, then assign or unassign
//!      └─▶ workers, one member of each share group: Pool ──▶ Worker::run ──▶ outbox ──▶ accept
//! ```
//!
//! Each stream thread is an OS thread that owns its clients, tasks and stores; nothing is shared but counters and the
//! cache of schemas. What is asynchronous by nature (registry, external sinks, HTTP) runs on tokio beside it.

mod anew;
mod answers;
mod app;
mod aside;
mod commit;
mod environment;
mod gaps;
mod globals;
mod halt;
mod handover;
mod implementation;
mod internal_topics;
mod membership;
mod memory;
mod options;
mod orphans;
mod own_topics;
mod produced;
mod punctuation;
mod purge;
mod queries;
mod quiet;
mod rebalance;
mod recover;
mod refused;
mod rejoin;
mod rest;
mod restore;
mod schema_loader;
mod standby;
mod stream_thread;
mod tables;
mod tally;
mod tasks;
mod topic_settings;
mod watch;
mod watchdog;
mod workers;

pub use app::App;
pub(crate) use app::run_stream_thread;
pub use environment::{Environment, Plan, Problem};
pub use implementation::{Implementation, Implementations};
pub use memory::{GLOBAL_BYTES, MemoryPlan, STORE_BYTES, TASK_BYTES};
pub use options::{Guarantee, Options};
pub use queries::{LookError, Looks, Queries, Seen};
