//! Much that may begin at the same time: it is handed out in portions, between which the tasks of other queues have their turn.

use std::time::Duration;

use task_queue::tasks::Task;

use crate::support::{Queue, task};

const TICK: Duration = Duration::from_millis(10);
const MANY: usize = 1_000;
/// No more than so many in one go.
const PORTION: usize = 100;

/// What comes at this tick and at those after it: portions, all tasks, in their order.
fn comes_in_portions(queue: &mut Queue) {
    let mut begun = Vec::new();
    while begun.len() < MANY {
        queue.advance(TICK);
        let portion = queue.ready();
        assert!((1..=PORTION).contains(&portion.len()), "{} in one go, after {}", portion.len(), begun.len());
        begun.extend(portion.into_iter().map(|ready| ready.task.id));
    }
    assert!(begun.is_sorted() && begun.len() == MANY, "{begun:?}");
}

fn id(number: usize) -> String {
    format!("{number:04}")
}

#[test]
fn what_is_due_at_once_leaves_room_for_others() {
    let mut queue = Queue::new();
    let due = Some(queue.now() + 5_000);
    for number in 0..MANY {
        queue.submit(&Task { not_before: due, ..task(&id(number)) });
    }
    assert!(queue.ready().is_empty());
    queue.advance(Duration::from_secs(5) - TICK);
    comes_in_portions(&mut queue);
}

#[test]
fn what_a_gate_lets_go_at_once_leaves_room_for_others() {
    let mut queue = Queue::with(&["queues.default.running=5000"]);
    queue.pause(true);
    for number in 0..MANY {
        queue.submit(&task(&id(number)));
    }
    assert!(queue.ready().is_empty());
    queue.pause(false);
    comes_in_portions(&mut queue);
}
