//! Benchmarks of state: how it comes back, and how much memory it takes. The same topology and the same bytes for all arms.
//!
//! ```text
//!  changelogs (loaded before, of each arm's application) ─▶ restored ─▶ first event processed, first position committed
//!                                                                                     ▲
//!  events ─ fed at a rate, or one by one ─────────────────────────────────────────────┴── seen from outside
//! ```
//!
//! The changelogs are written by the benchmark, byte for byte the same for ours and for Kafka Streams: so both restore the
//! same, and what both then have on disk can be compared entry by entry, with each other and with the changelog's fold.

mod compare;
mod contents;
mod feed;
mod instance;
mod load;
mod memory;
mod place;
mod restart;
mod restore;
mod stage;

pub(crate) use load::Writer;
pub(crate) use memory::run as memory;
pub(crate) use restart::run as restart;
pub(crate) use restore::run as restore;
