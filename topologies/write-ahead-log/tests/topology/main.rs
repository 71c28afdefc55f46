//! The log without brokers and targets, rule by rule.
#![allow(clippy::unwrap_used)]

mod lives;
mod order;
mod retries;
mod support;
