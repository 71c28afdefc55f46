//! End-to-end tests on real servers.

mod faults;
mod runtime;
