//! What becomes of a call that was not done.

use std::time::Duration;

use write_ahead_log::entry::State;

use super::support::{Bench, namespace};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn w9_what_fails_is_tried_again_after_longer_and_longer_pauses_and_then_given_up() {
    let mut bench = Bench::new(&namespace());
    bench.fail("a");
    let token = bench.put("a");
    bench.pass(120 * SECOND);
    assert_eq!(bench.asked(), [("a".to_owned(), 1), ("a".to_owned(), 2), ("a".to_owned(), 3)]);
    let results = bench.results();
    let [result] = results.as_slice() else { panic!("one result: {results:?}") };
    assert_eq!((result.state, result.attempts, result.reason.as_deref()), (State::Exhausted, 3, Some("not now")));
    let exhausted = bench.exhausted();
    let [kept] = exhausted.as_slice() else { panic!("one is kept: {exhausted:?}") };
    assert_eq!(kept.headers.last("headrace-reason"), Some(&b"not now"[..]));
    assert_eq!(kept.headers.last("headrace-target"), Some(&b"cache"[..]));
    assert!(kept.value.as_ref().is_some_and(|value| value.windows(2).any(|two| two == b"{}")), "with its value");
    assert!(result.token == token && bench.keys("clocks").is_empty());
}

#[test]
fn w9_a_target_that_asks_for_time_is_given_it() {
    let mut bench = Bench::new(&namespace());
    bench.world.lock().unwrap().failing.insert("a".to_owned(), Some(10 * SECOND));
    let token = bench.put("a");
    bench.mend("a");
    bench.pass(10 * SECOND - Duration::from_millis(10));
    assert!(bench.applied().is_empty());
    bench.pass(SECOND);
    assert_eq!(bench.applied(), [token]);
}

#[test]
fn w9_what_is_refused_is_given_up_at_once() {
    let mut bench = Bench::new(&namespace());
    bench.world.lock().unwrap().refusing.insert("a".to_owned());
    let token = bench.put("a");
    assert_eq!(bench.ends(), [(token, State::Exhausted)]);
    assert_eq!(bench.exhausted().len(), 1);
    bench.pass(60 * SECOND);
    assert_eq!(bench.asked().len(), 1);
}

#[test]
fn a_breaker_leaves_a_target_alone_that_has_failed_often() {
    let mut namespace = namespace();
    (namespace.breaker.failures, namespace.breaker.open_ms) = (3, 5_000);
    namespace.retry.max_attempts = 100;
    let mut bench = Bench::new(&namespace);
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    keys.iter().for_each(|key| bench.fail(key));
    let tokens: Vec<String> = keys.iter().map(|key| bench.put(key)).collect();
    assert_eq!(bench.asked().len(), 3, "the others wait, unasked");
    bench.pass(4 * SECOND);
    assert_eq!(bench.asked().len(), 0);
    bench.pass(7 * SECOND);
    let probes = bench.asked().len();
    assert!((1..=3).contains(&probes), "one at a time looks whether it is back: {probes}");
    keys.iter().for_each(|key| bench.mend(key));
    bench.pass(120 * SECOND);
    let mut applied = bench.applied();
    applied.sort();
    let mut expected = tokens;
    expected.sort();
    assert_eq!(applied, expected);
}

#[test]
fn a_paused_namespace_asks_nobody_and_goes_on_where_it_was() {
    let mut paused = namespace();
    paused.paused = true;
    let mut bench = Bench::new(&paused);
    let tokens = [bench.put("a"), bench.put("b"), bench.put("a")];
    bench.pass(10 * SECOND);
    assert!(bench.asked().is_empty());
    bench.set("shop", &namespace());
    bench.pass(3 * SECOND);
    let mut applied = bench.applied();
    assert_eq!(applied.iter().filter(|token| token.starts_with('a')).collect::<Vec<_>>(), [&tokens[0], &tokens[2]]);
    applied.sort();
    assert_eq!(applied.len(), 3);
}
