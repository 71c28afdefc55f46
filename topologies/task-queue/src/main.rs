//! The binary; `task-queue --help` says what it does.

use std::process::ExitCode;

use task_queue::config::Config;
use task_queue::{DEFAULTS, commands, parts};

fn main() -> ExitCode {
    headrace::cli::main_with("task-queue", DEFAULTS, |config: &Config| parts(config), commands::run)
}
