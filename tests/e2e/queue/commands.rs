//! The commands of the binary, as people type them.

use testbed::free_port;

use super::support::Queue;
use crate::support::app::Said;
use crate::support::{App, Topics, bed, eventually, expect};

/// A queue, and who types.
struct Shell {
    queue: Queue,
    app: App,
    topics: Topics,
}

impl Shell {
    fn new(id: &str) -> Self {
        let queue = Queue::new(id);
        let topics = Topics::new(bed().kafka().unwrap().bootstrap_servers());
        let app = queue.app("one");
        Shell { queue, app, topics }
    }

    fn said(&self, arguments: &[&str]) -> Said {
        self.app.said(arguments, "")
    }

    /// What it prints when all is well.
    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let said = self.said(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
        said.out
    }

    /// Why not, and how it ends.
    #[track_caller]
    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let said = self.said(arguments);
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{arguments:?}: {said:?}");
        said.errors
    }

    fn queues(&self) -> serde_json::Value {
        serde_json::from_str(&self.done(&["queues", "--json"])).unwrap()
    }

    /// The lag of a topic as the instance's metrics have it; none while they have none, which is not a zero.
    fn lag_told(&self, topic: &str) -> Option<i64> {
        let (_, page) = self.app.get("/metrics").unwrap();
        let id = &self.queue.id;
        let series = format!("headrace_share_lag_records{{topic=\"{id}.{topic}\",workers=\"default\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
    }

    /// Waits until the metrics have what the brokers are to say.
    #[track_caller]
    fn wait_lag_told(&self, topic: &str, lag: i64) {
        eventually("the metrics to tell the lag", || {
            expect(&self.lag_told(topic), &Some(lag)).map_err(|reason| format!("{topic}: {reason}"))
        });
    }

    fn records(&self, topic: &str) -> usize {
        self.topics.read(&format!("{}.{topic}", self.queue.id)).len()
    }
}

#[test]
fn a_task_goes_from_a_shell_to_its_handler_and_its_result_comes_back() {
    let mut shell = Shell::new("shell-tasks");
    shell.app.start_again();
    let enqueue = ["enqueue", "--queue=default"];
    let with = |more: &[&'static str]| [&enqueue[..], more].concat();

    let out = shell.done(&with(&["--id=hello", "--wait=60s", "world"]));
    assert_eq!(out, "hello\nhello DONE after 1 attempt: done world\n");
    let refused = shell.said(&with(&["--id=never", "--kind=refuse", "--wait=60s"]));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.out.starts_with("never\nnever FAILED after 1 attempt: answered 422"), "{refused:?}");
    let lines = shell.app.said(&with(&["--lines", "--wait=60s", "--order-key=k"]), "one\ntwo\r\n\nfour");
    assert_eq!((lines.code, lines.out.lines().count()), (Some(0), 8), "{lines:?}");
    let ids: Vec<&str> = lines.out.lines().take(4).collect();
    let begun: Vec<String> = shell.queue.handlers.calls().iter().map(|call| call.id.clone()).collect();
    assert_eq!(begun[2..], ids, "the order of the lines is that of their key");
    let stdin = shell.app.said(&with(&["--wait=60s", "-"]), "from stdin\n");
    assert!(stdin.out.ends_with(": done from stdin\n\n"), "{stdin:?}");
    let late = shell.said(&with(&["--id=slow", "--kind=sleep 5000", "--wait=1s"]));
    assert_eq!((late.code, late.out.as_str()), (Some(1), "slow\n"), "{late:?}");
    assert!(late.errors.contains("task-queue status slow"), "{late:?}");

    assert_eq!(shell.done(&with(&["--id=later", "--in=1h", "--unique-key=u"])), "later\n");
    let known = |state: &str| {
        eventually("the task to be known", || {
            let said = shell.said(&["status", "later"]);
            if said.out.contains(state) { Ok(said.out) } else { Err(format!("{said:?}")) }
        })
    };
    let status = known("DELAYED");
    assert!(status.contains("unique key  u\n") && status.contains("attempts    0 of 5\n"), "{status}");
    assert!(shell.done(&["status", "later", "--json"]).contains("\"state\":\"DELAYED\""));
    assert_eq!(shell.done(&["cancel", "later"]), "cancel of later is submitted (lane u)\n");
    known("CANCELLED");
    assert_eq!(shell.done(&["retry", "never", "--lane=never"]), "retry of never is submitted (lane never)\n");
    eventually("its second result", || match shell.queue.results()["never"].len() {
        2 => Ok(()),
        count => Err(format!("{count} results")),
    });
    let unknown = shell.refused(1, &["status", "nobody"]);
    assert!(unknown.contains("no task nobody is known"), "{unknown}");
    assert!(shell.refused(1, &["cancel", "nobody"]).contains("--lane"));
    assert!(shell.app.terminate().success());
}

