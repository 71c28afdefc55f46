//! `pause` and `resume`: what is wanted of a queue, as the newest record under its name.

use std::process::ExitCode;

use clap::Args;
use headrace::error::FatalError;

use super::times::now;
use super::{Console, known_queue};
use crate::tasks::QueueState;

/// See [`Command::Pause`](super::Command::Pause).
#[derive(Debug, Args)]
pub struct Pause {
    /// The queue.
    queue: String,
    /// Why, for people.
    #[arg(long)]
    reason: Option<String>,
}

impl Pause {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode, FatalError> {
        let state = QueueState { paused: true, since: now(), reason: self.reason };
        say(console, &self.queue, &state)?;
        println!("{} is to pause: what has begun goes on, nothing else begins", self.queue);
        Ok(ExitCode::SUCCESS)
    }
}

/// See [`Command::Resume`](super::Command::Resume).
#[derive(Debug, Args)]
pub struct Resume {
    /// The queue.
    queue: String,
}

impl Resume {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode, FatalError> {
        say(console, &self.queue, &QueueState { paused: false, since: now(), reason: None })?;
        println!("{} is to run", self.queue);
        Ok(ExitCode::SUCCESS)
    }
}

fn say(console: &Console, queue: &str, state: &QueueState) -> Result<(), FatalError> {
    known_queue(console, queue)?;
    let topic = &console.config.topics.queues;
    console.partitions(topic)?;
    let values = console.block_on(console.values::<QueueState>(topic)?.written())?;
    console.submit(topic, queue, values.encode(state)?)
}
