//! The binary; `write-ahead-log --help` says what it does.

use std::process::ExitCode;

use write_ahead_log::config::Config;
use write_ahead_log::{DEFAULTS, topology};

fn main() -> ExitCode {
    headrace::cli::main("write-ahead-log", DEFAULTS, |config: &Config| topology(config))
}
