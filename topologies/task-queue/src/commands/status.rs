//! `status`: how far a task is, as the instances have it in their stores. Whoever is asked asks the one that has it.

use std::process::ExitCode;

use clap::Args;
use headrace::error::FatalError;
use reqwest::StatusCode;
use serde::Deserialize;

use super::Console;
use super::instances::Instances;
use super::table::fields;
use super::times::shown;
use crate::tasks::{Entry, Priority};

/// See [`Command::Status`](super::Command::Status).
#[derive(Debug, Args)]
pub struct Status {
    /// The task.
    id: String,
    /// An instance to ask; by default where the configuration has one listen.
    #[arg(long, value_name = "URL")]
    at: Option<String>,
    /// Print the instance's answer as it came.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode, FatalError> {
        let told = look_up(console, self.at.as_deref(), &self.id)?.ok_or_else(|| unknown(&self.id))?;
        if self.json {
            println!("{}", told.text.trim_end());
        } else {
            print!("{}", told.shown(console.config.tasks.max_attempts));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What an instance tells of a task.
#[derive(Debug)]
pub(super) struct Told {
    /// The task and how far it is.
    pub(super) entry: Entry,
    /// Who has it.
    instance: String,
    /// The task of the topology that it belongs to.
    part: String,
    /// The same as it came.
    text: String,
}

/// The parts of `/state`'s answer that are looked at.
#[derive(Deserialize)]
struct Found {
    value: Entry,
    instance: String,
    task: String,
}

/// What an instance says instead.
#[derive(Deserialize)]
struct Complaint {
    error: String,
}

/// Asks for a task; none if it is not known.
///
/// # Errors
/// Nobody is there, or can tell at the moment.
pub(super) fn look_up(console: &Console, at: Option<&str>, id: &str) -> Result<Option<Told>, FatalError> {
    let at: Vec<String> = at.map(str::to_owned).into_iter().collect();
    let instances = Instances::new(&console.runtime.http, &at)?;
    let url = &instances.urls[0];
    let asked = console.block_on(instances.get(url, &["state", "tasks", id]));
    let (status, text) = asked.map_err(FatalError::Environment)?;
    understood(status, text).map_err(|reason| match status {
        StatusCode::UNAUTHORIZED => FatalError::Authorisation(format!("{url}: {reason}; set http.state-token-file")),
        _ => FatalError::Environment(format!("{url}: {reason}")),
    })
}

/// What is meant by an answer.
fn understood(status: StatusCode, text: String) -> Result<Option<Told>, String> {
    if status.is_success() {
        let found = serde_json::from_str(&text);
        let Found { value, instance, task } =
            found.map_err(|_| "is no instance of a task queue, or of one with other records".to_owned())?;
        return Ok(Some(Told { entry: value, instance, part: task, text }));
    }
    let said =
        serde_json::from_str::<Complaint>(&text).map_or_else(|_| text.trim().to_owned(), |complaint| complaint.error);
    // A store that is not there is a 404 as well, and has no position.
    let of_key = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|answer| answer.get("token").is_some());
    if status == StatusCode::NOT_FOUND && of_key {
        return Ok(None);
    }
    Err(format!("answered {status}: {said}"))
}

/// Why there may be no such task.
pub(super) fn unknown(id: &str) -> FatalError {
    FatalError::Environment(format!(
        "no task {id} is known: it was not submitted, has not come to the queue yet, or ended longer ago than tasks.remember"
    ))
}

impl Told {
    /// A line for each field that says something. `attempts`: of tasks that don't say.
    fn shown(&self, attempts: i32) -> String {
        let (entry, task) = (&self.entry, &self.entry.task);
        let mut lines = vec![("id", task.id.clone()), ("queue", task.queue.clone())];
        let mut say = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
        say("kind", Some(task.kind.clone()).filter(|kind| !kind.is_empty()));
        say("priority", Some(task.priority.name().to_owned()).filter(|_| task.priority != Priority::Normal));
        say("state", Some(format!("{} since {}", entry.state.name(), shown(entry.since))));
        say("due", entry.due.map(shown));
        say("deadline", task.deadline.map(shown));
        say("attempts", Some(format!("{} of {}", entry.tried(), task.max_attempts.unwrap_or(attempts))));
        say("progress", entry.progress.map(|progress| format!("{:.0} %", progress * 100.0)));
        say("error", entry.error.clone());
        say("result", entry.result.as_deref().map(text));
        say("order key", task.order_key.clone());
        say("unique key", task.unique_key.clone());
        say("trace", task.trace.clone());
        say("instance", Some(format!("{} ({})", self.instance, self.part)));
        fields(lines)
    }
}

/// Bytes for people: text where they are one.
pub(super) fn text(bytes: &[u8]) -> String {
    use base64::Engine as _;
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{State, Task};

    fn answer(result: Option<Vec<u8>>) -> String {
        let task =
            Task { id: "a".to_owned(), queue: "mail".to_owned(), order_key: Some("k".to_owned()), ..Task::default() };
        let entry = Entry {
            task,
            state: State::Done,
            attempt: 3,
            attempts_before: 1,
            due: None,
            place: None,
            since: 86_400_000,
            error: None,
            result,
            progress: None,
            gated: false,
        };
        let part =
            serde_json::json!({ "store": "tasks", "key": "a", "value": entry, "instance": "one", "task": "1_2" });
        part.to_string()
    }

    #[test]
    fn a_task_is_told_field_by_field_and_what_says_nothing_is_left_out() {
        let told = understood(StatusCode::OK, answer(Some(b"sent".to_vec()))).unwrap().unwrap();
        let expected = "\
id         a
queue      mail
state      DONE since 1970-01-02T00:00:00.000Z
attempts   2 of 5
result     sent
order key  k
instance   one (1_2)
";
        assert_eq!(told.shown(5), expected);
        assert_eq!(told.entry.task.lane(), "k");
        assert_eq!(text(&[255, 0]), "base64:/wA=");
    }

    #[test]
    fn a_task_that_is_not_known_is_told_from_an_instance_that_has_none() {
        let absent = r#"{"error":"the key is not there","token":"t","position":{}}"#;
        assert!(understood(StatusCode::NOT_FOUND, absent.to_owned()).unwrap().is_none());
        let other = r#"{"error":"there is no store of this name","stores":[]}"#;
        let refused = |status, text: &str| understood(status, text.to_owned()).unwrap_err();
        assert!(refused(StatusCode::NOT_FOUND, other).contains("no store of this name"));
        assert!(refused(StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"moving"}"#).ends_with("moving"));
        assert!(refused(StatusCode::OK, "<html>").contains("no instance of a task queue"));
    }
}
