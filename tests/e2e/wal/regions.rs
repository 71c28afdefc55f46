//! Two regions, each with its own brokers, and a way between them that is cut (rule W14).

use std::sync::Arc;

use chaos::network::Relay;
use serde_json::{Value, json};
use testbed::{Kafka, Testbed};
use write_ahead_log::namespace::{Breaker, Namespace, Retry, TargetKind, TargetSpec};

use super::support::{Asked, Log};
use crate::support::{App, PEER, eventually, queues, share_groups, stores};

const LOG: &str = "/v1/shop/log";

/// A region.
struct Region {
    name: &'static str,
    log: Log,
    app: App,
    /// To it, from the other one.
    way: Relay,
}

impl Region {
    fn new(name: &'static str, bed: Arc<Testbed>) -> Self {
        let log = Log::new(bed, &format!("wal-region-{name}"), &format!("[region]\nname = \"{name}\"\n"));
        let app = log.app();
        let way = Relay::to(app.url().trim_start_matches("http://")).unwrap();
        Region { name, log, app, way }
    }

    /// Has it write to Redis, and to the other one.
    fn join(&self, other: &Region) {
        let region = TargetSpec::new(other.name, TargetKind::Region, format!("http://{}", other.way.address()));
        let settings = [("token-env", PEER), ("timeout", "2s")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let cache = TargetSpec::new("cache", TargetKind::Redis, stores().redis().unwrap().url());
        let prefix = [("prefix".to_owned(), self.key(""))].into();
        let namespace = Namespace {
            targets: vec![TargetSpec { settings: prefix, ..cache }, TargetSpec { settings, ..region }],
            retry: Retry { max_attempts: 3, backoff_ms: 50, longest_backoff_ms: 500 },
            breaker: Breaker { failures: 5, open_ms: 500 },
            ..Namespace::default()
        };
        assert_eq!(namespace.validate("shop"), []);
        self.log.set("shop", &namespace);
    }

    fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.name)
    }

    fn write(&self, token: &str, key: &str, delay: &str) {
        let one = json!({ "token": token, "key": key, "text": token, "delay": delay });
        // The namespace is known a moment later.
        eventually("it to be taken", || match self.log.ask(&self.app, Asked::post(LOG, one.to_string())) {
            answered if answered.status == 200 => Ok(()),
            answered => Err(format!("{answered:?}")),
        });
    }

    fn has(&self, key: &str) -> Option<String> {
        let answer = stores().redis().unwrap().command(&["GET", &self.key(key)]).unwrap();
        Some(answer).filter(|answer| answer != "$-1")
    }

    #[track_caller]
    fn wait(&self, key: &str, value: &str) {
        eventually(&format!("{value} at {key} in {}", self.name), || match self.has(key) {
            Some(there) if there == value => Ok(()),
            there => Err(format!("{there:?}")),
        });
    }

    /// Waits until a mutation has these states, by target.
    #[track_caller]
    fn wait_states(&self, token: &str, wanted: &Value) {
        eventually(&format!("the states of {token} in {}", self.name), || {
            let body = self.log.ask(&self.app, Asked::get(&format!("/v1/shop/status/{token}"))).body;
            let states = body["targets"].as_array().into_iter().flatten();
            let states = states.map(|target| (target["target"].as_str().unwrap().to_owned(), target["state"].clone()));
            let states: Value = states.collect();
            if states == *wanted { Ok(()) } else { Err(states.to_string()) }
        });
    }
}

/// What `regions audit` says of both: whether they agree, and its line.
fn audit(at: &App, regions: [&Region; 2], wait: &str) -> (bool, String) {
    let [one, two] = regions.map(|region| region.app.url());
    let said = at.said(&["regions", "audit", "shop", "--at", &one, "--at", &two, "--wait", wait], "");
    (said.code == Some(0), format!("{}{}", said.out, said.errors))
}

#[test]
fn w14_two_regions_that_were_parted_agree_again_and_a_kill_between_changes_nothing() {
    let us = Testbed::builder().kafka_with(share_groups(Kafka::builder().unwrap())).registry().start().unwrap();
    let [mut eu, mut us] = [Region::new("eu", queues()), Region::new("us", Arc::new(us))];
    eu.join(&us);
    us.join(&eu);
    [&mut eu, &mut us].into_iter().for_each(|region| region.app.start_again());

    eu.write("first", "a", "0s");
    us.wait("a", "first");
    eu.wait_states("first", &json!({ "cache": "applied", "us": "applied" }));
    // It goes no further.
    us.wait_states("first@eu", &json!({ "cache": "applied" }));
    assert!(audit(&eu.app, [&eu, &us], "30s").0);

    [&eu, &us].into_iter().for_each(|region| region.way.cut(true));
    // Each is the last one where it was written, and of both the second is.
    eu.write("lost", "b", "0s");
    eu.wait("b", "lost");
    us.write("kept", "b", "0s");
    us.wait("b", "kept");
    eu.write("only", "c", "0s");
    eu.wait("c", "only");
    eventually("the audit to see it", || {
        let (agree, said) = audit(&eu.app, [&eu, &us], "0s");
        let sees = !agree && said.contains("divergent_keys=2") && said.contains("cache/b: ");
        if sees { Ok(()) } else { Err(said) }
    });
    eventually("eu to have tried more often than elsewhere", || {
        match eu.log.ask(&eu.app, Asked::get("/v1/shop/status/lost")).body["targets"][1]["attempts"].as_i64() {
            Some(4..) => Ok(()),
            attempts => Err(format!("{attempts:?}")),
        }
    });
    eu.app.kill();
    eu.app.start_again();
    [&eu, &us].into_iter().for_each(|region| region.way.cut(false));

    for region in [&eu, &us] {
        region.wait("b", "kept");
        region.wait("c", "only");
    }
    let (agree, said) = audit(&us.app, [&eu, &us], "60s");
    assert!(agree && said.contains("keys=3 divergent_keys=0 rpo_records=0"), "{said}");
    us.wait_states("lost@eu", &json!({ "cache": "superseded" }));
    let conflicts = us.log.count("conflicts");
    assert_eq!((eu.log.count("conflicts"), conflicts), (0, 1), "who has it lost is told where it was lost");
    assert!(eu.app.terminate().success() && us.app.terminate().success());
}

#[test]
fn w14_a_region_without_a_name_takes_nothing_for_others() {
    let log = Log::new(queues(), "wal-region-nameless", "");
    let mut app = log.app();
    let region = TargetSpec::new("us", TargetKind::Region, "http://127.0.0.1:9");
    log.set("shop", &Namespace { targets: vec![region], ..Namespace::default() });
    app.start_again();
    eventually("it to be refused", || {
        let answered = log.ask(&app, Asked::post(LOG, json!({ "key": "k", "text": "x" }).to_string()));
        let says = answered.body["error"].as_str().is_some_and(|error| error.contains("set region.name"));
        if answered.status == 500 && says { Ok(()) } else { Err(format!("{answered:?}")) }
    });
    assert!(log.mutations().is_empty());
}
