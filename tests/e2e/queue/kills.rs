//! Processes that are killed in the middle of everything: no task is lost, and each ends once.

use task_queue::tasks::{State, Task};

use super::support::{Queue, task};

const TASKS: usize = 400;
const KILLS: usize = 4;

#[test]
fn whoever_is_killed_whenever_no_task_is_lost_and_each_has_one_result() {
    let queue = Queue::new("task-kills");
    let mut apps = [queue.app("one"), queue.app("two")];
    apps.iter_mut().for_each(|app| app.run());
    let tasks: Vec<Task> = (0..TASKS)
        .map(|number| {
            let kind = ["", "sleep 20", "sleep 200", "fail twice"][number % 4];
            // An attempt that was under way counts: nobody knows how far it had come.
            Task { max_attempts: Some(50), ..task(&format!("task {number}"), kind) }
        })
        .collect();
    let mut submitted = 0;
    for kill in 0..KILLS {
        let portion = &tasks[submitted..submitted + TASKS / KILLS];
        submitted += portion.len();
        queue.submit(portion);
        queue.wait_results(submitted / 2);
        let app = &mut apps[kill % 2];
        app.kill();
        app.run();
    }
    let results = queue.wait_results(TASKS);
    for (id, results) in &results {
        assert_eq!(results.len(), 1, "{id}: {results:?}");
        assert_eq!(results[0].state, State::Done, "{id}: {results:?}");
    }
    assert_eq!(results.len(), TASKS);
    let begun: usize = queue.handlers.begun().values().sum();
    println!("{TASKS} tasks, {KILLS} kills: begun {begun} times");
    for app in &mut apps {
        app.wait_ready();
        assert!(app.terminate().success());
    }
}
