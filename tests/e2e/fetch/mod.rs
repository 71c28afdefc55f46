//! The native fetcher on real brokers (rules, N-8 of `spec/runtime.md`, named in each test). What it reads
//! is held against what librdkafka's committed reader reads of the same topics.

mod away;
mod beginnings;
mod committed;
mod drain;
mod order;
mod quota;
mod secure;
mod support;
