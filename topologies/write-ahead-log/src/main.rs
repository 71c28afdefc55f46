//! The binary; `write-ahead-log --help` says what it does.

use std::process::ExitCode;

use write_ahead_log::config::Config;
use write_ahead_log::{DEFAULTS, commands, parts};

fn main() -> ExitCode {
    headrace::cli::main_with("write-ahead-log", DEFAULTS, |config: &Config| parts(config), commands::run)
}
