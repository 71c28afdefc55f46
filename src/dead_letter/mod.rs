//! Dead letters: when a record is set aside, and what is written about it.
//!
//! The original key, value, headers and timestamp are kept as they were (rule D1); provenance is *appended* in Kafka
//! Streams' dialect (KIP-1034) with Headrace's own headers for what that lacks. The dead letter is an output of the same
//! transaction that advances the input past the record (rule R-28), so neither can happen without the other.

mod headers;
mod letter;
mod policy;

pub use headers::{Origin, Provenance, names, tick_provenance};
pub use letter::{DeadLetter, RECORD_OVERHEAD};
pub use policy::{Breaker, Policy, RATIO_FLOOR, RATIO_PAUSE, RATIO_WINDOW};
