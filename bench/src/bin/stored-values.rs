//! The topology with a large state as a binary of its own, with the command line that all topologies have.

use std::process::ExitCode;

use count_topology::stored::{Config, DEFAULTS, topology};

fn main() -> ExitCode {
    headrace::cli::main("stored-values", DEFAULTS, |config: &Config| topology(config))
}
