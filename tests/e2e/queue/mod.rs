//! The task queue on real brokers, with handlers over HTTP.

mod commands;
mod handlers;
mod kills;
mod lives;
mod pulling;
mod steering;
mod support;
