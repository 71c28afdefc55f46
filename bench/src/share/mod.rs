//! The share consumer beside Kafka's own: how many trivial tasks it accepts, and what it does while some are slow.
//!
//! Each run has a topic and a group of its own, and the broker's word that nothing is left is what a run has to end with.

mod dequeue;
mod member;
mod mixed;
mod session;
mod throughput;

pub(crate) use dequeue::run as dequeue;
pub(crate) use mixed::run as mixed;
pub(crate) use throughput::run as throughput;
