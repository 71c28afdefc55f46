//! Several mutations that are applied together or not at all.

use std::time::Duration;

use proptest::prelude::*;
use write_ahead_log::group::{End, GroupRecord, Phase, Staged, checksum, whole};
use write_ahead_log::mutation::Mutation;
use write_ahead_log::namespace::OnExhausted;

use super::support::{BEGIN, Bench, namespace, target};

const SECOND: Duration = Duration::from_secs(1);
/// What the default configuration waits for the rest of a group.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

fn operation(bench: &Bench, sequence: i64, key: &str) -> Staged {
    let mutation = Mutation { target: Some("cache".to_owned()), ..bench.mutation(key) };
    Staged { sequence, checksum: checksum(&mutation), mutation }
}

fn staged(operation: Staged) -> GroupRecord {
    GroupRecord { operation: Some(operation), ..GroupRecord::default() }
}

fn end(operations: &[Staged]) -> GroupRecord {
    let count = i64::try_from(operations.len()).unwrap();
    let checksum = whole(operations.iter().map(|operation| operation.checksum));
    GroupRecord { end: Some(End { operations: count, checksum, not_before: None }), ..GroupRecord::default() }
}

fn abort() -> GroupRecord {
    GroupRecord { abort: true, ..GroupRecord::default() }
}

/// Those of these keys, in this sequence.
fn of(bench: &Bench, keys: &[&str]) -> Vec<Staged> {
    let places = keys.iter().enumerate();
    places.map(|(at, key)| operation(bench, i64::try_from(at).unwrap(), key)).collect()
}

fn tokens(sequences: &[i64]) -> Vec<String> {
    sequences.iter().map(|sequence| format!("g#{sequence}")).collect()
}

/// How it has ended, and why.
fn ended(bench: &mut Bench) -> Vec<(Phase, i64, Option<String>)> {
    let results = bench.group_results().into_iter();
    results.map(|result| (result.phase, result.given_up, result.reason)).collect()
}

/// Why it was aborted, which is how it has ended.
#[track_caller]
fn aborted(bench: &mut Bench) -> String {
    match ended(bench).as_slice() {
        [(Phase::Aborted, 0, Some(reason))] => reason.clone(),
        results => panic!("{results:?}"),
    }
}

#[test]
fn w12_nothing_is_applied_before_all_are_there_and_then_all_are_in_their_sequence() {
    let mut bench = Bench::new(&namespace());
    let operations = of(&bench, &["a", "b", "b", "a"]);
    for operation in [3, 0, 2] {
        bench.group(staged(operations[operation].clone()));
    }
    bench.group(end(&operations));
    bench.carry_on();
    bench.pass(60 * SECOND);
    assert!(bench.asked().is_empty(), "one is missing");
    bench.restart();
    bench.group(staged(operations[1].clone()));
    bench.carry_on();
    assert_eq!(bench.applied(), tokens(&[0, 1, 2, 3]));
    assert_eq!(ended(&mut bench), [(Phase::Done, 0, None)]);
    assert!(bench.keys("staged").is_empty());
    // Sent again it is the same group.
    assert_eq!(bench.asked().len(), 4);
    operations.iter().for_each(|operation| bench.group(staged(operation.clone())));
    bench.group(end(&operations));
    bench.carry_on();
    assert!(bench.asked().is_empty() && bench.group_results().is_empty());
    bench.pass(SECOND);
    assert_eq!(bench.keys("groups").len(), 1);
}

#[test]
fn w12_each_operation_waits_for_the_one_before_wherever_that_is_parked() {
    let mut namespace = namespace();
    namespace.targets.push(target("table"));
    let mut bench = Bench::new(&namespace);
    let mut operations = of(&bench, &["a", "b", "c"]);
    // To all targets.
    operations[1].mutation.target = None;
    operations[1].checksum = checksum(&operations[1].mutation);
    bench.fail("b");
    operations.iter().for_each(|operation| bench.group(staged(operation.clone())));
    bench.group(end(&operations));
    bench.carry_on();
    let other = bench.put("c");
    assert_eq!(bench.applied(), [tokens(&[0]), vec![other.clone(), other]].concat(), "nobody else waits for the group");
    bench.mend("b");
    bench.restart();
    bench.pass(2 * SECOND);
    bench.carry_on();
    assert_eq!(bench.applied(), tokens(&[1, 1, 2]));
    assert_eq!(ended(&mut bench), [(Phase::Done, 0, None)]);
}

