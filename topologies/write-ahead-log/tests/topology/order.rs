//! In which order mutations are applied, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use write_ahead_log::entry::State;
use write_ahead_log::mutation::Mutation;
use write_ahead_log::namespace::OnExhausted;

use super::support::{BEGIN, Bench, namespace, target};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_mutation_is_applied_at_once_at_all_targets() {
    let mut namespace = namespace();
    namespace.targets.push(target("table"));
    let mut bench = Bench::new(&namespace);
    let token = bench.put("a");
    assert_eq!(bench.refused, [""; 0]);
    assert_eq!(bench.applied(), [token.clone(), token.clone()]);
    let results = bench.results();
    let ended: Vec<_> = results.iter().map(|result| (result.target.as_str(), result.state, result.attempts)).collect();
    assert_eq!(ended, [("cache", State::Applied, 1), ("table", State::Applied, 1)]);
    let mut one = bench.mutation("b");
    one.target = Some("table".to_owned());
    bench.send(one);
    assert_eq!(bench.world.lock().unwrap().applied.last().unwrap().0, "table");
}

#[test]
fn m8_one_that_fails_is_parked_with_those_behind_it_and_all_others_go_on() {
    let mut bench = Bench::new(&namespace());
    bench.world.lock().unwrap().failing.insert("a".to_owned(), Some(SECOND));
    let first = bench.put("a");
    let (second, other) = (bench.put("a"), bench.put("b"));
    assert_eq!(bench.applied(), [other], "another key is not held up");
    assert_eq!(bench.asked(), [("a".to_owned(), 1), ("b".to_owned(), 1)], "who is behind it is not asked");
    bench.mend("a");
    bench.pass(SECOND / 2);
    assert!(bench.asked().is_empty(), "its back-off is not over");
    let third = bench.put("a");
    bench.pass(SECOND);
    assert_eq!(bench.applied(), [first, second, third]);
    assert_eq!(bench.keys("clocks").len(), 0);
    assert!(bench.keys("lines").is_empty(), "nobody is in line any more");
}

#[test]
fn m8_a_parked_line_survives_a_restart() {
    let mut bench = Bench::new(&namespace());
    bench.fail("a");
    let tokens = [bench.put("a"), bench.put("a"), bench.put("a")];
    bench.restart();
    bench.mend("a");
    let last = bench.put("a");
    assert!(bench.applied().is_empty());
    bench.pass(2 * SECOND);
    assert_eq!(bench.applied(), [&tokens[..], &[last]].concat());
}

#[test]
fn m8_a_long_line_goes_on_in_its_order() {
    let mut bench = Bench::new(&namespace());
    bench.fail("a");
    let tokens: Vec<String> = (0..200).map(|_| bench.put("a")).collect();
    bench.mend("a");
    bench.pass(2 * SECOND);
    assert_eq!(bench.applied(), tokens);
}

#[test]
fn w5_a_mutation_is_never_applied_before_its_time() {
    let mut bench = Bench::new(&namespace());
    let delayed = Mutation { delay_ms: Some(1_000), ..bench.mutation("a") };
    let delayed = bench.send(delayed);
    bench.pass(SECOND - Duration::from_millis(10));
    assert!(bench.applied().is_empty());
    bench.pass(Duration::from_millis(20));
    assert_eq!(bench.applied(), [delayed]);
}

#[test]
fn w5_a_clock_that_is_set_back_makes_nothing_early() {
    let mut bench = Bench::new(&namespace());
    let delayed = Mutation { not_before: Some(BEGIN + 1_000), ..bench.mutation("a") };
    let delayed = bench.send(delayed);
    bench.driver.clock = headrace::testing::ManualClock::at(headrace::record::Timestamp(BEGIN - 60_000));
    bench.restart();
    bench.pass(60 * SECOND);
    assert!(bench.applied().is_empty());
    bench.pass(2 * SECOND);
    assert_eq!(bench.applied(), [delayed]);
}

