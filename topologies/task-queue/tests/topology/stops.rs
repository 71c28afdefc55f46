//! Attempts that are not wanted any more: said while one is with the handlers, and forgotten with the task.

use std::time::Duration;

use task_queue::tasks::{Action, OutcomeKind, Task};

use crate::support::{Queue, task};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_attempt_under_way_is_stopped_when_its_task_is_cancelled_or_expires() {
    let mut queue = Queue::new();
    queue.submit(&task("a"));
    queue.submit(&Task { deadline: Some(queue.now() + 5_000), ..task("b") });
    assert_eq!(queue.ready().len(), 2);
    assert!(queue.stopped().is_empty());
    queue.command("a", "a", Action::Cancel);
    queue.command("a", "a", Action::Cancel);
    assert_eq!(queue.stopped(), [("a".to_owned(), Some(1))]);
    queue.advance(6 * SECOND);
    assert_eq!(queue.stopped(), [("b".to_owned(), Some(1))]);
    queue.advance(SECOND * 60 * 60 * 24);
    let mut forgotten = queue.stopped();
    forgotten.sort();
    assert_eq!(forgotten, [("a".to_owned(), None), ("b".to_owned(), None)], "as long as it is remembered");
}

#[test]
fn what_is_not_with_the_handlers_need_not_be_stopped() {
    let mut queue = Queue::new();
    queue.submit(&Task { not_before: Some(queue.now() + 5_000), ..task("delayed") });
    queue.command("delayed", "delayed", Action::Cancel);
    queue.submit(&task("done"));
    let ready = queue.only();
    queue.say(&ready, OutcomeKind::Done);
    queue.command("done", "done", Action::Cancel);
    queue.submit(&task("failing"));
    let ready = queue.only();
    queue.say(&ready, OutcomeKind::Failed);
    queue.command("failing", "failing", Action::Cancel);
    queue.advance(SECOND * 60 * 60 * 25);
    let stopped = queue.stopped();
    assert!(stopped.iter().all(|(_, attempt)| attempt.is_none()), "{stopped:?}");
}