#[test]
fn w12_one_that_is_not_complete_in_time_is_aborted_and_stays_so() {
    let mut bench = Bench::new(&namespace());
    let operations = of(&bench, &["a", "b"]);
    bench.group(staged(operations[0].clone()));
    bench.group(end(&operations));
    bench.driver.advance_wall_clock(PATIENCE + SECOND).unwrap();
    let reason = aborted(&mut bench);
    assert!(reason.contains("not complete within 10m: 1 operations have come, of 2"), "{reason}");
    bench.group(staged(operations[1].clone()));
    bench.carry_on();
    assert!(bench.asked().is_empty() && bench.keys("staged").is_empty());
    bench.driver.advance_wall_clock(Duration::from_secs(24 * 60 * 60 + 1)).unwrap();
    assert!(bench.keys("groups").is_empty(), "it is forgotten");
}

#[test]
fn w12_one_that_is_to_come_later_can_be_taken_back_until_then() {
    for is_taken_back in [false, true] {
        let mut bench = Bench::new(&namespace());
        let operations = of(&bench, &["a", "b"]);
        let mut end = end(&operations);
        end.end.as_mut().unwrap().not_before = Some(bench.driver.clock.now().0 + 5_000);
        operations.iter().for_each(|operation| bench.group(staged(operation.clone())));
        bench.group(end);
        bench.pass(5 * SECOND - Duration::from_millis(10));
        bench.carry_on();
        assert!(bench.asked().is_empty(), "its time has not come");
        if is_taken_back {
            bench.group(abort());
        }
        bench.pass(SECOND);
        bench.carry_on();
        // Now it is too late.
        bench.group(abort());
        let expected = if is_taken_back { vec![] } else { tokens(&[0, 1]) };
        assert_eq!(bench.applied(), expected);
        let phase = if is_taken_back { Phase::Aborted } else { Phase::Done };
        assert_eq!(ended(&mut bench).iter().map(|(phase, ..)| *phase).collect::<Vec<_>>(), [phase]);
    }
}

#[test]
fn w13_what_is_damaged_or_of_another_number_aborts_the_group() {
    type Damage = fn(&mut Vec<Staged>, &mut End);
    let damages: [(Damage, &str); 8] = [
        (|operations, _| operations[1].mutation.value = Some(b"x".to_vec()), "operation 1: its checksum"),
        (|operations, _| operations[1].sequence = -1, "operation -1: its place"),
        (|operations, _| operations[1].sequence = 7, "operation 1 is missing"),
        (|_, end| end.checksum += 1, "checksum is not that of its operations"),
        (|_, end| end.operations = 1, "2 operations have come, of 1"),
        (|_, end| end.operations = 0, "it is to have 0 operations"),
        (
            |operations, _| {
                operations[1].mutation.target = Some("nowhere".to_owned());
                operations[1].checksum = checksum(&operations[1].mutation);
            },
            "operation 1: target: nowhere is none of",
        ),
        (
            |operations, _| {
                operations[1].mutation.key = String::new();
                operations[1].checksum = checksum(&operations[1].mutation);
            },
            "operation 1: key: is empty",
        ),
    ];
    for (damage, expected) in damages {
        let mut bench = Bench::new(&namespace());
        let mut operations = of(&bench, &["a", "b"]);
        let mut record = end(&operations);
        damage(&mut operations, record.end.as_mut().unwrap());
        operations.into_iter().for_each(|operation| bench.group(staged(operation)));
        bench.group(record);
        bench.carry_on();
        let reason = aborted(&mut bench);
        assert!(reason.contains(expected), "{reason}");
        assert!(bench.asked().is_empty() && bench.keys("staged").is_empty());
    }
}

#[test]
fn w13_an_operation_that_comes_twice_is_the_same_or_aborts_the_group() {
    let mut bench = Bench::new(&namespace());
    let operations = of(&bench, &["a", "b"]);
    bench.group(staged(operations[0].clone()));
    bench.group(staged(Staged {
        mutation: Mutation { created_at: BEGIN - 5_000, ..operations[0].mutation.clone() },
        ..operations[0].clone()
    }));
    assert!(bench.group_results().is_empty(), "who sends it again may not know when it was made");
    bench.group(staged(operation(&bench, 0, "c")));
    let reason = aborted(&mut bench);
    assert!(reason.contains("operation 0: has come twice"), "{reason}");
}

