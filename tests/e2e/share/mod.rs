//! The share consumer on real brokers.

mod account;
mod consume;
mod group;
mod interop;
mod locks;
mod moves;
mod network;
mod pool;
mod rights;
mod support;
mod topics;
mod versions;
mod workers;
