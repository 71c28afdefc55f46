//! The log without brokers and targets, rule by rule.
#![allow(clippy::unwrap_used)]

mod groups;
mod lives;
mod order;
mod retries;
mod support;
