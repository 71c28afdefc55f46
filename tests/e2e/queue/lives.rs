//! Tasks of every fate, and what their submitter is told.

use task_queue::tasks::{Action, State, Task};

use super::handlers::Call;
use super::support::{Queue, now, task};
use crate::support::eventually;

#[test]
fn tasks_of_every_fate_end_once_and_as_their_handlers_say() {
    let queue = Queue::new("task-lives");
    let mut app = queue.app("one");
    app.run();
    let unique = |id: &str| Task { unique_key: Some("invoice".to_owned()), ..task(id, "sleep 500") };
    let tasks = [
        task("plain", ""),
        task("twice", "fail twice"),
        Task { max_attempts: Some(2), ..task("never", "fail") },
        task("refused", "refuse"),
        Task { deadline: Some(now() - 1), ..task("too late", "") },
        unique("first"),
        unique("second"),
        Task { not_before: Some(now() + 3_600_000), ..task("cancelled", "") },
    ];
    for _ in 0..2 {
        // In one partition, so that the first one is the first.
        tasks.iter().for_each(|task| queue.submit(std::slice::from_ref(task)));
    }
    eventually("the store to know it", || {
        let (status, body) = app.get("/state/tasks/cancelled")?;
        if status == 200 && body.contains("DELAYED") { Ok(()) } else { Err(format!("{status}: {body}")) }
    });
    queue.command("cancelled", "cancelled", Action::Cancel);
    let results = queue.wait_results(tasks.len());
    let mut ends: Vec<(&str, State, i32)> = Vec::new();
    for (id, results) in &results {
        assert_eq!(results.len(), 1, "{id}: {results:?}");
        ends.push((id, results[0].state, results[0].attempts));
    }
    assert_eq!(
        ends,
        [
            ("cancelled", State::Cancelled, 0),
            ("first", State::Done, 1),
            ("never", State::Failed, 2),
            ("plain", State::Done, 1),
            ("refused", State::Failed, 1),
            ("second", State::Duplicate, 0),
            ("too late", State::Expired, 0),
            ("twice", State::Done, 3),
        ]
    );
    let result = |id: &str| &results[id][0];
    assert_eq!(result("plain").result.as_deref(), Some(&b"done plain"[..]));
    assert_eq!(result("second").duplicate_of.as_deref(), Some("first"));
    assert_eq!(result("never").error.as_deref(), Some("answered 503 Service Unavailable: not now"));
    assert_eq!(result("refused").error.as_deref(), Some("answered 422 Unprocessable Entity: never"));
    let begun = queue.handlers.begun();
    assert_eq!(begun.get("cancelled").or(begun.get("second")).or(begun.get("too late")), None);
    let (status, body) = app.get("/state/tasks/plain").unwrap();
    assert!(status == 200 && body.contains("DONE"), "{body}");
    assert!(app.terminate().success());
}

#[test]
fn of_one_order_key_one_runs_at_a_time_in_the_order_of_submission_and_others_beside_it() {
    let queue = Queue::new("task-order");
    let mut app = queue.app("one");
    app.run();
    let ordered = |number: usize| {
        let kind = if number < 2 { "sleep 3000" } else { ["fail twice", "sleep 30", ""][number % 3] };
        Task { order_key: Some(format!("customer {}", number % 2)), ..task(&format!("ordered {number:02}"), kind) }
    };
    queue.submit(&[task("first", "")]);
    queue.wait_results(1);
    let free: Vec<Task> = (0..5).map(|number| task(&format!("free {number}"), "sleep 30")).collect();
    for task in (0..2).map(ordered).chain(free).chain((2..12).map(ordered)) {
        // One partition for those of an order: what is submitted in an order is read in it.
        queue.submit(std::slice::from_ref(&task));
    }
    let results = queue.wait_results(18);
    assert!(results.values().all(|results| results.len() == 1 && results[0].state == State::Done), "{results:?}");
    let calls = queue.handlers.calls().clone();
    for customer in 0..2 {
        let own = calls.iter().filter(|call| {
            call.id.strip_prefix("ordered ").is_some_and(|number| number.parse::<usize>().unwrap() % 2 == customer)
        });
        let own: Vec<_> = own.collect();
        assert!(own.is_sorted_by_key(|call| (call.id.clone(), call.attempt)), "{own:?}");
        for pair in own.windows(2) {
            assert!(pair[0].ended.unwrap() <= pair[1].begun, "one at a time: {pair:?}");
        }
    }
    let ended = |call: &Call| call.ended.unwrap();
    let free = calls.iter().filter(|call| call.id.starts_with("free")).map(ended).max().unwrap();
    let head = calls.iter().find(|call| call.id == "ordered 00").map(ended).unwrap();
    assert!(free < head, "they waited for the ordered ones: {calls:#?}");
    assert!(app.terminate().success());
}

#[test]
fn a_task_begins_when_its_time_has_come_also_if_nobody_was_there_then() {
    let queue = Queue::new("task-delay");
    let mut app = queue.app("one");
    app.start_again();
    // The handlers are there once one has answered.
    queue.submit(&[task("first", "")]);
    queue.wait_results(1);
    let at = now() + 4_000;
    queue.submit(&[Task { not_before: Some(at), ..task("later", "") }, task("now", "")]);
    queue.wait_results(2);
    app.kill();
    app.start_again();
    let results = queue.wait_results(3);
    assert!(results["later"][0].ended >= at && results["now"][0].ended < at, "{results:?}");
    assert_eq!(queue.handlers.begun().values().sum::<usize>(), 3);
    assert!(app.terminate().success());
}
