//! The task queue on real brokers, with handlers over HTTP.

mod handlers;
mod kills;
mod lives;
mod pulling;
mod support;
