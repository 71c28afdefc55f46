//! Groups over HTTP, at real targets of which one fails now and then, with processes that are killed in the middle.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use write_ahead_log::namespace::{Namespace, TargetKind, TargetSpec};

use super::effects::{Book, Effects};
use super::support::{Answered, Asked, Log};
use crate::support::{App, bed, eventually, stores};

const GROUPS: &str = "/v1/pair/groups";
const COUNT: usize = 10;
const OPERATIONS: usize = 4;
const KILLS: usize = 3;
/// One in so many calls of the target that fails.
const FAILING: u32 = 3;

/// What the receiver has of each group, or of what was written without one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    /// Groups of which some is there and some is not.
    partial: usize,
    /// Operations that came before one that precedes them.
    out_of_sequence: usize,
    whole: usize,
}

/// Tokens are `group#sequence`.
fn judge(book: &Book) -> Findings {
    let mut groups: BTreeMap<&str, BTreeMap<usize, usize>> = BTreeMap::new();
    for effect in book.effects.values().flatten() {
        let (group, sequence) = effect.token.rsplit_once('#').unwrap();
        groups.entry(group).or_default().insert(sequence.parse().unwrap(), effect.place);
    }
    let mut findings = Findings::default();
    for places in groups.values() {
        findings.partial += usize::from(places.len() < OPERATIONS);
        findings.whole += usize::from(places.len() == OPERATIONS);
        let places: Vec<usize> = places.values().copied().collect();
        findings.out_of_sequence += places.windows(2).filter(|pair| pair[1] < pair[0]).count();
    }
    findings
}

fn operation(group: usize, sequence: usize) -> Value {
    json!({ "key": format!("g{group}-k{sequence}"), "text": format!("{group}.{sequence}") })
}

fn group(number: usize) -> Value {
    let operations: Vec<Value> = (0..OPERATIONS).map(|sequence| operation(number, sequence)).collect();
    json!({ "group": format!("g{number}"), "operations": operations })
}

/// Until it is certain: sent again under the same id it is the same.
#[track_caller]
fn write(log: &Log, app: &App, path: &str, body: &Value) {
    eventually("the log to take it", || {
        let answered = log.ask(app, Asked::post(path, body.to_string()));
        if answered.body["durable"] == "succeeded" { Ok(()) } else { Err(format!("{answered:?}")) }
    });
}

fn show(log: &Log, app: &App, group: &str) -> Answered {
    log.ask(app, Asked::get(&format!("{GROUPS}/{group}")))
}

#[track_caller]
fn wait_phase(log: &Log, app: &App, group: &str, phase: &str) -> Value {
    eventually(&format!("{group} to be {phase}"), || {
        let answered = show(log, app, group);
        if answered.body["phase"] == phase { Ok(answered.body) } else { Err(format!("{answered:?}")) }
    })
}

fn namespace(effects: &Effects) -> Namespace {
    let (book, redis) = (effects.url(), stores().redis().unwrap().url().to_owned());
    let targets =
        vec![TargetSpec::new("book", TargetKind::Http, book), TargetSpec::new("cache", TargetKind::Redis, redis)];
    let mut namespace = Namespace { targets, ..Namespace::default() };
    (namespace.retry.max_attempts, namespace.retry.backoff_ms) = (1_000, 50);
    namespace.retry.longest_backoff_ms = 300;
    namespace
}

