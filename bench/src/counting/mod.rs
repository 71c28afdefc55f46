//! Runs of the count topology, the same for all arms: one input topic, a process each, a clock that none of them holds.
//!
//! ```text
//!  input topic (loaded once) ─▶ warm-up part │ measured part ─▶ output topic ─▶ read back and checked
//!                                            ▲               ▲
//!  committed positions of the arm's group ───┴── clock ──────┘    looked at from outside, every few milliseconds
//! ```
//!
//! Why committed positions: they move in the same transaction as outputs and state, they are exact (an output topic's
//! offsets count transaction markers too), and reading them costs an arm nothing. Why a warm-up part: start-up, joining
//! the group, opening the store and the JVM's compiler are not what is compared; with it, every arm is measured from a
//! moment at which it is at work and knows all keys. CPU seconds are those of the measured part, peak memory is that of
//! the process's whole life.

mod arm;
mod latency;
mod observer;
mod pace;
mod peer;
mod session;
pub(crate) mod topics;
pub(crate) mod verify;

pub(crate) use arm::{Arm, Running, Setting, binary};
pub(crate) use latency::{Latency, end_to_end, now_ms, reader as committed_reader};
pub(crate) use observer::Observer;
pub(crate) use pace::Pace;
pub(crate) use peer::{Peer, describe as describe_peer, properties as peer_properties};
pub(crate) use session::Session;

use crate::Failure;

/// Different keys.
pub(crate) const KEYS: u32 = 100_000;
/// Partitions of every topic.
pub(crate) const PARTITIONS: i32 = 4;

/// A number from the environment, for quicker runs; `default` without it.
pub(crate) fn number(name: &str, default: u64) -> Result<u64, Failure> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => match text.replace('_', "").parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("{name}={text}: want a number above 0").into()),
        },
        _ => Ok(default),
    }
}
