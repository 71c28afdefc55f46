//! Which mutations are taken, known again, and taken back; and whatever happens to many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use write_ahead_log::entry::{Action, State};
use write_ahead_log::mutation::Mutation;

use super::support::{BEGIN, Bench, namespace};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn w2_the_same_token_again_is_the_same_mutation() {
    let mut namespace = namespace();
    namespace.dedup_window_ms = 60_000;
    let mut bench = Bench::new(&namespace);
    let mutation = bench.mutation("a");
    bench.send(mutation.clone());
    bench.send(mutation.clone());
    assert_eq!(bench.applied().len(), 1);
    assert_eq!(bench.ends().len(), 1);
    assert_eq!(bench.driver.counted("log", "repeated"), 1);
    bench.restart();
    bench.send(mutation.clone());
    assert!(bench.asked().len() == 1 && bench.applied().is_empty());
    // One that waits is known, too.
    bench.fail("b");
    let waits = bench.mutation("b");
    bench.send(waits.clone());
    bench.send(waits);
    bench.mend("b");
    bench.pass(10 * SECOND);
    assert_eq!(bench.applied().len(), 1);
    bench.pass(60 * SECOND);
    assert!(bench.keys("entries").is_empty(), "nobody is remembered for longer than the window");
}

#[test]
fn w3_a_mutation_too_far_from_the_logs_clock_is_rejected() {
    let mut namespace = namespace();
    namespace.drift_limit_ms = 10_000;
    let mut bench = Bench::new(&namespace);
    for (created, state) in [(-10_001, State::Rejected), (-9_999, State::Applied), (10_001, State::Rejected)] {
        let mutation = Mutation { created_at: BEGIN + created, ..bench.mutation("a") };
        let token = bench.send(mutation);
        assert!(bench.ends().contains(&(token, state)) || created > 0, "{created}");
    }
    assert_eq!(bench.applied().len(), 1);
}

#[test]
fn w6_one_that_waits_can_be_taken_back_and_one_that_was_applied_can_not() {
    let mut bench = Bench::new(&namespace());
    let delayed = Mutation { delay_ms: Some(5_000), ..bench.mutation("d") };
    let (applied, parked) = (bench.mutation("x"), bench.mutation("a"));
    bench.send(delayed.clone());
    bench.send(applied.clone());
    bench.fail("a");
    bench.send(parked.clone());
    let behind = bench.put("a");
    assert_eq!(bench.ends(), [(applied.token.clone(), State::Applied)]);
    bench.applied();
    for mutation in [&delayed, &applied, &parked] {
        bench.command(mutation, Action::Cancel);
    }
    let cancelled = [(delayed.token, State::Cancelled), (parked.token, State::Cancelled)];
    assert_eq!(bench.ends(), cancelled);
    bench.mend("a");
    bench.pass(60 * SECOND);
    assert_eq!(bench.applied(), [behind], "who was behind it goes on, and what was taken back is never applied");
}

#[test]
fn what_is_of_no_namespace_or_of_no_target_is_a_dead_letter_that_says_so() {
    let mut bench = Bench::new(&namespace());
    let stray = Mutation { namespace: "nowhere".to_owned(), ..bench.mutation("a") };
    let astray = Mutation { target: Some("nowhere".to_owned()), ..bench.mutation("a") };
    bench.send(stray);
    bench.send(astray);
    assert!(bench.asked().is_empty());
    assert_eq!(bench.driver.take("write-ahead-log.dead-letters").len(), 2);
    let [namespace, target] = bench.refused.as_slice() else { panic!("both say why: {:?}", bench.refused) };
    assert!(namespace.contains("namespace nowhere is not known"), "{namespace}");
    assert!(target.contains("nowhere is none of") && target.contains("cache"), "{target}");
}

