//! Waiting for the ends of tasks: the results' topic is read from where it ended before the tasks were submitted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use headrace::cli::Values;
use headrace::error::FatalError;
use headrace::kafka::{Followed, FollowedRecord, TopicFollower};

use super::Console;
use super::status::text;
use crate::tasks::{State, TaskResult};

/// Somebody who waits.
pub(super) struct Wait<'a> {
    console: &'a Console,
    topic: &'a str,
    follower: TopicFollower,
    values: Values<TaskResult>,
    /// For each of the waits.
    span: Duration,
}

impl<'a> Wait<'a> {
    /// Takes the end of the topic; what comes behind it is not missed.
    pub(super) fn begin(console: &'a Console, span: Duration) -> Result<Self, FatalError> {
        let topic = console.config.topics.results.as_str();
        console.partitions(topic)?;
        let follower = console.follower(topic)?;
        let bounds = follower.all_bounds().map_err(|error| console.failed(topic, &error))?;
        let ends: Vec<_> = bounds.into_iter().map(|(at, bounds)| (at, bounds.end)).collect();
        follower.read(&ends).map_err(|error| console.failed(topic, &error))?;
        Ok(Wait { console, topic, follower, values: console.values(topic)?.read(), span })
    }

    /// Prints the result of each of these tasks as it comes; whether all are done.
    ///
    /// # Errors
    /// Some have none in time, or the cluster refuses.
    pub(super) fn print(&self, mut waiting: BTreeSet<String>) -> Result<bool, FatalError> {
        let (deadline, mut all_done, mut away) = (Instant::now() + self.span, true, None);
        while !waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.late(&waiting, away));
            }
            match self.follower.poll(left) {
                // Results are keyed by the id.
                Followed::Record(FollowedRecord { key: Some(key), value, .. })
                    if std::str::from_utf8(&key).is_ok_and(|id| waiting.contains(id)) =>
                {
                    let result = self.console.block_on(self.values.decode(value.as_deref()))?;
                    println!("{}", shown(&result));
                    all_done &= result.state == State::Done;
                    waiting.remove(&result.id);
                }
                Followed::Away(reason) => away = Some(reason),
                Followed::Failed(reason) => {
                    return Err(FatalError::Environment(format!("topic {}: {reason}", self.topic)));
                }
                Followed::Record(_) | Followed::End(_) | Followed::Idle => {}
            }
        }
        Ok(all_done)
    }

    fn late(&self, waiting: &BTreeSet<String>, away: Option<String>) -> FatalError {
        let (first, others) = (waiting.first().map_or("", |id| id), waiting.len().saturating_sub(1));
        let others = if others == 0 { String::new() } else { format!(" and {others} others") };
        let away = away.map_or_else(String::new, |reason| format!(" ({reason})"));
        let way_out = format!("it goes on; ask for it with: {} status {first}", self.console.name);
        FatalError::Environment(format!("no result of {first}{others} within {:?}{away}; {way_out}", self.span))
    }
}

/// A result on a line: id, state, and what there is to say of it.
fn shown(result: &TaskResult) -> String {
    let tried = match result.attempts {
        1 => "after 1 attempt".to_owned(),
        attempts => format!("after {attempts} attempts"),
    };
    let said = match (&result.result, &result.error, &result.duplicate_of) {
        (_, _, Some(other)) => format!(": of {other}"),
        (Some(result), _, _) if !result.is_empty() => format!(": {}", text(result)),
        (_, Some(error), _) => format!(": {error}"),
        _ => String::new(),
    };
    format!("{} {} {tried}{said}", result.id, result.state.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(state: State, attempts: i32) -> TaskResult {
        TaskResult {
            id: "a".to_owned(),
            queue: "q".to_owned(),
            state,
            result: None,
            error: None,
            attempts,
            ended: 0,
            duplicate_of: None,
            trace: None,
        }
    }

    #[test]
    fn a_result_is_a_line_with_what_its_handler_said() {
        let done = TaskResult { result: Some(b"sent".to_vec()), ..result(State::Done, 1) };
        assert_eq!(shown(&done), "a DONE after 1 attempt: sent");
        assert_eq!(shown(&TaskResult { result: Some(vec![]), ..done }), "a DONE after 1 attempt");
        let failed = TaskResult { error: Some("answered 503".to_owned()), ..result(State::Failed, 5) };
        assert_eq!(shown(&failed), "a FAILED after 5 attempts: answered 503");
        let twice = TaskResult { duplicate_of: Some("b".to_owned()), ..result(State::Duplicate, 0) };
        assert_eq!(shown(&twice), "a DUPLICATE after 0 attempts: of b");
    }
}