#[test]
fn w10_an_operation_that_is_given_up_is_told_or_halts_its_group() {
    for (policy, ends) in [(OnExhausted::Skip, true), (OnExhausted::Halt, false)] {
        let mut namespace = namespace();
        namespace.on_exhausted = policy;
        let mut bench = Bench::new(&namespace);
        bench.world.lock().unwrap().refusing.insert("a".to_owned());
        let operations = of(&bench, &["a", "b"]);
        operations.iter().for_each(|operation| bench.group(staged(operation.clone())));
        bench.group(end(&operations));
        bench.carry_on();
        bench.pass(SECOND);
        let (expected, applied) = if ends { (vec![(Phase::Done, 1, None)], tokens(&[1])) } else { (vec![], vec![]) };
        assert_eq!((ended(&mut bench), bench.applied()), (expected, applied));
    }
}

#[test]
fn a_group_of_no_namespace_is_a_dead_letter() {
    let mut bench = Bench::new(&namespace());
    bench.group(GroupRecord::default());
    assert!(bench.group_results().is_empty() && bench.keys("groups").is_empty());
    let letters = bench.driver.take("write-ahead-log.dead-letters");
    assert_eq!(letters.len(), 1, "a record that says nothing");
}

#[derive(Debug, Clone)]
enum Op {
    Stage(usize),
    End,
    Abort,
    Carry(usize),
    Pass(u64),
    Fail(usize),
    Mend(usize),
    Other(usize),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..6usize).prop_map(Op::Stage),
        3 => Just(Op::End),
        1 => Just(Op::Abort),
        6 => (1..6usize).prop_map(Op::Carry),
        2 => (1..200u64).prop_map(Op::Pass),
        2 => (0..3usize).prop_map(Op::Fail),
        2 => (0..3usize).prop_map(Op::Mend),
        2 => (0..3usize).prop_map(Op::Other),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever comes, in whatever order and however often: all operations are applied once and in their sequence, or none is; it ends
    /// once, and says which.
    #[test]
    fn w12_all_of_a_group_is_applied_in_its_sequence_or_nothing(ops in prop::collection::vec(op(), 1..80)) {
        let mut namespace = namespace();
        namespace.retry.max_attempts = 1_000_000;
        namespace.retry.longest_backoff_ms = 2_000;
        let mut bench = Bench::new(&namespace);
        let operations = of(&bench, &["k0", "k1", "k1", "k2", "k0", "k0"]);
        for op in ops {
            match op {
                Op::Stage(at) => bench.group(staged(operations[at].clone())),
                Op::End => bench.group(end(&operations)),
                Op::Abort => bench.group(abort()),
                Op::Carry(count) => (0..count).for_each(|_| _ = bench.carry_one()),
                Op::Pass(ticks) => bench.pass(Duration::from_millis(10 * ticks)),
                Op::Fail(key) => bench.fail(&format!("k{key}")),
                Op::Mend(key) => bench.mend(&format!("k{key}")),
                Op::Other(key) => _ = bench.put(&format!("k{key}")),
                Op::Restart => bench.restart(),
            }
        }
        (0..3).for_each(|key| bench.mend(&format!("k{key}")));
        for _ in 0..20 {
            bench.carry_on();
            bench.pass(SECOND);
        }
        bench.driver.advance_wall_clock(PATIENCE).unwrap();
        let applied: Vec<String> = bench.applied().into_iter().filter(|token| token.starts_with("g#")).collect();
        let results = ended(&mut bench);
        match results.as_slice() {
            [(Phase::Done, 0, None)] => prop_assert_eq!(applied, tokens(&[0, 1, 2, 3, 4, 5])),
            [(Phase::Aborted, 0, Some(_))] => prop_assert!(applied.is_empty(), "{:?}", applied),
            // Nobody has begun it.
            [] => prop_assert!(applied.is_empty() && bench.keys("groups").is_empty()),
            results => prop_assert!(false, "{:?}", results),
        }
        prop_assert!(bench.keys("staged").is_empty());
    }
}
