//! Several instances: partitions that move, zombies, and what a restore must not lose.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use testbed::wait;

use super::child::{Kind, Process};
use super::running::Running;
use super::support::{Bench, PATIENCE, SESSION, TRANSACTION_TIMEOUT, broker};

const KEYS: u64 = 200;

fn wait_tasks(running: &Running, what: &str, wanted: impl Fn(usize) -> bool) {
    wait::until(what, PATIENCE, || match running.telemetry.health.tasks().len() {
        tasks if wanted(tasks) => Ok(()),
        tasks => Err(format!("{tasks} tasks")),
    })
    .expect("tasks");
}

#[test]
fn r14_partitions_move_between_instances_and_every_count_is_exact() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "moves");
    let (left, right) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let mut produced = 0;
    let mut produce = |bench: &Bench| {
        bench.produce(produced..produced + 20_000, KEYS);
        produced += 20_000;
    };
    produce(&bench);
    let first = bench.run(bench.options("left", left.path()));
    wait_tasks(&first, "one has all", |tasks| tasks == 4);
    // Each step under load: what moves has a store to restore, while the rest of the partitions has records waiting.
    for _ in 0..2 {
        let second = bench.run(bench.options("right", right.path()));
        produce(&bench);
        wait_tasks(&second, "the second has its part", |tasks| tasks == 2);
        wait_tasks(&first, "the first has given it", |tasks| tasks == 2);
        produce(&bench);
        second.stop().expect("stopped");
        produce(&bench);
        wait_tasks(&first, "the first has all again", |tasks| tasks == 4);
    }
    produce(&bench);
    bench.wait_drained();
    first.stop().expect("stopped");
    assert_eq!(bench.violations(produced, KEYS), Vec::<String>::new());
}

#[test]
fn r14_stream_threads_of_one_process_share_the_work_exactly() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "threads"), tempfile::tempdir().expect("directory"));
    bench.produce(0..40_000, KEYS);
    let mut options = bench.options("one", directory.path());
    options.stream_threads = 3;
    let running = bench.run(options);
    bench.wait_drained();
    running.stop().expect("stopped");
    assert_eq!(bench.violations(40_000, KEYS), Vec::<String>::new());
    assert_eq!(bench.stored(directory.path(), KEYS), bench.folded());
}

#[test]
fn r6_r14_a_zombie_that_lost_its_partitions_commits_nothing() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "zombie");
    let (left, right) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    bench.produce(0..100_000, KEYS);
    // Its transaction is open for so long that the stop meets it open.
    let zombie = Process::start(&bench, Kind::ExactlyOnce, "left", left.path(), Duration::from_millis(800));
    wait::until("the first is at work", PATIENCE, || match bench.output_end() {
        end if end > 5_000 => Ok(()),
        end => Err(format!("{end} records")),
    })
    .expect("at work");
    zombie.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    let heir = bench.run(bench.options("right", right.path()));
    wait_tasks(&heir, "the heir has all", |tasks| tasks == 4);
    assert!(stopped.elapsed() >= SESSION / 2);
    let heir_commits = heir.metric("headrace_commits_total");
    wait::until("the heir commits", PATIENCE, || match heir.metric("headrace_commits_total") - heir_commits {
        more if more >= 1.0 => Ok(()),
        more => Err(format!("{more} commits")),
    })
    .expect("commits");
    let woken = stopped.elapsed();
    zombie.signal(Signal::SIGCONT);
    bench.wait_drained();
    // Longer than its transaction lives: whatever the zombie could do it has done.
    wait::until("its transaction is over", PATIENCE, || match stopped.elapsed() > TRANSACTION_TIMEOUT {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    })
    .expect("over");
    heir.stop().expect("stopped");
    zombie.kill();
    assert_eq!(bench.violations(100_000, KEYS), Vec::<String>::new(), "woken after {woken:?}");
}

#[test]
fn r2_the_successor_of_a_killed_instance_fences_it_at_once() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "fence"), tempfile::tempdir().expect("directory"));
    bench.produce(0..20_000, KEYS);
    // It is killed with a transaction open, which hides all that comes after it from committed readers.
    let killed = Process::start(&bench, Kind::ExactlyOnce, "one", directory.path(), Duration::from_secs(5));
    wait::until("an open transaction", PATIENCE, || match bench.output_end() {
        end if end > 500 => Ok(()),
        end => Err(format!("{end} records")),
    })
    .expect("open");
    killed.kill();
    let started = Instant::now();
    let successor = bench.run(bench.options("one", directory.path()));
    wait::until("its first commit", PATIENCE, || match bench.read(&bench.output()).len() {
        0 => Err("nothing committed".to_owned()),
        _ => Ok(()),
    })
    .expect("commit");
    let took = started.elapsed();
    assert!(took < TRANSACTION_TIMEOUT, "it waited {took:?} for the broker to abort");
    bench.wait_drained();
    successor.stop().expect("stopped");
    assert_eq!(bench.violations(20_000, KEYS), Vec::<String>::new());
}

/// Static members of one name fence each other, and so do their producers. Joining again must not become a loop.
#[test]
fn r13_two_processes_of_one_name_end_with_one_of_them_and_nothing_is_doubled() {
    let (kafka, _guard) = broker();
    let (bench, first, second) = (Bench::new(kafka, "twins"), tempfile::tempdir(), tempfile::tempdir());
    let (first, second) = (first.expect("directory"), second.expect("directory"));
    let older = bench.run(bench.options("one", first.path()));
    older.wait_ready();
    bench.produce(0..5_000, KEYS);
    let younger = bench.run(bench.options("one", second.path()));
    wait::until("one of them to end", PATIENCE, || match older.app.is_finished() || younger.app.is_finished() {
        true => Ok(()),
        false => Err("both run".to_owned()),
    })
    .expect("they fence each other for ever");
    let (gone, left) = if older.app.is_finished() { (older, younger) } else { (younger, older) };
    let error = gone.ended().expect_err("it was to fail");
    assert!(error.to_string().contains("instance-id: another process has joined the group as \"one\""), "{error}");
    bench.produce(5_000..10_000, KEYS);
    bench.wait_drained();
    left.stop().expect("the other goes on");
    assert_eq!(bench.violations(10_000, KEYS), Vec::<String>::new());
}
