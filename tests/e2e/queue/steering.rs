//! What is wanted of a queue and of attempts while they run: pause, cancel, limits over all instances, progress.

use std::time::{Duration, Instant};

use reqwest::Client;
use task_queue::tasks::{Action, State, Task};

use super::support::{Queue, TOKEN, now, task};
use crate::support::{App, eventually};

/// Longer than any test waits.
const FOR_EVER: &str = "sleep 600000";

/// What an instance knows under a key of a store.
fn state(app: &App, store: &str, key: &str) -> Result<serde_json::Value, String> {
    let (status, body) = app.get(&format!("/state/{store}/{key}"))?;
    if status != 200 {
        return Err(format!("{status}: {body}"));
    }
    serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
}

/// Waits until it says this of a task.
#[track_caller]
fn wait_for(app: &App, id: &str, text: &str) {
    wait_stored(app, "tasks", id, text);
}

/// Waits until it says this of a key of a store.
#[track_caller]
fn wait_stored(app: &App, store: &str, key: &str, text: &str) {
    eventually(&format!("{text} of {key}"), || {
        let state = state(app, store, key)?.to_string();
        if state.contains(text) { Ok(()) } else { Err(state) }
    });
}

#[track_caller]
fn wait_begun(queue: &Queue, count: usize) {
    eventually("calls", || {
        let begun = queue.handlers.calls().len();
        if begun >= count { Ok(()) } else { Err(format!("{begun} of {count}")) }
    });
}

#[test]
fn a_call_is_cut_off_when_its_task_is_cancelled_or_its_deadline_comes() {
    let queue = Queue::new("task-stop");
    let mut app = queue.app("one");
    app.start_again();
    // The handlers are there once one has answered.
    queue.submit(&[task("first", "")]);
    queue.wait_results(1);
    let late = Task { deadline: Some(now() + 5_000), ..task("late", FOR_EVER) };
    queue.submit(&[task("cancelled", FOR_EVER), late]);
    wait_begun(&queue, 3);
    queue.command("cancelled", "cancelled", Action::Cancel);
    let results = queue.wait_results(3);
    assert_eq!((results["cancelled"][0].state, results["late"][0].state), (State::Cancelled, State::Expired));
    eventually("both calls cut", || {
        let cut = queue.handlers.calls().iter().filter(|call| call.is_cut).count();
        if cut == 2 { Ok(()) } else { Err(format!("{cut} of 2")) }
    });
    assert!(app.terminate().success(), "nothing is waited for");
    assert!(queue.results().values().all(|results| results.len() == 1));
}

#[test]
fn nothing_begins_in_a_paused_queue_and_what_is_cancelled_meanwhile_never_does() {
    let queue = Queue::new("task-pause");
    queue.pause(true);
    let mut app = queue.app("one");
    app.start_again();
    let tasks: Vec<Task> = (0..5).map(|number| task(&format!("task-{number}"), "")).collect();
    queue.submit(&tasks);
    tasks.iter().for_each(|task| wait_for(&app, &task.id, "READY"));
    queue.command("task-0", "task-0", Action::Cancel);
    wait_for(&app, "task-0", "CANCELLED");
    assert!(queue.handlers.calls().is_empty());
    let resumed = Instant::now();
    queue.pause(false);
    let results = queue.wait_results(5);
    assert_eq!(results.values().filter(|results| results[0].state == State::Done).count(), 4, "{results:?}");
    let calls = queue.handlers.calls().clone();
    assert!(calls.iter().all(|call| call.begun >= resumed && call.id != "task-0"), "{calls:?}");
    assert!(app.terminate().success());
}

/// How many calls were under way at the same time, at most.
fn at_once(queue: &Queue) -> usize {
    let calls = queue.handlers.calls();
    let under_way =
        |at: Instant| calls.iter().filter(|call| call.begun <= at && call.ended.is_none_or(|end| end > at)).count();
    calls.iter().map(|call| under_way(call.begun)).max().unwrap_or(0)
}

