//! Drives a topology without a broker: the same tasks and stores, records in, effects out, a clock set by hand.
//!
//! What Kafka Streams calls TopologyTestDriver. Codecs are bound to a local registry, stores live in memory, and each
//! record and each tick of a punctuator commits at once; a dead letter is an output of the dead-letter topic, as in the real thing.
//!
//! [`stream_thread`] is for the loop itself: it runs one on the caller's thread, against a model of a cluster.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod between_tests;
mod calls;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod calls_tests;
mod clock;
mod driver;
mod stream_thread;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod workers;

pub use clock::ManualClock;
pub use driver::{Driven, TopologyDriver};
pub use stream_thread::stream_thread;
