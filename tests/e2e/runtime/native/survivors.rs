//! Who stays in the group while others come and go notices nothing of it (claim 7 of the spec).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testbed::wait;

use super::super::running::Running;
use super::super::support::{Bench, PATIENCE, broker};

const KEYS: u64 = 50;
/// How often another instance comes and goes at most, until enough rebalances have met a commit on its way.
const ROUNDS: u32 = 12;
/// Enough of them.
const RENEWALS: f64 = 2.0;

fn wait_tasks(running: &Running, what: &str, wanted: usize) {
    wait::until(what, PATIENCE, || match running.telemetry.health.tasks().len() {
        tasks if tasks == wanted => Ok(()),
        tasks => Err(format!("{tasks} tasks")),
    })
    .expect("tasks");
}

/// Each renewal is a commit that the broker has refused with ILLEGAL_GENERATION: that is this test's control arm, since it used
/// to be an abort, with everything read again.
#[test]
fn n4_who_stays_commits_through_every_rebalance_and_aborts_nothing() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "survivor");
    let (left, right) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let stop = AtomicBool::new(false);
    let (survivor, renewals, produced) = std::thread::scope(|scope| {
        let load = scope.spawn(|| bench.produce_until(&stop, KEYS));
        let mut options = bench.options("left", left.path());
        // One transaction after the other: a rebalance that ends at any time meets one on its way.
        options.commit_interval = Duration::from_millis(1);
        let survivor = bench.run(options);
        wait_tasks(&survivor, "it has all", 4);
        let renewals = || survivor.metric("headrace_commit_renewals_total");
        for _ in 0..ROUNDS {
            let other = bench.run(bench.options("right", right.path()));
            wait_tasks(&other, "the other has its part", 2);
            wait_tasks(&survivor, "it has given it", 2);
            other.stop().expect("stopped");
            wait_tasks(&survivor, "it has all again", 4);
            if renewals() >= RENEWALS {
                break;
            }
        }
        stop.store(true, Ordering::Release);
        let renewals = renewals();
        (survivor, renewals, load.join().expect("the load"))
    });
    bench.wait_drained();
    let (aborts, fenced) = (survivor.metric("headrace_aborts_total"), survivor.metric("headrace_fenced_total"));
    survivor.stop().expect("stopped");
    assert!(renewals >= 1.0, "no rebalance has met a commit: nothing was shown");
    assert_eq!((aborts, fenced), (0.0, 0.0), "with {renewals} renewals");
    assert_eq!(bench.violations(produced, KEYS), Vec::<String>::new());
}
