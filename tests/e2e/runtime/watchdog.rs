//! A commit whose requests nobody answers any more: with librdkafka a call that never returns (rule R-12).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chaos::network::proxy::{Action, Plan, Proxy, Request, TXN_OFFSET_COMMIT};
use headrace::error::FatalError;
use headrace::runtime::Implementation;
use testbed::{Kafka, Testbed, wait};

use super::support::{Bench, PATIENCE};

const KEYS: u64 = 50;

/// Kafka's number of FindCoordinator.
const FIND_COORDINATOR: i16 = 10;

/// While it is open, no position is committed, and after the first try nobody learns where else to: connections end instead.
#[derive(Default)]
struct Hole {
    open: AtomicBool,
    met: AtomicBool,
}

impl Hole {
    fn open(&self, open: bool) {
        self.met.store(false, Ordering::SeqCst);
        self.open.store(open, Ordering::SeqCst);
    }
}

impl Plan for Hole {
    fn action(&self, request: Request) -> Action {
        let open = self.open.load(Ordering::SeqCst);
        let falls = match request.api {
            TXN_OFFSET_COMMIT if open => {
                self.met.store(true, Ordering::SeqCst);
                true
            }
            FIND_COORDINATOR => open && self.met.load(Ordering::SeqCst),
            _ => false,
        };
        if falls { Action::CutBefore } else { Action::Pass }
    }
}

#[test]
fn r12_a_commit_that_never_returns_ends_the_process_and_the_native_one_needs_no_watchdog() {
    let proxy = Proxy::bind(Hole::default());
    let advertised = format!("PLAINTEXT://{}", proxy.address());
    let kafka = Kafka::builder().unwrap().property("advertised.listeners", &advertised);
    let kafka = kafka.property("group.min.session.timeout.ms", "1000");
    let bed = Testbed::builder().kafka_with(kafka).start().unwrap();
    let kafka = bed.kafka().unwrap();
    proxy.lead_to(kafka.port());
    let hole = &proxy.plan;

    let (bench, directory) = (Bench::new(kafka, "native"), tempfile::tempdir().unwrap());
    let mut options = bench.options("one", directory.path());
    options.clients.producer = Implementation::Native;
    let running = bench.run(options);
    running.wait_ready();
    hole.open(true);
    bench.produce(0..500, KEYS);
    wait::until("an abort", PATIENCE, || match running.metric("headrace_aborts_total") {
        aborts if aborts > 0.0 => Ok(()),
        aborts => Err(aborts.to_string()),
    })
    .unwrap();
    hole.open(false);
    bench.wait_drained();
    running.stop().unwrap();
    assert_eq!(bench.violations(500, KEYS), Vec::<String>::new());

    let (bench, directory) = (Bench::new(kafka, "stuck"), tempfile::tempdir().unwrap());
    let mut options = bench.options("one", directory.path());
    options.clients.producer = Implementation::Librdkafka;
    let limit = options.kafka.transaction_timeout + Duration::from_secs(5);
    let running = bench.run(options);
    running.wait_ready();
    hole.open(true);
    bench.produce(0..500, KEYS);
    let telemetry = running.telemetry.clone();
    let error = running.ended().unwrap_err();
    let FatalError::Stuck { call, after } = &error else { panic!("{error}") };
    assert_eq!((*call, error.exit_code()), ("send_offsets_to_transaction", 70));
    assert!(*after > limit, "after {after:?}");
    assert!(telemetry.metrics.render().unwrap().contains("headrace_watchdog_fired_total 1"));

    // Its thread is stuck for ever, so its successor here has a directory of its own; the changelog has what it needs.
    hole.open(false);
    let directory = tempfile::tempdir().unwrap();
    let mut options = bench.options("one", directory.path());
    options.clients.producer = Implementation::Librdkafka;
    let running = bench.run(options);
    bench.wait_drained();
    running.stop().unwrap();
    assert_eq!(bench.violations(500, KEYS), Vec::<String>::new());
}
