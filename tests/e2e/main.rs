//! End-to-end tests: the binaries as child processes against real servers, which are started once for all tests.
//!
//! ```text
//! test ──▶ support::bed ──▶ Kafka, registry, Redis, PostgreSQL, Connect    (shared; see there how they end)
//!      ──▶ support::app ──▶ a binary with a configuration, topics and an application id of its own
//! ```
//!
//! Tests don't share anything that they write: each has its own database schema, topics, application id and namespace
//! in Redis, and starts servers of its own where it stops them.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod cdc;
mod experiments;
mod faults;
mod fetch;
mod produce;
mod queue;
mod runtime;
mod share;
mod support;
mod torture;
mod wal;
mod wire;
