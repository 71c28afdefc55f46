//! Warm copies of other instances' stores (rule R-24): promoted where the group moves their tasks, exact whatever happens.

use std::path::Path;
use std::time::Duration;

use headrace::telemetry::TaskState;
use headrace::topology::Topology;
use testbed::wait;

use super::super::child::Process;
use super::super::serving::Serving;
use super::super::support::{Bench, PATIENCE, broker};

const KEYS: u64 = 200;
/// What is in the stores when the instance is killed, and what it is at work on then.
const BEFORE: u64 = 40_000;
const BURST: u64 = 2_000;

fn bench(kafka: &testbed::Kafka, name: &str) -> Bench {
    let bench = Bench::new(kafka, name);
    bench.create(&Topology::instances_topic(&bench.application), 1);
    bench
}

fn serving(bench: &Bench, instance: &str, directory: &Path, standbys: usize) -> Serving {
    let mut options = bench.options(instance, directory);
    options.standbys = standbys;
    Serving::start(bench, bench.topology(Duration::ZERO, true), options)
}

/// Waits until so many tasks run here, and so many are copies.
fn wait_tasks(serving: &Serving, running: usize, copies: usize) {
    wait::until("the tasks", PATIENCE, || {
        let tasks = serving.running.telemetry.health.tasks();
        let count = |state| tasks.iter().filter(|view| view.state == state).count();
        match (count(TaskState::Running), count(TaskState::Standby)) {
            found if found == (running, copies) => Ok(()),
            found => Err(format!("{found:?}, wanted {:?}", (running, copies))),
        }
    })
    .expect("tasks");
}

/// Changelog records that were restored, and those that copies have read.
fn read(serving: &Serving) -> (f64, f64) {
    let metric = |name| serving.running.metric(name);
    (metric("headrace_restore_records_total"), metric("headrace_standby_records_total"))
}

/// Kills one of two instances at work; gives how many records the other has had to read to take over, and how many there were.
fn taken_over(name: &str, standbys: usize) -> (f64, f64) {
    let (kafka, _guard) = broker();
    let bench = bench(kafka, name);
    let (left, right) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    bench.produce(0..BEFORE, KEYS);
    let killed = Process::with_standbys(&bench, "left", left.path(), standbys);
    bench.wait_drained();
    let heir = serving(&bench, "right", right.path(), standbys);
    // The other's copies are of the tasks that the heir has: one each.
    wait_tasks(&heir, 2, 2 * standbys);
    let logged = bench.read(&bench.changelog()).len() as f64;
    let wanted = if standbys > 0 { logged } else { logged / 3.0 };
    wait::until("its stores and copies", PATIENCE, || match read(&heir) {
        (restored, followed) if restored + followed >= wanted => Ok(()),
        found => Err(format!("{found:?} of {logged}")),
    })
    .expect("copies");
    let (before, _) = read(&heir);
    bench.produce(BEFORE..BEFORE + BURST, KEYS);
    killed.kill();
    wait_tasks(&heir, 4, 0);
    bench.produce(BEFORE + BURST..BEFORE + 2 * BURST, KEYS);
    bench.wait_drained();
    let (after, _) = read(&heir);
    heir.stop().expect("stopped");
    assert_eq!(bench.violations(BEFORE + 2 * BURST, KEYS), Vec::<String>::new());
    assert_eq!(bench.stored(right.path(), KEYS), bench.folded());
    (after - before, logged - before)
}

#[test]
fn r24_a_copy_is_promoted_after_a_kill_and_what_it_holds_is_not_read_again() {
    let (read, there) = taken_over("standby", 1);
    assert!(there >= BEFORE as f64 / 4.0, "{there}");
    assert!(read <= BURST as f64, "{read} records of {there} were read again");
}

/// The control arm: without a copy all of it is read.
#[test]
fn r24_without_a_copy_the_changelog_is_read_from_its_beginning() {
    let (read, there) = taken_over("no-standby", 0);
    assert!(read >= there && there >= BEFORE as f64 / 4.0, "{read} records of {there}");
}

#[test]
fn r24_tasks_that_come_and_go_among_three_instances_with_copies_stay_exact() {
    let (kafka, _guard) = broker();
    let bench = bench(kafka, "standby-moves");
    let directories = [(); 3].map(|()| tempfile::tempdir().expect("directory"));
    let start = |number: usize| serving(&bench, &format!("i-{number}"), directories[number].path(), 2);
    let mut produced = 0;
    let mut produce = || {
        bench.produce(produced..produced + 10_000, KEYS);
        produced += 10_000;
        produced
    };
    let first = start(0);
    produce();
    wait_tasks(&first, 4, 0);
    let second = start(1);
    produce();
    wait_tasks(&first, 2, 2);
    wait_tasks(&second, 2, 2);
    let third = start(2);
    produce();
    // Who has two of the four and who one is the assignor's choice; of what it has not, each has a copy.
    for instance in [&first, &second, &third] {
        wait::until("its copies", PATIENCE, || {
            let tasks = instance.running.telemetry.health.tasks();
            let count = |state| tasks.iter().filter(|view| view.state == state).count();
            match (count(TaskState::Running), count(TaskState::Standby)) {
                (1 | 2, copies) if tasks.len() == 4 && copies >= 2 => Ok(()),
                found => Err(format!("{found:?}")),
            }
        })
        .expect("copies");
    }
    let before = read(&first).0;
    second.stop().expect("stopped");
    produce();
    third.stop().expect("stopped");
    let total = produce();
    wait_tasks(&first, 4, 0);
    bench.wait_drained();
    let reread = read(&first).0 - before;
    first.stop().expect("stopped");
    assert!(reread < total as f64 / 4.0, "{reread} of {total}");
    assert_eq!(bench.violations(total, KEYS), Vec::<String>::new());
    assert_eq!(bench.stored(directories[0].path(), KEYS), bench.folded());
}
