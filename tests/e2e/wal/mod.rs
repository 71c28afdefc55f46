//! The write-ahead log on real brokers, and its targets: what their fences let pass (W8), what counts as a
//! failure that may pass (W9), and that one that is away is nobody else's matter; what its HTTP intake promises (W1).

mod application;
mod commands;
mod effects;
mod groups;
mod http;
mod intake;
mod kills;
mod lives;
mod postgres;
mod receiver;
mod redis;
mod regions;
mod replay;
mod support;
mod targets;
mod topics;
mod world;
