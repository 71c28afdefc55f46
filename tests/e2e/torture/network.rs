//! Exactness on a network that delays, cuts, loses, refuses and reorders requests, by a seed.
//!
//! Three schedules are part of every test run; `make chaos SCHEDULES=200` runs more, and `HEADRACE_TORTURE_SEED` starts at
//! another seed, to see a failure again.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use chaos::schedules::Network;

use crate::support::transactions;

const SCHEDULES: u64 = 3;

/// One at a time: a seed means the same only if nobody else connects.
fn network() -> MutexGuard<'static, Network> {
    static NETWORK: OnceLock<Mutex<Network>> = OnceLock::new();
    let start = || {
        let network = Network::start().expect("a broker behind a proxy");
        transactions::watch(&network.address(), transactions::PATIENCE);
        Mutex::new(network)
    };
    NETWORK.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn r11_a_network_that_delays_cuts_refuses_and_reorders_leaves_everything_exact() {
    let network = network();
    let first = std::env::var("HEADRACE_TORTURE_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut all = 0;
    for seed in first..first + SCHEDULES {
        let outcome = network.schedule(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let faults: u64 = outcome.faults.values().sum();
        println!("seed {seed}: {:?} in {} requests", outcome.faults, outcome.requests);
        all += faults;
        let findings = outcome.judgement.findings;
        assert!(findings.is_clean(), "seed {seed}, {faults} faults: {findings:#?}");
    }
    assert!(all >= 3 * SCHEDULES, "only {all} faults");
}

#[test]
fn the_control_arm_is_torn_by_the_same_network() {
    let (findings, schedules) = network().control(1).expect("the control arm runs");
    assert!(!findings.is_clean(), "{schedules} schedules have not torn it: the faults are too mild");
}
