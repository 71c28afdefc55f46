//! The real binary under bad configuration, bad input, and with its dependencies away.

mod binary;
mod config;
mod dependencies;
mod input;
mod queries;
