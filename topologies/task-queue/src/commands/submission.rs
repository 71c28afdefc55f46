//! What is typed of a task, and the tasks that are made of it.

use clap::{Args, ValueEnum};
use headrace::config::Span;
use headrace::error::FatalError;
use headrace::record::Timestamp;

use super::times::{Moment, time};
use crate::rules::Rules;
use crate::tasks::{self, Task};

/// Everything of a task but its payload.
#[derive(Debug, Args)]
pub(super) struct Fields {
    /// The queue; one of queues.*
    #[arg(long)]
    pub(super) queue: String,
    /// What is to be done; the handler chooses by it.
    #[arg(long, default_value = "")]
    kind: String,
    /// The task's identity; one is made up if there is none. Submitted again it is the same task, and nothing happens.
    #[arg(long, conflicts_with = "lines")]
    pub(super) id: Option<String>,
    /// Which tasks of a queue come first.
    #[arg(long, value_enum, default_value_t = Priority::Normal)]
    priority: Priority,
    /// Begin it so long from now or later, such as 5m.
    #[arg(long = "in", value_name = "DURATION", conflicts_with = "at")]
    after: Option<Span>,
    /// Begin it at this time or later, in UTC, such as 2026-12-01T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<i64>,
    /// Don't begin it from this time on: a time in UTC, or so long from now.
    #[arg(long, value_name = "TIME|DURATION")]
    deadline: Option<Moment>,
    /// Tasks of one order key are done one after the other.
    #[arg(long)]
    order_key: Option<String>,
    /// While a task of this key is not done, and for a while after, another one is DUPLICATE.
    #[arg(long)]
    unique_key: Option<String>,
    /// How often it may be begun; tasks.max-attempts by default.
    #[arg(long)]
    max_attempts: Option<i32>,
    /// A W3C traceparent, handed to the handler.
    #[arg(long)]
    trace: Option<String>,
}

/// The same as in records, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Priority {
    High,
    Normal,
    Low,
}

impl From<Priority> for tasks::Priority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => tasks::Priority::High,
            Priority::Normal => tasks::Priority::Normal,
            Priority::Low => tasks::Priority::Low,
        }
    }
}

impl Fields {
    /// A task without a payload, which the queue will take. Its id is made up if none was typed.
    ///
    /// # Errors
    /// It would be a dead letter; in the queue's words.
    pub(super) fn task(&self, rules: &Rules, now: i64) -> Result<Task, FatalError> {
        let after = self.after.map(|span| Moment::In(span).millis(now));
        let task = Task {
            id: self.id.clone().unwrap_or_else(|| made_up(now)),
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            payload: Vec::new(),
            priority: self.priority.into(),
            not_before: after.or(self.at),
            deadline: self.deadline.map(|deadline| deadline.millis(now)),
            order_key: self.order_key.clone(),
            unique_key: self.unique_key.clone(),
            max_attempts: self.max_attempts,
            trace: self.trace.clone(),
        };
        rules.check(&task, Timestamp(now)).map_err(|error| FatalError::Config(error.reason))?;
        Ok(task)
    }
}

/// An id of the form of a UUID of version 7 (RFC 9562): the time, then chance, so that ids sort by the time of their making.
pub(super) fn made_up(now: i64) -> String {
    let (time, chance) = (now.max(0) & 0xffff_ffff_ffff, fastrand::u128(..));
    let (first, second) = ((chance >> 64) & 0xfff, chance & 0x3fff);
    let last = (chance >> 14) & 0xffff_ffff_ffff;
    format!("{:08x}-{:04x}-7{first:03x}-{:04x}-{last:012x}", time >> 16, time & 0xffff, 0x8000 | second)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::Parser;
    use headrace::config::{Layers, Loaded};

    use super::*;
    use crate::config::Config;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        fields: Fields,
        #[arg(long)]
        lines: bool,
    }

    fn task(arguments: &[&str]) -> Result<Task, String> {
        let Loaded { topology: config, .. } = Layers::new(crate::DEFAULTS).load::<Config>().unwrap();
        let typed = Typed::try_parse_from([&["enqueue"], arguments].concat()).map_err(|error| error.to_string())?;
        typed.fields.task(&Rules::new(&config), 1_000).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_typed_is_in_the_task() {
        let typed = [
            "--queue=default",
            "--kind=welcome",
            "--id=a",
            "--priority=high",
            "--in=5m",
            "--deadline=1970-01-02T00:00:00Z",
            "--order-key=k",
            "--unique-key=u",
            "--max-attempts=2",
            "--trace=t",
        ];
        let some = |text: &str| Some(text.to_owned());
        let expected = Task {
            id: "a".to_owned(),
            queue: "default".to_owned(),
            kind: "welcome".to_owned(),
            payload: Vec::new(),
            priority: tasks::Priority::High,
            not_before: Some(301_000),
            deadline: Some(86_400_000),
            order_key: some("k"),
            unique_key: some("u"),
            max_attempts: Some(2),
            trace: some("t"),
        };
        assert_eq!(task(&typed), Ok(expected));
        let at = task(&["--queue=default", "--at=1970-01-02T00:00:00Z", "--deadline=1m"]).unwrap();
        assert_eq!((at.not_before, at.deadline, at.kind.as_str()), (Some(86_400_000), Some(61_000), ""));
    }

    #[test]
    fn what_the_queue_would_set_aside_is_refused_in_its_words() {
        let refused = |arguments: &[&str]| task(arguments).unwrap_err();
        assert_eq!(refused(&["--queue=mail"]), "the task's queue is none of queues.*, which has default");
        assert!(refused(&["--queue=default", "--id="]).starts_with("the task has no id"));
        assert!(refused(&["--queue=default", "--order-key="]).starts_with("order_key is empty"));
        assert!(refused(&["--queue=default", "--max-attempts=0"]).starts_with("max_attempts is below 1"));
        assert!(refused(&["--queue=default", "--in=1000d"]).contains("tasks.longest-delay"));
        for wrong in [
            &["--queue=default", "--in=5"][..],
            &["--queue=default", "--in=5m", "--at=1970-01-02T00:00:00Z"],
            &["--queue=default", "--lines", "--id=a"],
            &["--queue=default", "--priority=urgent"],
            &["--queue=default", "--deadline=soon"],
            &["--kind=welcome"],
        ] {
            assert!(refused(wrong).contains("error: "), "{wrong:?}");
        }
    }

    #[test]
    fn ids_that_are_made_up_differ_and_sort_by_time() {
        let ids: BTreeSet<String> = (0..10_000).map(|_| made_up(1_790_000_000_000)).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(
            ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'7' && b"89ab".contains(&id.as_bytes()[19]))
        );
        assert!(ids.last() < Some(&made_up(1_790_000_000_001)));
    }
}
