//! `cancel` and `retry`: what is to happen to a task, under the key that brings it to the task.

use std::process::ExitCode;

use clap::Args;
use headrace::error::FatalError;

use super::{Console, status};
use crate::tasks::{Action, Command};

/// See [`Command::Cancel`](super::Command::Cancel).
#[derive(Debug, Args)]
pub struct Steer {
    /// The task.
    id: String,
    /// Its lane: its order key, else its unique key, else its id. By default an instance is asked.
    #[arg(long)]
    lane: Option<String>,
    /// The instance to ask for the lane; by default where the configuration has one listen.
    #[arg(long, value_name = "URL", conflicts_with = "lane")]
    at: Option<String>,
}

impl Steer {
    pub(super) fn run(&self, console: &Console, action: Action) -> Result<ExitCode, FatalError> {
        if self.id.is_empty() {
            return Err(FatalError::Config("the task has no id; say which one".to_owned()));
        }
        let lane = match &self.lane {
            Some(lane) if lane.is_empty() => {
                return Err(FatalError::Config("--lane is empty; leave it out, and an instance is asked".to_owned()));
            }
            Some(lane) => lane.clone(),
            None => self.look_up(console)?,
        };
        let topic = &console.config.topics.commands;
        console.partitions(topic)?;
        let values = console.block_on(console.values::<Command>(topic)?.written())?;
        let command = values.encode(&Command { id: self.id.clone(), action })?;
        console.submit(topic, &lane, command)?;
        let word = match action {
            Action::Cancel => "cancel",
            Action::Retry => "retry",
        };
        println!("{word} of {} is submitted (lane {lane})", self.id);
        Ok(ExitCode::SUCCESS)
    }

    fn look_up(&self, console: &Console) -> Result<String, FatalError> {
        let way_out = "give the task's lane with --lane (its order key, else its unique key, else its id)";
        match status::look_up(console, self.at.as_deref(), &self.id) {
            Ok(Some(told)) => Ok(told.entry.task.lane().to_owned()),
            Ok(None) => Err(FatalError::Environment(format!(
                "{}; to say it all the same, {way_out}",
                status::unknown(&self.id)
            ))),
            Err(FatalError::Environment(reason)) => {
                Err(FatalError::Environment(format!("{reason}; {way_out}, or another instance with --at")))
            }
            Err(error) => Err(error),
        }
    }
}
