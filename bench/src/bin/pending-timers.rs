//! The topology that only waits as a binary of its own, with the command line that all topologies have.

use std::process::ExitCode;

use count_topology::timers::{Config, DEFAULTS, topology};

fn main() -> ExitCode {
    headrace::cli::main("pending-timers", DEFAULTS, |config: &Config| topology(config))
}