#[test]
fn w12_groups_are_applied_whole_and_in_their_sequence_whoever_is_killed() {
    let (effects, log) = (Effects::start(fastrand::u64(..), FAILING), Log::new(bed(), "wal-groups", ""));
    log.set("pair", &namespace(&effects));
    let mut app = log.app();
    app.start_again();
    write(&log, &app, GROUPS, &group(0));
    wait_phase(&log, &app, "g0", "done");
    for number in 1..COUNT {
        write(&log, &app, GROUPS, &group(number));
        if number % (COUNT / KILLS) == 0 {
            app.kill();
            app.start_again();
        }
    }
    for number in 0..COUNT {
        let shown = wait_phase(&log, &app, &format!("g{number}"), "done");
        assert_eq!((&shown["operations"], &shown["given_up"]), (&json!(OPERATIONS), &json!(0)), "{shown}");
    }
    let expected = Findings { whole: COUNT, ..Findings::default() };
    assert_eq!(judge(&effects.book()), expected);
    let stores = stores();
    let redis = stores.redis().unwrap();
    for (number, sequence) in (0..COUNT).flat_map(|number| (0..OPERATIONS).map(move |sequence| (number, sequence))) {
        let value = redis.command(&["GET", &format!("pair:g{number}-k{sequence}")]).unwrap();
        assert_eq!(value, format!("{number}.{sequence}"));
    }
    // Sent again it is the same group, and nothing happens.
    let calls = effects.book().calls;
    write(&log, &app, GROUPS, &group(0));
    wait_phase(&log, &app, "g0", "done");
    assert_eq!(effects.book().calls, calls);
    assert!(app.terminate().success());
}

#[test]
fn w12_the_same_without_groups_is_seen_out_of_sequence() {
    let (effects, log) = (Effects::start(7, FAILING), Log::new(bed(), "wal-ungrouped", ""));
    log.set("pair", &namespace(&effects));
    let mut app = log.app();
    app.start_again();
    let mutations = (0..COUNT).flat_map(|number| {
        (0..OPERATIONS).map(move |sequence| {
            let mut form = operation(number, sequence);
            form["token"] = json!(format!("g{number}#{sequence}"));
            form["target"] = json!("book");
            form
        })
    });
    let all: Vec<Value> = mutations.collect();
    assert_eq!(log.ask(&app, Asked::post("/v1/pair/log", json!(all).to_string())).status, 200);
    eventually("all to be there", || {
        let findings = judge(&effects.book());
        if findings.whole == COUNT { Ok(()) } else { Err(format!("{findings:?}")) }
    });
    assert!(judge(&effects.book()).out_of_sequence > 0, "the check proves nothing");
    assert!(app.terminate().success());
}

#[test]
fn w12_a_group_can_be_taken_back_before_its_time_and_mistakes_are_told_at_once() {
    let (effects, log) = (Effects::start(1, 0), Log::new(bed(), "wal-taken-back", ""));
    log.set("pair", &namespace(&effects));
    let mut app = log.app();
    app.start_again();
    let later = json!({ "group": "a/b", "delay": "1h", "operations": [operation(0, 0), operation(0, 1)] });
    write(&log, &app, GROUPS, &later);
    let shown = wait_phase(&log, &app, "a%2Fb", "complete");
    assert!(shown["not_before"].as_i64() > shown["since"].as_i64(), "{shown}");
    let path = format!("{GROUPS}/a%2Fb");
    assert_eq!(log.ask(&app, Asked { token: None, ..Asked::delete(&path) }).status, 401);
    assert_eq!(log.ask(&app, Asked::delete(&path)).status, 202);
    let shown = wait_phase(&log, &app, "a%2Fb", "aborted");
    assert_eq!(shown["reason"], "it was taken back");
    assert!(effects.book().effects.is_empty());

    assert_eq!(show(&log, &app, "unknown").status, 404);
    let wrong = [
        (json!({ "operations": [] }), 400, "there are none"),
        (json!({ "operations": [{ "key": "k" }] }), 400, "operation 0: value: a PUT has none"),
        (json!({ "operations": [{ "key": "k", "value": 1, "target": "x" }] }), 400, "operation 0: target: x is none"),
        (json!({ "group": "", "operations": [operation(0, 0)] }), 400, "group: is empty"),
    ];
    for (body, status, reason) in wrong {
        let answered = log.ask(&app, Asked::post(GROUPS, body.to_string()));
        let said = answered.body["error"].as_str().unwrap_or_default();
        assert!(answered.status == status && said.contains(reason), "{answered:?}");
    }
    assert!(app.terminate().success());
}
