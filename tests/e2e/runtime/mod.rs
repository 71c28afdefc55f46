//! The runtime's promises on a real broker, with a topology that counts (rules of `spec/runtime.md`, named in each test).

mod child;
mod colours;
mod exact;
mod group;
mod intake;
mod lifecycle;
mod limits;
mod native;
mod operator;
mod orphans;
mod punctuators;
mod queries;
mod queries_refused;
mod queries_routed;
mod recreated;
mod repartition;
mod restoring;
mod rights;
mod running;
mod serving;
mod start;
mod stopped;
pub(crate) mod support;
mod takeover;
