//! What came is written once more, without what broke something (M11).

use serde_json::{Value, json};
use write_ahead_log::namespace::{Namespace, TargetKind, TargetSpec};

use super::application::now;
use super::support::{Asked, Log};
use crate::support::{eventually, expect, queues, stores};

const LOG: &str = "/v1/shop/log";
const PREFIX: &str = "replay:";
const KEYS: usize = 5;

fn value(key: &str) -> Option<String> {
    let answer = stores().redis().unwrap().command(&["GET", &format!("{PREFIX}{key}")]).unwrap();
    Some(answer).filter(|answer| answer != "$-1")
}

/// What all keys have.
fn values() -> Vec<Option<String>> {
    (0..KEYS).map(|key| value(&format!("k{key}"))).collect()
}

#[test]
fn m11_a_replay_without_what_broke_it_is_as_if_that_had_never_come() {
    let log = Log::new(queues(), "wal-replay", "");
    let cache = TargetSpec::new("cache", TargetKind::Redis, stores().redis().unwrap().url());
    let cache = TargetSpec { settings: [("prefix".to_owned(), PREFIX.to_owned())].into(), ..cache };
    log.set("shop", &Namespace { targets: vec![cache], ..Namespace::default() });
    let mut app = log.app();
    app.start_again();
    let from = now().to_string();
    let mut all: Vec<Value> = (0..20)
        .map(|n| json!({ "token": format!("t{n}"), "key": format!("k{}", n % KEYS), "text": format!("v{n}") }))
        .collect();
    // Applied behind all others of its key.
    all.push(json!({ "token": "late", "key": "k0", "text": "late", "delay_ms": 1_500 }));
    all.push(json!({ "token": "bad-1", "key": "k1", "operation": "delete" }));
    all.push(json!({ "token": "bad-2", "key": "k2", "text": "broken", "headers": { "app": "7" } }));
    eventually("them to be taken", || match log.ask(&app, Asked::post(LOG, json!(all).to_string())) {
        answered if answered.status == 200 => Ok(()),
        answered => Err(format!("{answered:?}")),
    });
    let shown = |all: [&str; KEYS]| all.map(|text| Some(text.to_owned()).filter(|text| !text.is_empty())).to_vec();
    eventually("all of it", || expect(&values(), &shown(["late", "", "broken", "v18", "v19"])));
    let to = now().to_string();

    // What there was before.
    let gone = (0..KEYS).map(|key| format!("{PREFIX}k{key}")).collect::<Vec<_>>();
    let gone: Vec<&str> = std::iter::once("DEL").chain(gone.iter().map(String::as_str)).collect();
    stores().redis().unwrap().command(&gone).unwrap();
    let asked = ["replay", "shop", "--from", &from, "--to", &to, "--exclude", "token=bad-*"];
    let dry = app.said(&[&asked[..], &["--dry-run"]].concat(), "");
    let line = "mutations=21 excluded=2 keys=5 differing_keys=2";
    assert!(dry.code == Some(0) && dry.out.contains(&format!("{line} written=0")), "{dry:?}");
    // Both may have come in the same millisecond.
    let told = ["left out: DELETE k1 (bad-1)", "left out: PUT k2 (bad-2)"].iter().any(|told| dry.out.contains(told));
    assert!(told && dry.out.contains("k1: by bad-1 until now; by t16"), "{dry:?}");
    assert_eq!(values(), vec![None; KEYS]);

    let said = app.said(&asked, "");
    assert!(said.code == Some(0) && said.out.contains(&format!("{line} written=21")), "{said:?}");
    let repaired = shown(["late", "v16", "v17", "v18", "v19"]);
    eventually("what there would have been", || expect(&values(), &repaired));
    // Somebody is not sure whether it was done.
    let again = app.said(&asked, "");
    assert_eq!((again.code, &again.out), (Some(0), &said.out));
    eventually("all to be known", || {
        let known = app.metric("headrace_processor_events_total", "event=\"repeated\"");
        if known >= 21.0 { Ok(()) } else { Err(format!("{known}")) }
    });
    assert_eq!(values(), repaired);

    for (asked, reason) in [
        (&["--from", "yesterday"][..], "--from: yesterday is no time"),
        (&["--from", "1h", "--exclude", "value=1"][..], "--exclude: value: is no field"),
        (&["--from", "1h", "--target", "nowhere"][..], "--target: nowhere is none of the namespace's, which are cache"),
    ] {
        let said = app.said(&[&["replay", "shop"], asked].concat(), "");
        assert!(said.code == Some(64) && said.errors.contains(reason), "{said:?}");
    }
    assert!(app.terminate().success());
}
