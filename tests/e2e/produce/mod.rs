//! The native producer's promises on real brokers (rules N-1 to N-8 of `spec/runtime.md`, named in each test). What it
//! writes is read by clients that know nothing of it: librdkafka, Java's console consumer, Python's client.

mod commit;
mod dropped;
mod faults;
mod fences;
mod hanging;
mod hung;
mod interop;
mod renewal;
mod sides;
pub(crate) mod support;
mod takeover;
mod throttled;
mod turns;
