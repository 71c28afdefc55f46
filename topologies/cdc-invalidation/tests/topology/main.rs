//! The rules of `cdc-invalidation` on a `TopologyDriver`, without a broker; a test names the rule or fact that it holds.
//!
//! Where a call to Redis is the effect, it is carried out on [`cache::Cache`], a model of `functions.lua`, so that a test
//! speaks of what a reader would see.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod cache;
mod fields;
mod histories;
mod refused;
mod support;
mod versions;
