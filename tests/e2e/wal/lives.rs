//! Mutations of every fate, at real targets, and what is known of them.

use std::collections::BTreeMap;

use write_ahead_log::entry::{Action, State};
use write_ahead_log::mutation::{Mutation, Operation};
use write_ahead_log::namespace::{Address, Namespace, TargetKind, TargetSpec};

use super::application::{Log, now, put};
use super::effects::Effects;
use crate::support::{eventually, stores};

#[test]
fn mutations_of_every_fate_end_once_and_their_targets_have_what_was_written_last() {
    let (stores, effects, log) = (stores(), Effects::start(1, 0), Log::new("wal-lives"));
    let redis = stores.redis().unwrap();
    let target = |name: &str, kind, address: &str| TargetSpec {
        name: name.to_owned(),
        kind,
        address: Address::new(address),
        settings: BTreeMap::from([("timeout".to_owned(), "2s".to_owned())]),
    };
    let targets =
        vec![target("cache", TargetKind::Redis, redis.url()), target("book", TargetKind::Http, &effects.url())];
    let mut namespace = Namespace { targets, ..Namespace::default() };
    (namespace.retry.max_attempts, namespace.retry.backoff_ms) = (3, 100);
    log.set("shop", &namespace);
    let mut app = log.app("one");
    app.start_again();
    effects.book().broken.insert("broken".to_owned());
    let later = Mutation { not_before: Some(now() + 3_600_000), ..put("later", "later") };
    let gone = Mutation { operation: Operation::Delete, value: None, ..put("gone", "gone-2") };
    let old = Mutation { created_at: now() - 48 * 3_600_000, ..put("old", "old") };
    let soon = Mutation { delay_ms: Some(2_000), ..put("soon", "soon") };
    let all =
        [put("a", "a-1"), put("a", "a-2"), put("gone", "gone-1"), gone, put("broken", "broken"), old, soon.clone()];
    for _ in 0..2 {
        // The same token is the same mutation.
        log.write(&all);
    }
    log.write(std::slice::from_ref(&later));
    eventually("the store to know it", || {
        let (status, body) = app.get("/state/entries?prefix=shop/later")?;
        if status == 200 && body.contains("DELAYED") { Ok(()) } else { Err(format!("{status}: {body}")) }
    });
    ["cache", "book"].iter().for_each(|target| log.command(&later, target, Action::Cancel));
    let results = eventually("all to have ended at both targets", || {
        let results = log.results();
        let count: usize = results.values().map(Vec::len).sum();
        if count >= 16 { Ok(results) } else { Err(format!("{count}: {results:?}")) }
    });
    let mut ends: Vec<(&str, &str, State, i32)> = Vec::new();
    for result in results.values().flatten() {
        ends.push((&result.token, &result.target, result.state, result.attempts));
    }
    ends.sort_by_key(|(token, target, ..)| (*token, *target));
    let (applied, rejected, cancelled) = ((State::Applied, 1), (State::Rejected, 0), (State::Cancelled, 0));
    let both = |token, (state, attempts)| [(token, "book", state, attempts), (token, "cache", state, attempts)];
    let mut expected = vec![both("a-1", applied), both("a-2", applied)];
    expected.push([("broken", "book", State::Exhausted, 3), ("broken", "cache", State::Applied, 1)]);
    expected.extend([both("gone-1", applied), both("gone-2", applied), both("later", cancelled)]);
    expected.extend([both("old", rejected), both("soon", applied)]);
    assert_eq!(ends, expected.concat());
    assert_eq!(redis.command(&["GET", "shop:a"]).unwrap(), "a-2");
    assert_eq!(redis.command(&["EXISTS", "shop:gone"]).unwrap(), ":0");
    let applied_at = results["soon"].iter().map(|result| result.ended).min().unwrap();
    assert!(applied_at >= soon.due(0), "{applied_at} is before {}", soon.due(0));
    let exhausted = log.exhausted();
    let [kept] = exhausted.as_slice() else { panic!("one was given up: {exhausted:?}") };
    assert_eq!(kept.header("headrace-target"), Some(&b"book"[..]));
    assert!(String::from_utf8_lossy(kept.header("headrace-reason").unwrap()).contains("503"));
    assert!(app.terminate().success());
}
