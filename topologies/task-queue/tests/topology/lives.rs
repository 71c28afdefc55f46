//! The life of one task, or of a few that know of each other.

use std::time::Duration;

use task_queue::tasks::{Action, OutcomeKind, Priority, State, Task};

use crate::support::{Queue, task};

const SECOND: Duration = Duration::from_secs(1);

fn states(queue: &mut Queue) -> Vec<(String, State)> {
    queue.ended().into_iter().map(|result| (result.id, result.state)).collect()
}

fn end(id: &str, state: State) -> (String, State) {
    (id.to_owned(), state)
}

#[test]
fn a_task_is_handed_out_once_and_ends_once() {
    let mut queue = Queue::new();
    assert!(queue.submit(&task("a")));
    let ready = queue.only();
    assert_eq!((ready.attempt, ready.lane.as_str(), &ready.task), (1, "a", &task("a")));
    assert!(queue.submit(&task("a")), "again");
    assert!(queue.ready().is_empty());
    queue.say(&ready, OutcomeKind::Done);
    queue.say(&ready, OutcomeKind::Done);
    queue.say(&ready, OutcomeKind::Failed);
    let ended = queue.ended();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!((ended[0].state, ended[0].attempts, ended[0].result.as_deref()), (State::Done, 1, Some(&b"done"[..])));
    let counted = ["submitted", "repeated", "ready", "done", "failed"].map(|event| queue.counted(event));
    assert_eq!(counted, [1, 1, 1, 1, 0], "as metrics tell it");
    queue.submit(&task("a"));
    queue.advance(SECOND);
    assert!(queue.ready().is_empty(), "it is remembered");
    queue.advance(SECOND * 60 * 60 * 24);
    queue.submit(&task("a"));
    assert_eq!(queue.only().attempt, 1, "until it is forgotten");
}

#[test]
fn a_failed_attempt_is_followed_by_another_after_its_back_off_and_the_last_one_by_the_end() {
    let mut queue = Queue::new();
    queue.submit(&Task { max_attempts: Some(3), ..task("a") });
    for (attempt, longest) in [(1, SECOND), (2, SECOND * 2)] {
        let ready = queue.only();
        assert_eq!(ready.attempt, attempt);
        queue.say(&ready, OutcomeKind::Failed);
        queue.say(&ready, OutcomeKind::Failed);
        queue.advance(longest / 2 - Duration::from_millis(1));
        assert!(queue.ready().is_empty(), "it waits for half of its back-off at least");
        queue.advance(longest / 2 + Duration::from_millis(20));
    }
    let last = queue.only();
    queue.say(&last, OutcomeKind::Failed);
    let ended = queue.ended();
    assert_eq!((ended.len(), ended[0].state, ended[0].attempts), (1, State::Failed, 3));
    assert_eq!(ended[0].error.as_deref(), Some("as it was told"));
    assert_eq!(["ready", "retried", "delayed", "failed"].map(|event| queue.counted(event)), [3, 2, 2, 1]);
}

#[test]
fn what_a_handler_refuses_has_no_other_attempt() {
    let mut queue = Queue::new();
    queue.submit(&task("a"));
    let ready = queue.only();
    queue.say(&ready, OutcomeKind::Refused);
    assert_eq!(states(&mut queue), [end("a", State::Failed)]);
    queue.command("a", "a", Action::Retry);
    let again = queue.only();
    assert_eq!((again.attempt, &again.task.payload[..]), (2, &b"{}"[..]), "somebody wants it all the same");
    queue.say(&ready, OutcomeKind::Done);
    assert!(queue.ended().is_empty(), "a word of before");
    queue.say(&again, OutcomeKind::Done);
    assert_eq!(states(&mut queue), [end("a", State::Done)]);
    queue.command("a", "a", Action::Retry);
    assert!(queue.ready().is_empty(), "what is done is done");
}

#[test]
fn the_outcome_of_an_attempt_that_is_not_under_way_is_void() {
    let mut queue = Queue::new();
    queue.submit(&task("a"));
    let first = queue.only();
    queue.say(&first, OutcomeKind::Failed);
    queue.say(&first, OutcomeKind::Done);
    assert!(queue.ended().is_empty(), "it failed before, and waits");
    queue.advance(SECOND * 2);
    let second = queue.only();
    queue.say(&first, OutcomeKind::Done);
    assert!(queue.ended().is_empty(), "a handler that had lost it");
    queue.say(&second, OutcomeKind::Progress);
    queue.say(&second, OutcomeKind::Done);
    assert_eq!(states(&mut queue), [end("a", State::Done)]);
}

