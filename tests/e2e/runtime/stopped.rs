//! A process that is stopped for longer than its transaction lives, and goes on as if nothing had happened.

use std::time::Duration;

use nix::sys::signal::Signal;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use testbed::wait;

use super::child::{Kind, Process};
use super::support::{Bench, PARTITIONS, PATIENCE, broker};

const KEYS: u64 = 200;
const NUMBERS: u64 = 60_000;

/// Up to where nothing in the output is of an open transaction.
fn stable_end(bench: &Bench) -> i64 {
    let mut config = bench.client();
    let consumer: BaseConsumer = config.set("isolation.level", "read_committed").create().expect("consumer");
    let end = |partition| consumer.fetch_watermarks(&bench.output(), partition, PATIENCE).expect("watermarks").1;
    (0..PARTITIONS).map(end).sum()
}

#[test]
fn n7_r14_a_process_that_outslept_its_transaction_does_it_again_and_nothing_is_lost_or_doubled() {
    let (kafka, _guard) = broker();
    let (bench, directory) = (Bench::new(kafka, "outslept"), tempfile::tempdir().expect("directory"));
    bench.produce(0..NUMBERS, KEYS);
    // Transactions that are open for so long that the stop meets one.
    let process = Process::start(&bench, Kind::ExactlyOnce, "one", directory.path(), Duration::from_millis(800));
    wait::until("it is at work", PATIENCE, || match bench.output_end() {
        end if end > 5_000 => Ok(()),
        end => Err(format!("{end} records")),
    })
    .expect("at work");
    process.signal(Signal::SIGSTOP);
    let (stable, end) = (stable_end(&bench), bench.output_end());
    assert!(stable < end, "the control: it was stopped without an open transaction");
    // The broker's own clock: it ends what is older than the transaction time-out.
    wait::until("the broker to abort it", PATIENCE, || match (stable_end(&bench), bench.output_end()) {
        (stable, end) if stable == end => Ok(()),
        (stable, end) => Err(format!("{stable} of {end}")),
    })
    .expect("aborted");
    let (committed, input) = bench.progress();
    assert!(committed < input, "{committed} of {input}");
    process.signal(Signal::SIGCONT);
    bench.wait_drained();
    process.kill();
    assert_eq!(bench.violations(NUMBERS, KEYS), Vec::<String>::new());
    let all = bench.read_as(&bench.output(), "read_uncommitted").len();
    let good = usize::try_from(NUMBERS - NUMBERS / 1000).expect("few");
    assert!(all > good, "the control: nothing was aborted");
}
