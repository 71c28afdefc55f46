//! The queue from a shell: what people type beside `run` and `apply`.
//!
//! ```text
//!  enqueue ─────────────▶ topics.tasks        ◀─ wait ── topics.results
//!  cancel, retry ───────▶ topics.commands     ◀─ lane ── GET /state/tasks/<id> of an instance ── status
//!  pause, resume ───────▶ topics.queues ──────┐
//!  queues ◀── state ──────────────────────────┘
//!         ◀── depth: the share group's lag    ◀─ brokers ── group describe
//!         ◀── in flight, deliveries: GET /metrics of the instances
//! ```
//!
//! Whatever is checked is checked before anything is written. What can't be asked is said, and never shown as nothing.

mod enqueue;
mod group;
mod instances;
mod metrics;
mod pause;
mod queues;
mod share;
mod status;
mod steer;
mod submission;
mod table;
mod times;
mod wait;

use std::process::ExitCode;

use clap::Subcommand;
use headrace::cli;
use headrace::error::FatalError;

use crate::config::Config;
use crate::tasks::Action;

type Console = cli::Console<Config>;

/// A command of the task queue.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Submit a task, and print its id.
    Enqueue(enqueue::Enqueue),
    /// Say how far a task is.
    Status(status::Status),
    /// End a task: it is not begun any more, and its result does not count.
    Cancel(steer::Steer),
    /// Give a failed task its attempts anew.
    Retry(steer::Steer),
    /// Begin nothing more of a queue; what has begun goes on.
    Pause(pause::Pause),
    /// Begin with the tasks of a paused queue again.
    Resume(pause::Resume),
    /// Show the queues: running or paused, what waits, what is under way.
    Queues(queues::Queues),
    /// The share groups that hand out a queue's tasks, as the brokers see them.
    Group {
        /// What is to be shown of them.
        #[command(subcommand)]
        command: group::GroupCommand,
    },
}

/// Does what was typed.
///
/// # Errors
/// What is wrong with it (exit code 64), or why it could not be done (1).
pub fn run(command: Command, console: &Console) -> Result<ExitCode, FatalError> {
    match command {
        Command::Enqueue(enqueue) => enqueue.run(console),
        Command::Status(status) => status.run(console),
        Command::Cancel(steer) => steer.run(console, Action::Cancel),
        Command::Retry(steer) => steer.run(console, Action::Retry),
        Command::Pause(pause) => pause.run(console),
        Command::Resume(resume) => resume.run(console),
        Command::Queues(queues) => queues.run(console),
        Command::Group { command } => command.run(console),
    }
}

/// A queue that is typed has to be one of the configured ones.
fn known_queue(console: &Console, queue: &str) -> Result<(), FatalError> {
    let known = console.config.queues();
    if known.contains_key(queue) {
        return Ok(());
    }
    let known = known.into_keys().collect::<Vec<_>>().join(", ");
    Err(FatalError::Config(format!("{queue} is none of queues.*, which has {known}")))
}
