//! The binary; `cdc-invalidation --help` says what it does.

use std::process::ExitCode;

use cdc_invalidation::config::Config;
use cdc_invalidation::{DEFAULTS, topology};

fn main() -> ExitCode {
    headrace::cli::main("cdc-invalidation", DEFAULTS, |config: &Config| topology(config))
}
