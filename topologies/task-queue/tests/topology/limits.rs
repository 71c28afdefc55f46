//! Queues with limits: what is handed out when, and whose turn it is.

use std::time::Duration;

use task_queue::tasks::{Action, OutcomeKind, Priority, ReadyTask, State, Task};

use crate::support::{Queue, task};

const TICK: Duration = Duration::from_millis(10);

fn ids(ready: &[ReadyTask]) -> Vec<&str> {
    ready.iter().map(|ready| ready.task.id.as_str()).collect()
}

#[test]
fn no_more_run_than_may_and_each_end_of_an_attempt_makes_room_for_one() {
    let mut queue = Queue::with(&["queues.default.running=2"]);
    for id in ["a", "b", "c", "d", "e", "f"] {
        assert!(queue.submit(&task(id)));
    }
    let first = queue.ready();
    assert_eq!(ids(&first), ["a", "b"]);
    queue.advance(TICK);
    assert!(queue.ready().is_empty());
    queue.say(&first[0], OutcomeKind::Done);
    queue.say(&first[0], OutcomeKind::Done);
    let third = queue.only();
    assert_eq!(third.task.id, "c", "one place was left once");
    queue.command("d", "d", Action::Cancel);
    assert!(queue.ready().is_empty(), "it had no place");
    queue.command("b", "b", Action::Cancel);
    assert_eq!(
        ids(&queue.ready()),
        ["e"],
        "the place of one that was cancelled is free, and who was cancelled before has none"
    );
    queue.say(&first[1], OutcomeKind::Done);
    assert!(queue.ready().is_empty(), "it has left its place before");
    queue.say(&third, OutcomeKind::Failed);
    assert_eq!(ids(&queue.ready()), ["f"], "who waits for another attempt takes no place");
    queue.advance(Duration::from_secs(2));
    assert!(queue.ready().is_empty(), "and comes last when its time has come");
    let ended = queue.ended();
    assert_eq!(ended.iter().filter(|result| result.state == State::Cancelled).count(), 2);
}

#[test]
fn a_rate_holds_for_all_that_begin_also_again() {
    let mut queue = Queue::with(&["queues.default.rate=10/s"]);
    queue.advance(Duration::from_secs(1_000));
    for number in 0..40 {
        queue.submit(&Task { max_attempts: Some(100), ..task(&format!("{number}")) });
    }
    let (mut begun, mut by_second) = (queue.ready(), Vec::new());
    for _ in 0..5 {
        let before = begun.len();
        for _ in 0..100 {
            queue.advance(TICK);
            let ready = queue.ready();
            ready.iter().for_each(|ready| queue.say(ready, OutcomeKind::Failed));
            begun.extend(ready);
        }
        by_second.push(begun.len() - before);
    }
    assert!(by_second.iter().all(|begun| (9..=11).contains(begun)), "{by_second:?}");
}

/// Sixteen, four and one of 21, however many of the others there are.
#[test]
fn priorities_have_turns_by_their_weights_at_the_gate_and_none_is_starved() {
    let mut queue = Queue::with(&["queues.default.running=1"]);
    for number in 0..42 {
        for priority in Priority::ALL {
            queue.submit(&Task { priority, ..task(&format!("{} {number}", priority.name())) });
        }
    }
    let mut turns = Vec::new();
    for _ in 0..42 {
        let ready = queue.only();
        queue.say(&ready, OutcomeKind::Done);
        turns.push(ready.task);
    }
    let of = |priority| turns.iter().filter(|task| task.priority == priority).collect::<Vec<_>>();
    let counts = Priority::ALL.map(|priority| of(priority).len());
    // The first one was alone when it came.
    assert!((31..=33).contains(&counts[0]) && counts[1] == 8 && (1..=2).contains(&counts[2]), "{counts:?}");
    for priority in Priority::ALL {
        let numbers: Vec<usize> =
            of(priority).iter().map(|task| task.id.split(' ').nth(1).unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "of one priority in the order of submission: {numbers:?}");
    }
}

#[test]
fn nothing_is_handed_out_while_a_queue_is_paused() {
    let mut queue = Queue::with(&["queues.default.running=10"]);
    queue.pause(true);
    queue.submit(&task("a"));
    queue.advance(TICK);
    assert!(queue.ready().is_empty());
    queue.pause(false);
    queue.advance(TICK);
    assert_eq!(queue.only().task.id, "a");
}

#[test]
fn an_order_key_and_a_limit_hold_together() {
    let mut queue = Queue::with(&["queues.default.running=3"]);
    for number in 0..6 {
        queue.submit(&Task { order_key: Some(format!("{}", number % 2)), ..task(&format!("{number}")) });
    }
    let ready = queue.ready();
    assert_eq!(ids(&ready), ["0", "1"], "each key has one that runs, though three may");
    queue.say(&ready[1], OutcomeKind::Done);
    assert_eq!(ids(&queue.ready()), ["3"]);
}

/// Else its place would be taken for ever once the limit is back.
#[test]
fn an_attempt_that_went_by_the_gate_leaves_it_whatever_the_limits_are_by_then() {
    let limited = ["queues.default.running=2"];
    let mut queue = Queue::with(&limited);
    for id in ["a", "b", "c", "d", "e"] {
        queue.submit(&task(id));
    }
    let first = queue.ready();
    assert_eq!(ids(&first), ["a", "b"]);
    // Paused, so that who waits is not let go meanwhile.
    queue.pause(true);
    queue.restart(&[]);
    first.iter().for_each(|ready| queue.say(ready, OutcomeKind::Done));
    queue.command("c", "c", Action::Cancel);
    queue.restart(&limited);
    queue.pause(false);
    queue.advance(TICK);
    assert_eq!(ids(&queue.ready()), ["d", "e"], "both places are free, and who was cancelled waits no more");
}

#[test]
fn who_waits_at_a_limit_goes_on_when_it_is_taken_away() {
    let mut queue = Queue::with(&["queues.default.rate=1/h"]);
    for id in ["a", "b", "c"] {
        queue.submit(&task(id));
    }
    assert_eq!(queue.only().task.id, "a");
    queue.restart(&[]);
    queue.advance(TICK);
    assert_eq!(ids(&queue.ready()), ["b", "c"]);
    queue.submit(&task("d"));
    assert_eq!(queue.only().task.id, "d", "at once");
}
