//! What holds for all tasks: what one may look like, how often it may be begun, and what lies between two attempts.

use std::collections::BTreeSet;

use headrace::error::{RecordError, Stage};
use headrace::record::Timestamp;

use crate::config::Config;
use crate::tasks::Task;

/// The longest id or key, in bytes: they are keys of stores and records.
const LONGEST_NAME: usize = 512;

/// The rules, in milliseconds.
#[derive(Debug, Clone)]
pub struct Rules {
    max_attempts: i32,
    backoff: i64,
    longest_backoff: i64,
    longest_delay: i64,
    queues: BTreeSet<String>,
    /// Queues that have limits.
    pub limited: BTreeSet<String>,
    /// How long an ended task is remembered.
    pub remember: i64,
}

impl Rules {
    /// From the configuration.
    pub fn new(config: &Config) -> Self {
        let tasks = &config.tasks;
        let millis = |span: headrace::config::Span| i64::try_from(span.millis()).unwrap_or(i64::MAX);
        let limited = config.queues().into_iter().filter(|(_, queue)| queue.limits().is_limited());
        Rules {
            max_attempts: tasks.max_attempts.max(1),
            backoff: millis(tasks.backoff),
            longest_backoff: millis(tasks.longest_backoff),
            longest_delay: millis(tasks.longest_delay),
            queues: config.queues().into_keys().collect(),
            limited: limited.map(|(name, _)| name).collect(),
            remember: millis(tasks.remember),
        }
    }

    /// Whether this can be a task.
    ///
    /// # Errors
    /// What is wrong with it, and the way out.
    pub fn check(&self, task: &Task, now: Timestamp) -> Result<(), RecordError> {
        let refuse = |class, reason: String| Err(RecordError::new(Stage::Process, class, reason));
        if task.id.is_empty() {
            return refuse("no-id", "the task has no id; give each task one of its own".to_owned());
        }
        let names =
            [("id", Some(&task.id)), ("order_key", task.order_key.as_ref()), ("unique_key", task.unique_key.as_ref())];
        for (field, name) in names {
            match name.map_or(1, String::len) {
                0 => return refuse("empty-key", format!("{field} is empty; leave it null")),
                length if length > LONGEST_NAME => {
                    return refuse("long-key", format!("{field} has {length} bytes, {LONGEST_NAME} are allowed"));
                }
                _ => {}
            }
        }
        self.check_queue(task)?;
        if task.max_attempts.is_some_and(|attempts| attempts < 1) {
            return refuse("no-attempts", "max_attempts is below 1; leave it null for the queue's".to_owned());
        }
        let delay = task.not_before.unwrap_or(now.0).saturating_sub(now.0);
        if delay > self.longest_delay {
            let limit = self.longest_delay;
            return refuse("long-delay", format!("not_before is {delay} ms away, tasks.longest-delay is {limit} ms"));
        }
        Ok(())
    }

    /// Whether the task's queue is there.
    ///
    /// # Errors
    /// It is not; those that are are named.
    pub fn check_queue(&self, task: &Task) -> Result<(), RecordError> {
        if self.queues.contains(&task.queue) {
            return Ok(());
        }
        let known = self.queues.iter().cloned().collect::<Vec<_>>().join(", ");
        let reason = format!("the task's queue is none of queues.*, which has {known}");
        Err(RecordError::new(Stage::Process, "unknown-queue", reason))
    }

    /// How often a task may be begun.
    pub fn attempts(&self, task: &Task) -> i32 {
        task.max_attempts.unwrap_or(self.max_attempts)
    }

    /// Milliseconds until the attempt after this one. The part that is left to chance is drawn from the id, so that a record
    /// that is processed once more has the same effects.
    pub fn backoff(&self, id: &str, attempt: i32) -> i64 {
        let doublings = u32::try_from(attempt - 1).unwrap_or(0).min(62);
        let whole = self.backoff.saturating_mul(1_i64 << doublings).min(self.longest_backoff);
        // Between a half and the whole: tasks that failed together come again apart.
        let half = u64::try_from(whole / 2).unwrap_or(0);
        whole - i64::try_from(hash(id, attempt) % (half + 1)).unwrap_or(0)
    }
}

/// FNV-1a with a last mix: the same on each machine.
fn hash(id: &str, attempt: i32) -> u64 {
    let bytes = id.bytes().chain(attempt.to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let queues = BTreeSet::from(["q".to_owned()]);
        Rules {
            max_attempts: 5,
            backoff: 1_000,
            longest_backoff: 60_000,
            longest_delay: 1_000_000,
            queues,
            limited: BTreeSet::new(),
            remember: 1,
        }
    }

    fn task(id: &str) -> Task {
        Task { id: id.to_owned(), queue: "q".to_owned(), ..Task::default() }
    }

    #[test]
    fn back_offs_double_up_to_the_longest_and_scatter_over_the_upper_half() {
        let rules = rules();
        for (attempt, whole) in [(1, 1_000), (2, 2_000), (6, 32_000), (7, 60_000), (1_000, 60_000)] {
            let drawn: Vec<i64> = (0..1_000).map(|id| rules.backoff(&id.to_string(), attempt)).collect();
            assert!(drawn.iter().all(|drawn| (whole / 2..=whole).contains(drawn)), "{attempt}");
            let mean = drawn.iter().sum::<i64>() / 1_000;
            assert!((mean - whole * 3 / 4).abs() < whole / 40, "{attempt}: {mean}");
            assert_eq!(rules.backoff("7", attempt), drawn[7], "the same each time");
        }
    }

    #[test]
    fn what_can_be_no_task_is_refused_with_the_way_out() {
        let (rules, now) = (rules(), Timestamp(1_000));
        assert!(rules.check(&task("a"), now).is_ok());
        let refused = |task: Task| rules.check(&task, now).unwrap_err().class;
        assert_eq!(refused(task("")), "no-id");
        assert_eq!(refused(task(&"x".repeat(513))), "long-key");
        assert_eq!(refused(Task { order_key: Some(String::new()), ..task("a") }), "empty-key");
        assert_eq!(refused(Task { unique_key: Some("x".repeat(513)), ..task("a") }), "long-key");
        assert_eq!(refused(Task { queue: "r".to_owned(), ..task("a") }), "unknown-queue");
        assert_eq!(refused(Task { max_attempts: Some(0), ..task("a") }), "no-attempts");
        assert_eq!(refused(Task { not_before: Some(2_000_000), ..task("a") }), "long-delay");
        assert!(rules.check(&Task { not_before: Some(i64::MIN), ..task("a") }, now).is_ok(), "long ago is now");
    }
}
