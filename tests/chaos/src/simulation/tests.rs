//! The short form of the simulation, part of every test run; `make chaos SEEDS=2000` is the long one.

use super::*;

/// Seeds of a test run; `HEADRACE_SIMULATION_SEED` begins elsewhere.
const SEEDS: u64 = 40;
/// Those of them that are run twice, beside all the others and whatever else the machine does.
const TWICE: u64 = 10;

fn first() -> u64 {
    std::env::var("HEADRACE_SIMULATION_SEED").map_or(1, |seed| seed.parse().expect("a number"))
}

#[test]
fn r17_r18_n5_n7_the_loop_is_exact_in_every_seed() {
    let wanted = Wanted { first: first(), seeds: SEEDS, arm: Arm::Ours };
    let runs = many(wanted, |_, _| ()).expect("they end");
    let findings = &runs.judgement.findings;
    assert!(findings.is_clean(), "seeds {:?}: {findings:#?}", runs.failed);
    assert!(runs.handovers > 0, "n4: what is asked back was given up at once in every seed");
    assert!(runs.judgement.aborted > 0 && runs.judgement.records > 0, "nothing was aborted: this has proven nothing");
    for fault in ["kill", "kill-all", "stop", "deaf", "restart", "rebalance", "coordinators-away", "leader-away"] {
        assert!(runs.faults.contains_key(fault), "{fault}: {:?}", runs.faults);
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    let wanted = Wanted { first: first(), seeds: TWICE, arm: Arm::Ours };
    let different = each_twice(wanted).expect("they end");
    let shown: Vec<String> = different.iter().map(Difference::to_string).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
}

fn caught(arm: Arm) {
    let (seed, judgement) = control(arm, first()).expect("they end").unwrap_or_else(|| panic!("{arm} was not caught"));
    println!("{arm}: {} findings at seed {seed}", judgement.findings.total());
}

#[test]
fn n4_the_generation_of_nobody_is_caught() {
    caught(Arm::AnyGeneration);
}

#[test]
fn n4_a_broker_that_looks_at_no_generation_is_caught() {
    caught(Arm::NoFence);
}

#[test]
fn n2_a_transaction_with_the_epoch_of_the_one_before_is_caught() {
    caught(Arm::SameEpoch);
}

#[test]
fn r17_an_outcome_that_is_told_before_it_is_known_is_caught() {
    caught(Arm::EarlyOutcome);
}

#[test]
fn r7_positions_that_are_one_too_far_are_caught() {
    caught(Arm::OneTooFar);
}
