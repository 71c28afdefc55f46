//! What is known of a mutation and a target, from when it came until nothing need be known of it any more.
//!
//! ```text
//!            ┌─▶ DELAYED ─ its time comes ─┐
//!  mutation ─┤                             ▼       the target has ─▶ APPLIED
//!            ├────────────────────────▶ ASKED ──┬─ refused it, or it was tried too often ─▶ EXHAUSTED, or HALTED
//!            └─▶ WAITING: one of its key ──▲    └─ not done it ─▶ PARKED ─ its back-off is over ─┐
//!                is before it              └─────────────────────────────────────────────────────┘
//!  REJECTED at once; CANCELLED from DELAYED, WAITING, PARKED, HALTED; SUPERSEDED when its time comes, by another region's
//! ```

use headrace::codec::AvroSchema;
use serde::{Deserialize, Serialize};

use crate::mutation::Mutation;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// The target is being asked, within the transaction that is open.
    Asked,
    /// Its time has not come.
    Delayed,
    /// Another one of its ordering key is before it.
    Waiting,
    /// It was not done, and is tried again.
    Parked,
    /// It can't be done, and those behind it wait until somebody says what is to be done.
    Halted,
    /// The target has it.
    Applied,
    /// It breaks a rule of its namespace, and was never tried.
    Rejected,
    /// It was given up: the target refuses it, or it was tried as often as it may be.
    Exhausted,
    /// Somebody has taken it back before it was applied.
    Cancelled,
    /// Another region has written its key later, and that is here already.
    Superseded,
}

impl State {
    /// Whether nothing happens to it any more.
    pub fn is_end(self) -> bool {
        matches!(self, State::Applied | State::Rejected | State::Exhausted | State::Cancelled | State::Superseded)
    }

    /// Whether the target has it, or something later.
    pub fn is_applied(self) -> bool {
        matches!(self, State::Applied | State::Superseded)
    }

    /// Whether it stands in the line of its ordering key.
    pub fn is_in_line(self) -> bool {
        matches!(self, State::Waiting | State::Parked | State::Halted)
    }

    /// Its name, as metrics and people have it.
    pub fn name(self) -> &'static str {
        match self {
            State::Asked => "asked",
            State::Delayed => "delayed",
            State::Waiting => "waiting",
            State::Parked => "parked",
            State::Halted => "halted",
            State::Applied => "applied",
            State::Rejected => "rejected",
            State::Exhausted => "exhausted",
            State::Cancelled => "cancelled",
            State::Superseded => "superseded",
        }
    }
}

/// A mutation and one of its targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What is to be written, with its target; without its value once that is over.
    pub mutation: Mutation,
    /// How far it is.
    pub state: State,
    /// Where it stands among those of its task: later ones have higher [numbers](crate::number). One that was put off gets another
    /// one when its time has come.
    pub number: Option<i64>,
    /// How often the target was asked.
    pub attempts: i32,
    /// When its time comes, while it is delayed, in milliseconds since the epoch.
    pub due: Option<i64>,
    /// Since when it is in its state, in milliseconds since the epoch.
    pub since: i64,
    /// The target's word for how it was applied.
    pub how: Option<String>,
    /// Why it was not, the last time.
    pub reason: Option<String>,
}

impl AvroSchema for Entry {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log-entries-changelog-value.avsc");
}

impl Entry {
    /// One that has just come.
    pub fn new(mutation: Mutation, now: i64) -> Self {
        Entry {
            mutation,
            state: State::Asked,
            number: None,
            attempts: 0,
            due: None,
            since: now,
            how: None,
            reason: None,
        }
    }

    /// Its target; a mutation in the log has one.
    pub fn target(&self) -> &str {
        self.mutation.target.as_deref().unwrap_or_default()
    }

    /// What it is known by: names of namespaces and targets hold no slash, whatever the token holds.
    pub fn id(&self) -> String {
        id(&self.mutation.namespace, &self.mutation.token, self.target())
    }

    /// What it has to be in order with.
    pub fn lane(&self) -> String {
        lane(&self.mutation)
    }
}

/// What a mutation and a target are known by.
pub fn id(namespace: &str, token: &str, target: &str) -> String {
    format!("{namespace}/{token}/{target}")
}

/// What a mutation, which names its target, has to be in order with (rule W4).
pub fn lane(mutation: &Mutation) -> String {
    let target = mutation.target.as_deref().unwrap_or_default();
    format!("{}/{target}/{}", mutation.namespace, mutation.ordering_key())
}

/// What is to happen to mutations that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// It is not applied any more, unless it was (rule W6).
    Cancel,
    /// One that is parked or halted is tried at once, with its attempts anew.
    Retry,
    /// The time of one that was put off has come; the log's own word.
    Wake,
}

/// Somebody wants something of a mutation. The record's key is its lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Its namespace.
    pub namespace: String,
    /// Its token.
    pub token: String,
    /// The target.
    pub target: String,
    /// What is wanted.
    pub action: Action,
}

impl AvroSchema for Command {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log.commands-value.avsc");
}

/// What has become of a mutation at a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MutationResult {
    /// Its namespace.
    pub namespace: String,
    /// Its token.
    pub token: String,
    /// The target.
    pub target: String,
    /// Its key.
    pub key: String,
    /// How it has ended.
    pub state: State,
    /// Its number.
    pub number: Option<i64>,
    /// How often the target was asked.
    pub attempts: i32,
    /// The target's word for how it was applied.
    pub how: Option<String>,
    /// Why it was not.
    pub reason: Option<String>,
    /// When that was, in milliseconds since the epoch.
    pub ended: i64,
}

impl AvroSchema for MutationResult {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log.results-value.avsc");
}

impl From<&Entry> for MutationResult {
    fn from(entry: &Entry) -> Self {
        MutationResult {
            namespace: entry.mutation.namespace.clone(),
            token: entry.mutation.token.clone(),
            target: entry.target().to_owned(),
            key: entry.mutation.key.clone(),
            state: entry.state,
            number: entry.number,
            attempts: entry.attempts,
            how: entry.how.clone(),
            reason: entry.reason.clone(),
            ended: entry.since,
        }
    }
}
