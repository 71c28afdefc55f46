//! A few of each fault of the kit, with the checker of the long runs. `make chaos KILLS=100` is the long form.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chaos::brokers::{Brokers, Cluster};
use chaos::fault::Fault;
use chaos::kills::{self, CONTROL_KILLS, Outcome, Wanted};
use testbed::{Kafka, Testbed};

use super::program;
use crate::support::transactions;

/// Kept low: what is tested are the faults.
const RATE: u64 = 500;

/// One at a time: on two cores, what is measured against time-outs would meet them.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A broker of its own, which some of these kill.
fn bed() -> Testbed {
    let kafka = Kafka::builder().expect("builder").property("group.min.session.timeout.ms", "1000");
    Testbed::builder().kafka_with(kafka).start().expect("testbed")
}

fn run(plan: &[Fault]) -> Outcome {
    run_with(0, plan)
}

fn run_with(standbys: usize, plan: &[Fault]) -> Outcome {
    let _alone = alone();
    let bed = bed();
    run_on(Brokers::one(bed.kafka().expect("kafka")), standbys, plan)
}

fn run_on(brokers: Brokers<'_>, standbys: usize, plan: &[Fault]) -> Outcome {
    let seed = std::env::var("HEADRACE_TORTURE_SEED")
        .map_or_else(|_| fastrand::u64(..u64::from(u32::MAX)), |seed| seed.parse().expect("a number"));
    let wanted = Wanted { seed, plan: plan.to_vec(), rate: RATE, standbys, program: program() };
    let outcome = kills::run(brokers, &wanted).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let findings = &outcome.judgement.findings;
    assert!(findings.is_clean(), "seed {seed}: {findings:#?}");
    assert_eq!(outcome.quarantined, 0, "R-19, seed {seed}: something was set aside");
    outcome
}

#[test]
fn r17_r18_kills_of_three_instances_leave_everything_exact() {
    let outcome = run(&[Fault::Kill, Fault::KillTwice, Fault::KillForLong, Fault::Kill]);
    assert!(outcome.judgement.aborted > 0, "R-6: no kill met an open transaction, so this proved nothing");
    assert_eq!(outcome.exits, 0, "nobody ends but by a kill");
}

#[test]
fn r24_kills_and_stops_of_instances_with_copies_of_each_others_stores_leave_everything_exact() {
    let outcome = run_with(2, &[Fault::Kill, Fault::Stop, Fault::KillTwice, Fault::KillForLong]);
    assert_eq!(outcome.exits, 0, "nobody ends but by a kill");
}

#[test]
fn the_control_arm_of_the_kills_fails_the_same_check() {
    let _alone = alone();
    let bed = bed();
    let (findings, kills) =
        kills::control(Brokers::one(bed.kafka().expect("kafka")), &program(), 1).expect("the control arm runs");
    assert!(!findings.is_clean(), "{kills} of {CONTROL_KILLS} kills have not harmed it: the check proves nothing");
}

#[test]
fn r6_r14_stopped_instances_and_stepped_clocks_leave_everything_exact() {
    let outcome = run(&[Fault::Stop, Fault::ClockStep, Fault::Stop, Fault::ClockStep]);
    let counts = outcome.diary.counts();
    assert_eq!(["stop", "clock-step"].map(|fault| counts[fault]), [2, 2]);
}

#[test]
fn r17_a_full_disk_harms_nothing() {
    let outcome = run(&[Fault::FullDisk, Fault::Kill]);
    if outcome.diary.counts().contains_key("LEFT-OUT") {
        println!("NOT TESTED: no tmpfs can be mounted here");
    }
}

#[test]
fn r18_n8_three_brokers_of_which_each_is_killed_once_and_three_instances_leave_everything_exact() {
    let _alone = alone();
    let cluster = Cluster::start().expect("three brokers");
    let plan = [Fault::Broker, Fault::Kill, Fault::Broker, Fault::Stop, Fault::Broker];
    let outcome = run_on(cluster.brokers(), 0, &plan);
    assert_eq!(outcome.diary.counts()["broker-kill"], 3, "each leader and each coordinator has moved");
    assert_eq!(outcome.exits, 0, "nobody ends but by a kill");
    transactions::none_open(&cluster.brokers().servers(), transactions::PATIENCE).expect("no transaction is left open");
}
