//! The log from a shell: what people type beside `run` and `apply`.
//!
//! ```text
//!  namespaces set ──▶ validate ──▶ topics.namespaces ──▶ every instance, at once
//!  namespaces list, show, explain ◀── topics.namespaces
//!  regions audit ◀── /state/versions of each region
//!  replay ◀── topics.mutations, a time of it ──▶ topics.mutations
//! ```

mod namespaces;
mod regions;
mod replay;

use std::process::ExitCode;

use clap::Subcommand;
use headrace::cli;
use headrace::error::FatalError;

use crate::config::Config;

type Console = cli::Console<Config>;

/// A command of the write-ahead log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The namespaces: where mutations go, and how.
    Namespaces {
        /// What is to be done with them.
        #[command(subcommand)]
        command: namespaces::NamespacesCommand,
    },
    /// Write once more what came in a time, in its order, without what broke something: after a target's backup was restored. Asked for
    /// again, with times that are not relative, it goes on where it was.
    Replay(replay::Replay),
    /// The regions that write the same namespaces.
    Regions {
        /// What is to be done with them.
        #[command(subcommand)]
        command: regions::RegionsCommand,
    },
}

/// Does what was typed.
///
/// # Errors
/// What is wrong with it (exit code 64), or why it could not be done (1).
pub fn run(command: Command, console: &Console) -> Result<ExitCode, FatalError> {
    match command {
        Command::Namespaces { command } => command.run(console),
        Command::Regions { command } => command.run(console),
        Command::Replay(replay) => replay.run(console),
    }
}
