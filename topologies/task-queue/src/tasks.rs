//! The values on the edges and in the stores; their schemas are the files in `schemas/`.

use headrace::codec::AvroSchema;
use serde::{Deserialize, Serialize};

/// Which of the ready tasks come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Priority {
    /// Before the others, of which each still has its part.
    High,
    /// What most are.
    #[default]
    Normal,
    /// When there is time.
    Low,
}

/// Something to be done once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Identity, chosen by who submits it.
    pub id: String,
    /// The queue.
    pub queue: String,
    /// What is to be done.
    pub kind: String,
    /// What it is to be done with.
    #[serde(with = "apache_avro::serde::bytes")]
    pub payload: Vec<u8>,
    /// Which come first.
    pub priority: Priority,
    /// Not begun before, in milliseconds since the epoch.
    pub not_before: Option<i64>,
    /// Not begun from then on, in milliseconds since the epoch.
    pub deadline: Option<i64>,
    /// Tasks of one order key are done one after the other.
    pub order_key: Option<String>,
    /// Of tasks of one unique key one is done.
    pub unique_key: Option<String>,
    /// How often it may be begun.
    pub max_attempts: Option<i32>,
    /// W3C traceparent.
    pub trace: Option<String>,
}

impl Task {
    /// What brings together the tasks that have to know of each other: the key of all records about this one.
    pub fn lane(&self) -> &str {
        self.order_key.as_deref().or(self.unique_key.as_deref()).unwrap_or(&self.id)
    }
}

impl AvroSchema for Task {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue.tasks-value.avsc");
}

/// A task that may be begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyTask {
    /// The task.
    pub task: Task,
    /// The attempt, from 1.
    pub attempt: i32,
    /// Key of its outcome.
    pub lane: String,
}

impl AvroSchema for ReadyTask {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue.ready-value.avsc");
}

/// How an attempt has gone, or is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OutcomeKind {
    /// Its result is here.
    Done,
    /// Another attempt may help.
    Failed,
    /// No other attempt can help.
    Refused,
    /// It goes on.
    Progress,
}

/// What a handler says of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The task.
    pub id: String,
    /// The attempt.
    pub attempt: i32,
    /// How it has gone.
    pub kind: OutcomeKind,
    /// What the handler gives back.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub result: Option<Vec<u8>>,
    /// Why it failed.
    pub error: Option<String>,
    /// How much is done, from 0 to 1.
    pub progress: Option<f64>,
    /// Who has worked on it.
    pub worker: Option<String>,
}

impl ReadyTask {
    /// What is said of it.
    pub fn outcome(&self, kind: OutcomeKind, result: Option<Vec<u8>>, error: Option<String>) -> Outcome {
        let (id, attempt) = (self.task.id.clone(), self.attempt);
        Outcome { id, attempt, kind, result, error, progress: None, worker: None }
    }
}

impl AvroSchema for Outcome {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue.outcomes-value.avsc");
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Another one of its order key comes first.
    Waiting,
    /// Its time has not come.
    Delayed,
    /// An attempt is with the handlers, or on its way there.
    Ready,
    /// It has a result.
    Done,
    /// It was refused, or is out of attempts.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its deadline came first.
    Expired,
    /// Another one of its unique key is the one.
    Duplicate,
}

impl State {
    /// Its name, as records have it.
    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "WAITING",
            State::Delayed => "DELAYED",
            State::Ready => "READY",
            State::Done => "DONE",
            State::Failed => "FAILED",
            State::Cancelled => "CANCELLED",
            State::Expired => "EXPIRED",
            State::Duplicate => "DUPLICATE",
        }
    }

    /// Its name, as metrics have it.
    pub fn event(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Delayed => "delayed",
            State::Ready => "ready",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
            State::Duplicate => "duplicate",
        }
    }

    /// Whether nothing more happens to it.
    pub fn is_end(self) -> bool {
        !matches!(self, State::Waiting | State::Delayed | State::Ready)
    }
}

/// The end of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The task.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// How it has ended.
    pub state: State,
    /// What the handler gave back.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub result: Option<Vec<u8>>,
    /// Why it has no result.
    pub error: Option<String>,
    /// How often it was begun.
    pub attempts: i32,
    /// When, in milliseconds since the epoch.
    pub ended: i64,
    /// The task of the same unique key.
    pub duplicate_of: Option<String>,
    /// The task's traceparent.
    pub trace: Option<String>,
}

impl AvroSchema for TaskResult {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue.results-value.avsc");
}

/// What is to happen to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// It is not begun any more, and its result does not count.
    Cancel,
    /// One that has failed has its attempts anew.
    Retry,
}

/// The same, of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The task.
    pub id: String,
    /// What is to happen.
    pub action: Action,
}

impl AvroSchema for Command {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue.commands-value.avsc");
}

/// An attempt that is not with the handlers any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// The task.
    pub id: String,
    /// The attempt.
    pub attempt: i32,
    /// The task's queue.
    pub queue: String,
}

/// Attempts of a task that nobody wants any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// This one, and those before.
    pub attempt: i32,
}

impl AvroSchema for Stop {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue.stops-value.avsc");
}

/// What is wanted of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Whether nothing is begun; what has been begun goes on.
    pub paused: bool,
    /// When this was said, in milliseconds since the epoch.
    pub since: i64,
    /// Why, for people.
    pub reason: Option<String>,
}

impl AvroSchema for QueueState {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue.queues-value.avsc");
}

/// A task and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The task; without its payload once it has ended.
    pub task: Task,
    /// How far it is.
    pub state: State,
    /// The attempt under way, or the last one.
    pub attempt: i32,
    /// Attempts before somebody wanted it again.
    pub attempts_before: i32,
    /// When its time comes, in milliseconds since the epoch.
    pub due: Option<i64>,
    /// Its place in the order of its order key.
    pub place: Option<i64>,
    /// When it came to this state, in milliseconds since the epoch.
    pub since: i64,
    /// Why its last attempt failed.
    pub error: Option<String>,
    /// What its handler gave back.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub result: Option<Vec<u8>>,
    /// How much is done, from 0 to 1.
    pub progress: Option<f64>,
    /// Its attempt went by its queue's gate, which has to be told when that is over, whatever the limits are by then.
    pub gated: bool,
}

impl Entry {
    /// How many of its attempts count.
    pub fn tried(&self) -> i32 {
        self.attempt - self.attempts_before
    }
}

impl AvroSchema for Entry {
    const SCHEMA: &'static str = include_str!("../../../schemas/task-queue-tasks-changelog-value.avsc");
}