#[test]
fn queues_and_their_groups_are_shown_as_brokers_and_instances_have_them() {
    let mut shell = Shell::new("shell-queues");
    let missing = shell.refused(1, &["group", "describe", "default"]);
    assert!(missing.contains("share group shell-queues-default: not there"), "{missing}");
    let before = shell.said(&["queues"]);
    // Nobody has begun with topics that are empty; who works is not known, since nobody answers.
    let row = "default  running  0     0       0    ?          ?";
    assert!(before.code == Some(0) && before.out.contains(row), "{before:?}");
    assert!(before.errors.contains("not known: work of http://"), "{before:?}");

    shell.app.start_again();
    shell.done(&["enqueue", "--queue=default", "--id=first", "--wait=60s"]);
    shell.done(&["enqueue", "--queue=default", "--id=slow", "--kind=sleep 28000", "--priority=low"]);
    let low = eventually("the slow one to be under way", || {
        let queue = shell.queues()["queues"][0].clone();
        if queue["in-flight"] == 1 { Ok(queue) } else { Err(queue.to_string()) }
    });
    assert_eq!((&low["queue"], &low["deliveries"]["1"]), (&"default".into(), &2.into()), "{low}");
    // What is under way is not done.
    assert_eq!(low["depth"]["low"], 1, "{low}");

    let group = shell.done(&["group", "describe"]);
    assert!(group.starts_with("share group shell-queues-default: Stable"), "{group}");
    assert!(group.contains("shell-queues-one") && group.contains("shell-queues.ready-default-low [0,1,2]"), "{group}");
    let setting = |line: &str| line.split_whitespace().eq("share.auto.offset.reset earliest the group".split(' '));
    assert!(group.lines().any(setting), "{group}");
    let of_low = |line: &&str| line.trim_start().starts_with("shell-queues.ready-default-low  ");
    let lag = |line: &str| line.split_whitespace().nth(3)?.parse::<i64>().ok();
    let lags: i64 = group.lines().filter(of_low).filter_map(lag).sum();
    assert_eq!((lags, group.lines().filter(of_low).count()), (1, 3), "{group}");
    shell.wait_lag_told("ready-default-low", 1);

    assert!(shell.done(&["pause", "default", "--reason", "a deploy"]).starts_with("default is to pause"));
    let paused = shell.done(&["queues"]);
    assert!(paused.contains("default  paused since ") && paused.contains(": a deploy"), "{paused}");
    assert_eq!(shell.queues()["queues"][0]["paused"], true);
    assert_eq!(shell.done(&["resume", "default"]), "default is to run\n");
    assert_eq!(shell.queues()["queues"][0]["paused"], false);
    let wanted = shell.topics.read("shell-queues.queues");
    let keys: Vec<_> = wanted.iter().filter_map(|record| record.key.clone()).collect();
    assert_eq!(keys, [b"default", b"default"]);

    let results = shell.queue.wait_results(2);
    assert!(results.values().all(|results| results.len() == 1), "{results:?}");
    eventually("nothing to be left", || {
        let queue = shell.queues()["queues"][0].clone();
        let (depth, in_flight) = (&queue["depth"], &queue["in-flight"]);
        let idle = ["normal", "low"].iter().all(|priority| depth[priority] == 0) && *in_flight == 0;
        if idle { Ok(()) } else { Err(queue.to_string()) }
    });
    for priority in ["normal", "low"] {
        shell.wait_lag_told(&format!("ready-default-{priority}"), 0);
    }
    assert!(shell.app.terminate().success());
}

#[test]
fn what_is_wrong_is_said_before_anything_is_written_and_the_exit_code_tells_why() {
    let shell = Shell::new("shell-mistakes");
    let unknown = shell.refused(64, &["enqueue", "--queue=mail", "hello"]);
    assert_eq!(unknown, "task-queue: the task's queue is none of queues.*, which has default\n");
    let no_id = shell.refused(64, &["enqueue", "--queue=default", "--id="]);
    assert!(no_id.contains("give each task one of its own"), "{no_id}");
    for wrong in [
        &["enqueue", "--queue=default", "--in=5"][..],
        &["enqueue", "--queue=default", "--at=tomorrow"],
        &["enqueue", "hello"],
        &["pause", "mail"],
        &["group", "describe", "mail"],
        &["queues", "--at=nowhere"],
        &["status"],
        &["cancel", ""],
        &["cancel", "a", "--lane="],
    ] {
        assert!(!shell.refused(64, wrong).is_empty(), "{wrong:?}");
    }
    assert_eq!((shell.records("tasks"), shell.records("queues")), (0, 0));

    // Nobody is at either address.
    let broker = format!("--set=kafka.bootstrap-servers=127.0.0.1:{}", free_port().unwrap());
    for away in [
        &["enqueue", "--queue=default", "hello"][..],
        &["enqueue", "--queue=default", "--wait", "hello"],
        &["pause", "default"],
        &["cancel", "a", "--lane=a"],
        &["group", "describe"],
    ] {
        let error = shell.refused(1, &[away, &[broker.as_str()]].concat());
        assert!(error.contains("kafka is away: "), "{away:?}: {error}");
    }
    let nothing = shell.said(&["queues", &broker]);
    assert!(nothing.code == Some(1) && nothing.errors.contains("state of the queues: kafka is away"), "{nothing:?}");
    assert!(shell.refused(1, &["status", "a"]).contains("no answer from http://127.0.0.1:"));
    let lane = shell.refused(1, &["cancel", "a"]);
    assert!(lane.contains("no answer from") && lane.contains("--lane"), "{lane}");
    assert_eq!(shell.records("commands"), 0);
    // The control: nothing but the words was wrong.
    shell.done(&["cancel", "a", "--lane=a"]);
    shell.done(&["enqueue", "--queue=default", "--id=a"]);
    assert_eq!((shell.records("commands"), shell.records("tasks")), (1, 1));
}
