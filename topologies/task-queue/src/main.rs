//! The binary; `task-queue --help` says what it does.

use std::process::ExitCode;

use task_queue::config::Config;
use task_queue::{DEFAULTS, parts};

fn main() -> ExitCode {
    headrace::cli::main("task-queue", DEFAULTS, |config: &Config| parts(config))
}
