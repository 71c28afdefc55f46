//! The log without brokers and targets, rule by rule.
#![allow(clippy::unwrap_used)]

mod groups;
mod lives;
mod order;
mod regions;
mod retries;
mod support;
mod topics;
