//! The topology's own part of the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use headrace::config::Span;
use serde::Deserialize;

use crate::limits::{Limits, Rate};
use crate::tasks::Priority;

/// This topology's sections; those that every binary shares are apart.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Topics.
    pub topics: Topics,
    /// What holds for tasks that say nothing of it.
    pub tasks: Tasks,
    /// The queues by name; a task names one of them. Ask [`queues`](Self::queues) for them.
    pub queues: BTreeMap<String, Queue>,
}

/// The queue that there is where none is configured.
const DEFAULT_QUEUE: &str = "default";

impl Config {
    /// The queues by name, at least one.
    pub fn queues(&self) -> BTreeMap<String, Queue> {
        let mut queues = self.queues.clone();
        if queues.is_empty() {
            queues.insert(DEFAULT_QUEUE.to_owned(), Queue::default());
        }
        queues
    }
}

/// One queue.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Queue {
    /// Who is called with each task; empty: nobody is, here.
    pub push: String,
    /// Whether handlers ask for its tasks here.
    pub pull: bool,
    /// How long a call may take, and how long a handler that has asked may say nothing.
    pub timeout: Span,
    /// Calls, or leases, at the same time in each instance.
    pub concurrency: usize,
    /// How many attempts begin in a time, over all instances.
    pub rate: Option<Rate>,
    /// How many are with handlers at the same time, over all instances.
    pub running: Option<u32>,
}

impl Queue {
    /// What holds for it over all instances.
    pub fn limits(&self) -> Limits {
        Limits { rate: self.rate, running: self.running.map(i64::from) }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            push: String::new(),
            pull: false,
            timeout: Span::new(Duration::from_secs(30)),
            concurrency: 64,
            rate: None,
            running: None,
        }
    }
}

/// Topics of this topology.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Topics {
    /// What is to be done.
    pub tasks: String,
    /// What is to happen to tasks.
    pub commands: String,
    /// What is wanted of queues; compacted.
    pub queues: String,
    /// Attempts that nobody wants any more; compacted.
    pub stops: String,
    /// Tasks that come again and again; compacted.
    pub crons: String,
    /// Tasks that may be begun: the beginning of the topics' names.
    pub ready: String,
    /// What handlers say of their attempts.
    pub outcomes: String,
    /// The end of each task.
    pub results: String,
    /// Records that could not be processed.
    pub dead_letters: String,
}

impl Topics {
    /// Of a queue's tasks of this priority that may be begun.
    pub fn ready(&self, queue: &str, priority: Priority) -> String {
        format!("{}-{queue}-{}", self.ready, priority.name())
    }
}

impl Priority {
    /// All of them, the first one first.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// Its part of the turns, while there are tasks of all priorities: so that none is starved.
    pub fn weight(self) -> u32 {
        match self {
            Priority::High => 16,
            Priority::Normal => 4,
            Priority::Low => 1,
        }
    }

    /// Its name in topics.
    pub fn name(self) -> &'static str {
        match self {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }
}

/// What holds for tasks that say nothing of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tasks {
    /// How often a task may be begun.
    pub max_attempts: i32,
    /// Before the second attempt.
    pub backoff: Span,
    /// Before any other.
    pub longest_backoff: Span,
    /// How long an ended task is remembered.
    pub remember: Span,
    /// How long a task may be put off.
    pub longest_delay: Span,
    /// How exact times are kept.
    pub tick: Span,
}