#[test]
fn a_cap_holds_over_two_instances_and_is_used_up() {
    let queue = Queue::with("task-cap", "running = 3");
    let mut apps = [queue.app("one"), queue.app("two")];
    apps.iter_mut().for_each(App::start_again);
    let tasks: Vec<Task> = (0..30).map(|number| task(&format!("task {number}"), "sleep 200")).collect();
    queue.submit(&tasks);
    let results = queue.wait_results(30);
    assert!(results.values().all(|results| results.len() == 1 && results[0].attempts == 1), "{results:?}");
    assert_eq!(at_once(&queue), 3);
    assert!(apps.iter_mut().all(|app| app.terminate().success()));
    // The control: without a cap they run side by side.
    let queue = Queue::new("task-uncapped");
    let mut app = queue.app("one");
    app.start_again();
    queue.submit(&tasks);
    queue.wait_results(30);
    assert!(at_once(&queue) > 3);
    assert!(app.terminate().success());
}

#[test]
fn a_rate_holds_over_two_instances_of_which_one_is_killed() {
    let queue = Queue::with("task-rate", "rate = \"10/s\"");
    let mut apps = [queue.app("one"), queue.app("two")];
    apps.iter_mut().for_each(App::start_again);
    queue.submit(&(0..60).map(|number| task(&format!("task {number}"), "")).collect::<Vec<_>>());
    queue.wait_results(20);
    apps[0].kill();
    let results = queue.wait_results(60);
    assert!(results.values().all(|results| results.len() == 1 && results[0].state == State::Done), "{results:?}");
    let mut begun: Vec<Instant> = queue.handlers.calls().iter().map(|call| call.begun).collect();
    begun.sort();
    let took = begun[begun.len() - 1] - begun[0];
    // The first one needs no wait, and may have been held up on its way.
    assert!(took >= Duration::from_millis(4_900), "60 in {took:?}");
    assert!(apps[1].terminate().success());
}

#[test]
fn who_waits_at_a_limit_goes_on_when_it_is_taken_away() {
    let queue = Queue::new("task-lifted");
    let mut limited = queue.app("one");
    limited.set("queues.default.rate=1/h");
    limited.apply();
    limited.start_again();
    queue.submit(&(0..10).map(|number| task(&format!("task {number}"), "")).collect::<Vec<_>>());
    queue.wait_results(1);
    wait_stored(&limited, "gates", "default", "[0,9,0]");
    assert!(limited.terminate().success());
    assert_eq!(queue.handlers.calls().len(), 1, "the others wait for hours");
    let mut free = queue.app("one");
    free.start_again();
    queue.wait_results(10);
    assert!(free.terminate().success());
    let results = queue.results();
    assert!(results.values().all(|results| results.len() == 1 && results[0].state == State::Done), "{results:?}");
    assert_eq!(queue.handlers.begun().len(), 10);
}

#[test]
fn a_handler_that_is_called_says_how_far_it_is_and_may_take_longer_than_the_time_out() {
    let queue = Queue::with("task-progress", "timeout = \"3s\"");
    let mut app = queue.app("one");
    app.start_again();
    queue.submit(&[task("long", "sleep 7000"), task("silent", FOR_EVER)]);
    wait_begun(&queue, 2);
    let lease = |id: &str| queue.handlers.calls().iter().find(|call| call.id == id).map(|call| call.lease.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let say = |lease: &str, how: &str| {
        let url = format!("{}/leases/{lease}/working{how}", app.url());
        runtime.block_on(Client::new().post(url).bearer_auth(TOKEN).send()).unwrap().status().as_u16()
    };
    let long = lease("long").unwrap();
    assert_eq!(say(&long, "?progress=2"), 400);
    let mut said = 0;
    eventually("the long one's end", || {
        said += usize::from(say(&long, "?progress=0.25") == 204);
        if said == 1 {
            wait_for(&app, "long", "0.25");
        }
        let results = queue.results();
        results.get("long").map(|_| ()).ok_or_else(|| format!("{said} times"))
    });
    assert!(said > 1 && say(&long, "") == 410, "it is over");
    let long = &queue.results()["long"][0];
    assert_eq!((long.state, long.attempts), (State::Done, 1));
    eventually("another attempt at the silent one", || {
        let begun = queue.handlers.begun()["silent"];
        if begun > 1 { Ok(()) } else { Err(format!("{begun}")) }
    });
    queue.command("silent", "silent", Action::Cancel);
    queue.wait_results(2);
    assert!(app.terminate().success());
}
