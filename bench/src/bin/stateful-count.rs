//! The count topology as a binary of its own, with the command line and the configuration that all topologies have.

use std::process::ExitCode;

use count_topology::{Config, DEFAULTS, topology};

fn main() -> ExitCode {
    headrace::cli::main("stateful-count", DEFAULTS, |config: &Config| topology(config))
}
