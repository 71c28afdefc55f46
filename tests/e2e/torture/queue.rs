//! Short forms of the proofs of the task queue. `make chaos TOPOLOGY=task-queue` is the long form.

use std::time::Duration;

use chaos::brokers::Cluster;
use chaos::queue::kills::{self, Wanted};
use chaos::queue::{long, naive, restarts};
use testbed::{Cache, Dirs, Registry};

use super::faults::alone;
use super::program;
use crate::support::{queues, transactions};

/// The shortest that the shared broker allows.
const LOCK: Duration = Duration::from_secs(1);

#[test]
fn kills_of_instances_and_a_broker_leave_each_task_its_one_result_and_the_naive_worker_loses_some() {
    let _alone = alone();
    let (cache, dirs) = (Cache::open().expect("cache"), Dirs::new().expect("dirs"));
    let registry = Registry::start(&cache, &dirs).expect("a registry");
    let cluster = Cluster::start_for_share_groups().expect("three brokers");
    let brokers = cluster.brokers();
    let control = naive::control(brokers, registry.url(), &program()).expect("the control arm runs");
    assert!(!control.is_clean(), "no kill has harmed it: the check proves nothing");
    let seed = std::env::var("HEADRACE_TORTURE_SEED")
        .map_or_else(|_| fastrand::u64(..u64::from(u32::MAX)), |seed| seed.parse().expect("a number"));
    let wanted = Wanted { seed, tasks: 800, kills: 8 };
    let outcome = kills::run(brokers, registry.url(), &wanted).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert!(outcome.findings.is_clean(), "seed {seed}: {:#?}", outcome.findings);
    assert!(outcome.broker_kills > 0, "seed {seed}: no broker was killed");
    assert_eq!(outcome.exits, 0, "seed {seed}: nobody ends but by a kill");
    transactions::none_open(&brokers.servers(), transactions::PATIENCE).expect("no transaction is left open");
}

#[test]
fn r16_rolling_restarts_of_instances_with_their_hands_full_burn_nothing() {
    let bed = queues();
    let (servers, registry) = (bed.kafka().unwrap().bootstrap_servers(), bed.registry().unwrap().url());
    let outcome = restarts::run(servers, registry, 10).expect("it runs");
    assert!(outcome.holds(), "{outcome:#?}");
    assert!(restarts::control(servers, registry, 10).expect("the control arm runs") > 0, "the check proves nothing");
}

#[test]
fn r13_tasks_of_ten_locks_length_are_called_once() {
    let bed = queues();
    let at = (bed.kafka().unwrap().bootstrap_servers(), bed.registry().unwrap().url());
    assert!(long::control(at, LOCK).expect("the control arm runs") > 1, "the check proves nothing");
    let outcome = long::run(at, 20, LOCK).expect("it runs");
    assert!(outcome.holds() && outcome.tasks == 20, "{outcome:#?}");
}
