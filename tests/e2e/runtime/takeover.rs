//! A killed instance's tasks go on elsewhere as soon as the group has moved them (rule R-31).

use std::time::Duration;

use testbed::wait;

use super::child::Process;
use super::support::{Bench, PATIENCE, broker};

const KEYS: u64 = 50;
/// Its transaction outlives the test's patience by far: the test's control arm is that it can't have ended by itself.
const TRANSACTION: Duration = Duration::from_secs(600);

#[test]
fn r31_an_heir_does_not_wait_for_the_time_out_of_what_a_killed_instance_had_open() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "takeover");
    let (left, right) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    bench.produce(0..20_000, KEYS);
    let killed = Process::with_long_transactions(&bench, "left", left.path(), TRANSACTION);
    wait::until("an open transaction", PATIENCE, || match bench.output_end() {
        end if end > 500 => Ok(()),
        end => Err(format!("{end} records")),
    })
    .expect("open");
    killed.kill();
    assert_eq!(bench.read(&bench.output()).len(), 0, "committed readers are held up");
    let heir = bench.run(bench.options("right", right.path()));
    bench.wait_drained();
    let taken_over = heir.metric("headrace_takeovers_total");
    heir.stop().expect("stopped");
    assert!(taken_over >= 1.0, "{taken_over}");
    assert_eq!(bench.violations(20_000, KEYS), Vec::<String>::new());
}