#[derive(Debug, Clone)]
enum Op {
    Put(usize),
    Delayed(usize, i64),
    Fail(usize),
    Mend(usize),
    Pass(u64),
    Cancel(usize),
    Restart,
    /// So many calls that wait are answered.
    Answer(usize),
    /// All are, and the transaction is committed.
    Settle,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..4usize;
    prop_oneof![
        6 => key.clone().prop_map(Op::Put),
        2 => (key.clone(), 0..3_000i64).prop_map(|(key, delay)| Op::Delayed(key, delay)),
        2 => key.clone().prop_map(Op::Fail),
        2 => key.prop_map(Op::Mend),
        3 => (1..150u64).prop_map(Op::Pass),
        1 => (0..40usize).prop_map(Op::Cancel),
        1 => Just(Op::Restart),
        3 => (1..8usize).prop_map(Op::Answer),
        1 => Just(Op::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Nothing is lost, nothing applied twice, nothing early, each key in the order in which its mutations were due; and in the
    /// end nobody stands in line, and no clock is left.
    #[test]
    fn m8_whatever_fails_and_whoever_comes_each_key_is_applied_in_its_order(
        ops in prop::collection::vec(op(), 1..80),
        at_once in any::<bool>(),
    ) {
        let mut namespace = namespace();
        namespace.retry.max_attempts = 1_000_000;
        namespace.retry.longest_backoff_ms = 2_000;
        let mut bench = Bench::new(&namespace);
        bench.driver.holds_answers = !at_once;
        let mut sent: Vec<(i64, Mutation)> = Vec::new();
        let mut cancelled = BTreeSet::new();
        for op in ops {
            match op {
                Op::Put(key) | Op::Delayed(key, _) => {
                    let delay_ms = if let Op::Delayed(_, delay) = op { Some(delay) } else { None };
                    let mutation = Mutation { delay_ms, ..bench.mutation(&format!("k{key}")) };
                    let now = bench.driver.clock.now().0;
                    bench.send(mutation.clone());
                    sent.push((now + delay_ms.unwrap_or(0), mutation));
                }
                Op::Fail(key) => bench.fail(&format!("k{key}")),
                Op::Mend(key) => bench.mend(&format!("k{key}")),
                Op::Pass(ticks) => bench.pass(Duration::from_millis(10 * ticks)),
                Op::Cancel(at) => {
                    let Some((_, mutation)) = sent.get(at).cloned() else { continue };
                    bench.command(&mutation, Action::Cancel);
                }
                Op::Restart => {
                    bench.driver.settle().unwrap();
                    bench.restart();
                }
                Op::Answer(count) => (0..count).for_each(|_| _ = bench.driver.settle_next().unwrap()),
                Op::Settle => bench.driver.settle().unwrap(),
            }
            for result in bench.results() {
                if result.state == State::Cancelled {
                    cancelled.insert(result.token);
                }
            }
        }
        bench.driver.settle().unwrap();
        bench.driver.holds_answers = false;
        for result in bench.results() {
            if result.state == State::Cancelled {
                cancelled.insert(result.token);
            }
        }
        (0..4).for_each(|key| bench.mend(&format!("k{key}")));
        bench.pass(10 * SECOND);
        let mut applied: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let all = std::mem::take(&mut bench.world.lock().unwrap().applied);
        all.into_iter().for_each(|(_, key, token)| applied.entry(key).or_default().push(token));
        // Those that are due at the same time come as they came.
        sent.sort_by_key(|(due, _)| *due);
        for key in (0..4).map(|key| format!("k{key}")) {
            let own = sent.iter().filter(|(_, mutation)| mutation.key == key);
            let expected: Vec<String> =
                own.map(|(_, mutation)| mutation.token.clone()).filter(|token| !cancelled.contains(token)).collect();
            prop_assert_eq!(applied.remove(&key).unwrap_or_default(), expected);
        }
        prop_assert!(bench.keys("clocks").is_empty());
        prop_assert_eq!(bench.keys("lines").iter().filter(|key| *key != b"next").count(), 0);
    }
}
