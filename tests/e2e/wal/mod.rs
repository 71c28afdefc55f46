//! The write-ahead log on real brokers, and its targets: what their fences let pass (W8), what counts as a failure that may pass (W9), and that
//! one that is away is nobody else's matter.

mod application;
mod effects;
mod http;
mod kills;
mod lives;
mod postgres;
mod receiver;
mod redis;
mod targets;
mod world;
