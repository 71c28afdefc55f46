//! The share consumer on real brokers.

mod consume;
mod interop;
mod locks;
mod pool;
mod support;
