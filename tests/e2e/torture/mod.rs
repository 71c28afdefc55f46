//! Exactness on a network that delays, cuts and reorders requests, by a seed.
//!
//! Three schedules are part of every test run; `HEADRACE_TORTURE_SCHEDULES=1000` runs more, and
//! `HEADRACE_TORTURE_SEED` starts at another seed, to see a failure again.

mod dice;
mod naive;

use std::sync::{Mutex, OnceLock, PoisonError};

use testbed::{Kafka, Testbed, wait};

use self::dice::Dice;
use crate::runtime::support::{Bench, PATIENCE, quarantined};
use crate::support::proxy::Proxy;
use crate::support::transactions;

const NUMBERS: u64 = 20_000;
const KEYS: u64 = 100;
/// Records that come at a time, so that the input lasts for dozens of commits.
const PORTION: u64 = 800;
/// Records that may wait for their commit: while one portion is on the wire, the next is processed.
const AHEAD: i64 = PORTION as i64;
/// Schedules of the control arm within which it must be caught.
const CONTROL_SCHEDULES: u64 = 12;

/// A broker that is reached through the proxy only.
struct Tortured {
    bed: Testbed,
    proxy: Proxy<Dice>,
}

impl Tortured {
    fn bench(&self, name: &str) -> Bench {
        let kafka = self.bed.kafka().expect("kafka");
        let mut bench = Bench::bare(kafka, name);
        bench.servers = self.proxy.address();
        for topic in [bench.input(), bench.output(), bench.dead(), bench.changelog()] {
            bench.create(&topic, crate::runtime::support::PARTITIONS);
        }
        bench
    }
}

/// Produces the numbers portion by portion, as they are committed.
fn trickle(bench: &Bench) {
    for from in (0..NUMBERS).step_by(usize::try_from(PORTION).expect("few")) {
        bench.produce(from..from + PORTION, KEYS);
        let wanted = i64::try_from(from).expect("few") - AHEAD;
        wait::until("a commit under faults", PATIENCE, || match bench.progress().0 {
            committed if committed >= wanted => Ok(()),
            committed => Err(format!("{committed} of {wanted}")),
        })
        .expect("progress");
    }
}

/// One at a time: a seed means the same only if nobody else connects.
fn tortured() -> std::sync::MutexGuard<'static, Tortured> {
    static BED: OnceLock<Mutex<Tortured>> = OnceLock::new();
    let start = || {
        let proxy = Proxy::bind(Dice::default());
        let advertised = format!("PLAINTEXT://{}", proxy.address());
        let kafka = Kafka::builder().expect("builder").property("advertised.listeners", &advertised);
        let kafka = kafka.property("group.min.session.timeout.ms", "1000");
        let bed = Testbed::builder().kafka_with(kafka).start().expect("testbed");
        proxy.lead_to(bed.kafka().expect("kafka").port());
        transactions::watch(&proxy.address(), transactions::PATIENCE);
        Mutex::new(Tortured { bed, proxy })
    };
    BED.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn r11_a_network_that_delays_cuts_and_reorders_leaves_every_count_exact() {
    let tortured = tortured();
    let first = setting("HEADRACE_TORTURE_SEED", 1);
    for seed in first..first + setting("HEADRACE_TORTURE_SCHEDULES", 3) {
        let (bench, directory) = (tortured.bench("torture"), tempfile::tempdir().expect("directory"));
        let before = (tortured.proxy.plan.done(), tortured.proxy.plan.thrown());
        dice::start(&tortured.proxy, seed);
        let running = bench.run(bench.options("one", directory.path()));
        trickle(&bench);
        tortured.proxy.plan.stop();
        bench.wait_drained();
        running.stop().expect("stopped");
        transactions::none_open(&bench.servers, PATIENCE).expect("nothing hangs");
        let faults = tortured.proxy.plan.done() - before.0;
        assert!(faults >= 5, "seed {seed}: only {faults} faults");
        assert_eq!(bench.violations(NUMBERS, KEYS), Vec::<String>::new(), "seed {seed}, {faults} faults");
        assert_eq!(bench.stored(directory.path(), KEYS), bench.folded(), "seed {seed}, {faults} faults");
        assert_eq!(quarantined(directory.path(), &bench.application), 0, "seed {seed}: R-18: nothing is wiped");
        println!("seed {seed}: exact after {faults} faults in {} requests", tortured.proxy.plan.thrown() - before.1);
    }
}

#[test]
fn the_control_arm_is_torn_by_the_same_network() {
    let tortured = tortured();
    for seed in 1..=CONTROL_SCHEDULES {
        let bench = tortured.bench("control");
        bench.produce(0..NUMBERS, KEYS);
        dice::start(&tortured.proxy, seed);
        naive::run(&bench, NUMBERS);
        tortured.proxy.plan.stop();
        let (committed, end) = bench.progress();
        let (doubled, lost) = naive::doubled_and_lost(&bench, NUMBERS);
        println!("seed {seed}: {doubled} doubled, {lost} lost, {} of its positions not committed", end - committed);
        if committed != end || doubled + lost > 0 {
            return;
        }
    }
    panic!("{CONTROL_SCHEDULES} schedules have not torn it: the faults are too mild");
}