#[test]
fn w4_a_delay_changes_the_order_to_that_of_when_they_are_due() {
    let mut bench = Bench::new(&namespace());
    let at = |bench: &Bench, ms| Mutation { not_before: Some(BEGIN + ms), ..bench.mutation("a") };
    let (late, soon, also_soon) = (at(&bench, 300), at(&bench, 100), at(&bench, 100));
    let late = bench.send(late);
    let soon = bench.send(Mutation { token: "z".to_owned(), ..soon });
    let also = bench.send(Mutation { token: "a".to_owned(), ..also_soon });
    let now = bench.put("a");
    assert_eq!(bench.applied(), [now]);
    // Between two ticks: what is due by now comes before what comes now.
    bench.driver.clock.advance(Duration::from_millis(105));
    let then = bench.put("a");
    assert_eq!(bench.applied(), [soon, also, then]);
    bench.pass(SECOND);
    assert_eq!(bench.applied(), [late]);
}

#[test]
fn a_jitter_delays_and_is_the_same_again() {
    let mut namespace = namespace();
    namespace.jitter_ms = 1_000;
    let spread = || {
        let mut bench = Bench::new(&namespace);
        let tokens: Vec<String> = (0..50).map(|number| bench.put(&format!("k{number}"))).collect();
        let at_once = bench.applied().len();
        assert!(at_once < 10, "{at_once} of 50 at once");
        bench.pass(SECOND + Duration::from_millis(10));
        let applied = bench.applied();
        assert_eq!(applied.len() + at_once, tokens.len());
        applied
    };
    assert_eq!(spread(), spread());
}

#[test]
fn w10_one_that_is_given_up_lets_those_behind_it_go_or_halts_them() {
    for (policy, goes_on) in [(OnExhausted::Skip, true), (OnExhausted::Halt, false)] {
        let mut namespace = namespace();
        namespace.on_exhausted = policy;
        let mut bench = Bench::new(&namespace);
        bench.world.lock().unwrap().refusing.insert("bad".to_owned());
        let ordered = |bench: &Bench, key: &str| Mutation { order: Some("o".to_owned()), ..bench.mutation(key) };
        let (bad, good) = (ordered(&bench, "bad"), ordered(&bench, "good"));
        bench.send(bad.clone());
        let good = bench.send(good);
        bench.pass(SECOND);
        assert_eq!(bench.applied().contains(&good), goes_on, "{policy:?}");
        if !goes_on {
            bench.world.lock().unwrap().refusing.clear();
            bench.pass(10 * SECOND);
            assert!(bench.applied().is_empty(), "nobody has said that it may go on");
            bench.command(&bad, write_ahead_log::entry::Action::Retry);
            bench.pass(SECOND);
            assert_eq!(bench.applied(), [bad.token, good]);
        }
    }
}

/// A transaction that is aborted is done again, at another time and with other ticks between. What a target has of the first time keeps
/// out what is lower, and lets in what is higher.
#[test]
fn w8_a_mutation_has_the_same_number_however_often_and_late_it_is_worked_out() {
    let mut bench = Bench::new(&namespace());
    let mut random = fastrand::Rng::with_seed(11);
    bench.fail("k2");
    for _ in 0..300 {
        let key = format!("k{}", random.u32(0..5));
        let delay_ms = random.bool().then(|| random.i64(0..400));
        bench.send(Mutation { delay_ms, ..bench.mutation(&key) });
        bench.driver.clock.advance(Duration::from_millis(random.u64(0..9)));
        if random.u32(0..10) == 0 {
            bench.pass(Duration::from_millis(10 * random.u64(0..9)));
        }
        if random.u32(0..40) == 0 {
            bench.restart();
        }
    }
    bench.mend("k2");
    bench.pass(10 * SECOND);
    let numbers = |bench: &mut Bench| -> BTreeMap<String, Option<i64>> {
        bench.results().into_iter().map(|result| (result.token, result.number)).collect()
    };
    let (first, came) = (numbers(&mut bench), bench.came());
    assert_eq!(first.len(), 300);

    let mut again = Bench::new(&namespace());
    again.driver.clock.advance(3 * SECOND);
    for (at, record) in came.iter().enumerate() {
        again.comes(record);
        if at % 7 == 0 {
            again.driver.advance_wall_clock(Duration::from_millis(10)).unwrap();
        }
        if at % 50 == 0 {
            again.restart();
        }
    }
    again.pass(10 * SECOND);
    assert_eq!(numbers(&mut again), first);
}