#[test]
fn it_begins_when_its_time_has_come_and_not_after_its_deadline() {
    let mut queue = Queue::new();
    queue.advance(SECOND * 1_000);
    let now = queue.now();
    queue.submit(&Task { not_before: Some(now + 5_000), ..task("later") });
    queue.submit(&Task { not_before: Some(now - 5_000), ..task("long since") });
    queue.submit(&Task { deadline: Some(now), ..task("too late") });
    queue.submit(&Task { not_before: Some(now + 5_000), deadline: Some(now + 4_000), ..task("never") });
    queue.submit(&Task { deadline: Some(now + 4_000), ..task("slow") });
    let begun = queue.ready();
    assert_eq!(begun.iter().map(|ready| &*ready.task.id).collect::<Vec<_>>(), ["long since", "slow"]);
    assert_eq!(states(&mut queue), [end("too late", State::Expired)]);
    queue.advance(SECOND * 4);
    let mut expired = states(&mut queue);
    expired.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(expired, [end("never", State::Expired), end("slow", State::Expired)]);
    queue.say(&begun[1], OutcomeKind::Done);
    assert!(queue.ended().is_empty(), "its result does not count any more");
    queue.advance(SECOND);
    assert_eq!(queue.only().task.id, "later");
}

#[test]
fn what_is_cancelled_ends_at_once_and_its_attempt_does_not_count() {
    let mut queue = Queue::new();
    queue.submit(&Task { not_before: Some(1_000), ..task("delayed") });
    queue.submit(&task("running"));
    let running = queue.only();
    for id in ["delayed", "running", "unknown"] {
        queue.command(id, id, Action::Cancel);
        queue.command(id, id, Action::Cancel);
    }
    assert_eq!(states(&mut queue), [end("delayed", State::Cancelled), end("running", State::Cancelled)]);
    queue.say(&running, OutcomeKind::Done);
    queue.advance(SECOND * 2);
    assert!(queue.ready().is_empty() && queue.ended().is_empty());
}

#[test]
fn of_a_unique_key_one_is_done_until_it_is_forgotten() {
    let mut queue = Queue::new();
    let unique = |id: &str| Task { unique_key: Some("invoice 7".to_owned()), ..task(id) };
    queue.submit(&unique("a"));
    let first = queue.only();
    queue.submit(&unique("b"));
    let ended = queue.ended();
    assert_eq!((ended.len(), &*ended[0].id, ended[0].state), (1, "b", State::Duplicate));
    assert_eq!(ended[0].duplicate_of.as_deref(), Some("a"));
    queue.submit(&unique("b"));
    assert!(queue.ended().is_empty(), "one result for each");
    queue.say(&first, OutcomeKind::Done);
    queue.submit(&unique("c"));
    assert_eq!(states(&mut queue), [end("a", State::Done), end("c", State::Duplicate)]);
    queue.advance(SECOND * 60 * 60 * 24);
    queue.submit(&unique("d"));
    assert_eq!(queue.only().task.id, "d");
}

#[test]
fn tasks_of_one_order_key_are_done_one_after_the_other_whatever_becomes_of_each() {
    let mut queue = Queue::new();
    let ordered = |id: &str| Task { order_key: Some("customer 7".to_owned()), ..task(id) };
    for id in ["a", "b", "c", "d", "e"] {
        queue.submit(&ordered(id));
    }
    queue.submit(&task("other"));
    let begun = queue.ready();
    assert_eq!(begun.iter().map(|ready| &*ready.task.id).collect::<Vec<_>>(), ["a", "other"]);
    assert_eq!(begun[0].lane, "customer 7");
    queue.say(&begun[0], OutcomeKind::Failed);
    assert!(queue.ready().is_empty(), "it keeps its place while it waits for another attempt");
    queue.advance(SECOND * 2);
    let again = queue.only();
    assert_eq!(again.task.id, "a");
    queue.command("customer 7", "b", Action::Cancel);
    queue.say(&again, OutcomeKind::Done);
    let third = queue.only();
    assert_eq!(third.task.id, "c", "b was cancelled while it waited");
    queue.say(&third, OutcomeKind::Refused);
    let fourth = queue.only();
    queue.command("customer 7", "d", Action::Cancel);
    assert_eq!((fourth.task.id.as_str(), queue.only().task.id.as_str()), ("d", "e"));
    let ended: Vec<String> = queue.ended().into_iter().map(|result| result.id).collect();
    assert_eq!(ended, ["b", "a", "c", "d"]);
}

#[test]
fn each_priority_has_a_topic_of_its_own() {
    let mut queue = Queue::new();
    for (id, priority) in [("c", Priority::Low), ("b", Priority::Normal), ("a", Priority::High)] {
        queue.submit(&Task { priority, ..task(id) });
    }
    let begun: Vec<String> = queue.ready().into_iter().map(|ready| ready.task.id).collect();
    assert_eq!(begun, ["a", "b", "c"]);
}

#[test]
fn what_can_be_no_task_is_a_dead_letter() {
    let mut queue = Queue::new();
    assert!(!queue.submit(&task("")));
    assert!(!queue.submit(&Task { max_attempts: Some(0), ..task("a") }));
    assert!(queue.submit(&task("a")), "nothing is left of the one before");
    assert_eq!(queue.only().task.id, "a");
}
