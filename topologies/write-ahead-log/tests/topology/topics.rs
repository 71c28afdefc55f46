//! Topics as targets: the record of a mutation is an effect of its end, and of nothing else (rule W7).

use std::time::Duration;

use headrace::record::Timestamp;
use headrace::testing::Driven;
use write_ahead_log::entry::State;
use write_ahead_log::mutation::{Mutation, Operation};
use write_ahead_log::namespace::{Namespace, TargetKind, TargetSpec};

use super::support::{BEGIN, Bench, namespace, target};

const SECOND: Duration = Duration::from_secs(1);
const FEED: &str = "orders-feed";

/// Writes to a topic, and to nothing else.
fn feeding() -> Namespace {
    Namespace { targets: vec![TargetSpec::new("feed", TargetKind::Topic, FEED)], ..namespace() }
}

fn token(record: &Driven) -> String {
    String::from_utf8(record.headers.last("headrace-token").unwrap().to_vec()).unwrap()
}

fn tokens(bench: &mut Bench) -> Vec<String> {
    bench.driver.take(FEED).iter().map(token).collect()
}

#[test]
fn w7_a_mutation_is_a_record_when_it_is_applied() {
    let mut bench = Bench::new(&feeding());
    let mut put = bench.mutation("a");
    (put.created_at, put.order) = (BEGIN - 5, Some("customer".to_owned()));
    put.headers.insert("traceparent".to_owned(), "00-a-b-01".to_owned());
    bench.send(put.clone());
    let delete = Mutation { operation: Operation::Delete, value: None, delay_ms: Some(2_000), ..bench.mutation("a") };
    bench.send(delete.clone());
    assert_eq!(bench.refused, [""; 0]);
    let records = bench.driver.take(FEED);
    let [record] = records.as_slice() else { panic!("one record: {records:?}") };
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"a"[..]), Some(&b"{}"[..])));
    assert_eq!(record.timestamp, Timestamp(BEGIN), "of when it was applied");
    let created = (BEGIN - 5).to_string();
    for (name, value) in [
        ("traceparent", "00-a-b-01"),
        ("headrace-namespace", "shop"),
        ("headrace-token", &put.token),
        ("headrace-created-at", &created),
        ("headrace-order", "customer"),
    ] {
        assert_eq!(record.headers.last(name), Some(value.as_bytes()), "{name}");
    }
    bench.pass(3 * SECOND);
    let records = bench.driver.take(FEED);
    let [record] = records.as_slice() else { panic!("one record: {records:?}") };
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"a"[..]), None), "a tombstone");
    assert!(record.timestamp.0 >= BEGIN + 2_000, "retention goes by when it was applied");
    assert_eq!(bench.ends(), [(put.token, State::Applied), (delete.token, State::Applied)]);
}

#[test]
fn w7_a_call_writes_nothing_and_what_was_not_done_is_no_record() {
    let mut bench = Bench::new(&feeding());
    bench.driver.holds_answers = true;
    let held = bench.put("a");
    assert!(bench.asked().is_empty() && tokens(&mut bench).is_empty(), "not before it is answered");
    bench.driver.holds_answers = false;
    bench.driver.settle().unwrap();
    assert_eq!(tokens(&mut bench), [held]);
    bench.fail("a");
    let (first, second, other) = (bench.put("a"), bench.put("a"), bench.put("b"));
    assert_eq!(tokens(&mut bench), [other], "another key is not held up");
    bench.mend("a");
    bench.pass(5 * SECOND);
    assert_eq!(tokens(&mut bench), [first, second], "in their order, each once");
    bench.world.lock().unwrap().refusing.insert("c".to_owned());
    bench.put("c");
    assert!(tokens(&mut bench).is_empty());
    assert_eq!(bench.exhausted().len(), 1);
}

#[test]
fn w7_the_same_token_again_is_no_record_and_other_targets_have_none() {
    let mut both = feeding();
    both.targets.push(target("cache"));
    let mut bench = Bench::new(&both);
    let mutation = bench.mutation("a");
    bench.send(mutation.clone());
    bench.send(mutation.clone());
    assert_eq!(tokens(&mut bench), [mutation.token]);
    assert_eq!(bench.applied().len(), 2, "each target was asked once");
}

#[test]
fn w7_where_it_was_asked_it_is_written_whatever_the_namespace_says_meanwhile() {
    let mut bench = Bench::new(&feeding());
    bench.driver.holds_answers = true;
    let asked = bench.put("a");
    bench.set(
        "shop",
        &Namespace { targets: vec![TargetSpec::new("feed", TargetKind::Topic, "elsewhere")], ..feeding() },
    );
    bench.driver.holds_answers = false;
    bench.driver.settle().unwrap();
    let next = bench.put("a");
    assert_eq!(tokens(&mut bench), [asked], "the other one was not asked whether it has room");
    assert_eq!(bench.driver.take("elsewhere").iter().map(token).collect::<Vec<_>>(), [next]);
}
