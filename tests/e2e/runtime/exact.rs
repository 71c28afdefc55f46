//! Kill −9 under load: what is in the output, the stores, the changelog and the dead letters afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use testbed::wait;

use super::child::{Kind, Process};
use super::support::{Bench, PATIENCE, broker, quarantined};
use crate::support::transactions::open_in;

const KEYS: u64 = 200;
const NUMBERS: u64 = 120_000;
const COMMIT: Duration = Duration::from_millis(50);

/// Runs children of a kind over the whole input, killing each as soon as it has produced a little, `kills` times.
fn run_killing(bench: &Bench, kind: Kind, directory: &Path, kills: u32) {
    let step = i64::try_from(NUMBERS).expect("few") / (2 * i64::from(kills) + 2);
    for _ in 0..kills {
        let before = bench.output_end();
        let process = Process::start(bench, kind, "one", directory, COMMIT);
        wait::until("some output", PATIENCE, || match bench.output_end() - before {
            more if more >= step => Ok(()),
            more => Err(format!("{more} records")),
        })
        .expect("progress");
        if kind == Kind::ExactlyOnce {
            wait_open(bench);
        }
        process.kill();
    }
}

/// Until records of a transaction are in the output that has not ended: they are there for some milliseconds of each commit.
fn wait_open(bench: &Bench) {
    let started = Instant::now();
    while open_in(&bench.servers, &bench.output()).expect("the broker's answer").is_empty() {
        assert!(started.elapsed() < PATIENCE, "no transaction is ever open");
    }
}

/// The last child, which drains the input; in this process, so that it can be stopped and asked.
fn drain(bench: &Bench, kind: Kind, directory: &Path) -> f64 {
    let mut options = bench.options("one", directory);
    if kind == Kind::AtLeastOnce {
        options.guarantee = headrace::runtime::Guarantee::AtLeastOnce;
    }
    let last = bench.run(options);
    bench.wait_drained();
    let restored = last.metric("headrace_restore_records_total");
    last.stop().expect("stopped");
    restored
}

#[test]
fn r17_r18_r28_ten_kills_under_load_leave_everything_exact() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "kills"), tempfile::tempdir().expect("directory"));
    bench.produce(0..NUMBERS, KEYS);
    run_killing(&bench, Kind::ExactlyOnce, directory.path(), 10);
    let (committed, end) = bench.progress();
    assert!(committed > 0 && committed < end, "the kills were to meet it at work: {committed} of {end}");
    let restored = drain(&bench, Kind::ExactlyOnce, directory.path());
    assert_eq!(bench.violations(NUMBERS, KEYS), Vec::<String>::new());
    assert_eq!(bench.stored(directory.path(), KEYS), bench.folded(), "R-18: store == fold(changelog)");
    assert_eq!(quarantined(directory.path(), &bench.application), 0, "R-18: nothing is wiped");
    let interval = COMMIT.as_secs_f64() / 50e-6;
    assert!(restored <= 2.0 * interval, "R-18: {restored} changelog records were replayed, one interval is {interval}");
    let aborted = bench.read_as(&bench.output(), "read_uncommitted").len();
    let good = usize::try_from(NUMBERS - NUMBERS / 1000).expect("few");
    assert!(aborted > good, "R-6: no kill met an open transaction, so this proved nothing");
}

#[test]
fn the_control_arm_without_transactions_fails_the_same_check() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "naive"), tempfile::tempdir().expect("directory"));
    bench.produce(0..NUMBERS, KEYS);
    run_killing(&bench, Kind::Naive, directory.path(), 3);
    let last = Process::start(&bench, Kind::Naive, "one", directory.path(), COMMIT);
    let good = i64::try_from(NUMBERS - NUMBERS / 1000).expect("few");
    wait::until("all output", PATIENCE, || match bench.output_end() {
        end if end >= good => Ok(()),
        end => Err(format!("{end} of {good}")),
    })
    .expect("done");
    last.kill();
    assert_ne!(bench.violations(NUMBERS, KEYS), Vec::<String>::new(), "the check can't tell right from wrong");
}

#[test]
fn r29_at_least_once_loses_nothing_across_kills() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "at-least"), tempfile::tempdir().expect("directory"));
    bench.produce(0..NUMBERS, KEYS);
    run_killing(&bench, Kind::AtLeastOnce, directory.path(), 3);
    drain(&bench, Kind::AtLeastOnce, directory.path());
    let seen: std::collections::BTreeSet<u64> = bench
        .read(&bench.output())
        .iter()
        .filter_map(|record| record.value.as_deref()?.split_once(' ')?.1.parse().ok())
        .collect();
    let missing = (0..NUMBERS).filter(|number| !super::support::is_poison(*number) && !seen.contains(number)).count();
    assert_eq!(missing, 0, "lost");
    let dead: std::collections::BTreeSet<_> =
        bench.read(&bench.dead()).into_iter().map(|record| record.value).collect();
    assert_eq!(dead.len() as u64, NUMBERS / 1000, "each poisonous number at least once");
    assert_eq!(bench.stored(directory.path(), KEYS), bench.folded());
}
