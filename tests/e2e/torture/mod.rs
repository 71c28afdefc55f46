//! Exactness on a network that delays, cuts and reorders requests, by a seed.
//!
//! Three schedules are part of every test run; `HEADRACE_TORTURE_SCHEDULES=1000` runs more, and
//! `HEADRACE_TORTURE_SEED` starts at another seed, to see a failure again.

mod dice;
mod naive;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use testbed::{Kafka, Testbed, wait};

use self::dice::Dice;
use crate::runtime::support::{Bench, PATIENCE, quarantined};
use crate::support::proxy::Proxy;

const NUMBERS: u64 = 20_000;
const KEYS: u64 = 100;
/// So that the input lasts for dozens of commits.
const PACE: Duration = Duration::from_micros(200);
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
        bench.produce(0..NUMBERS, KEYS);
        bench
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
        let before = tortured.proxy.plan.done();
        dice::start(&tortured.proxy, seed);
        let running = bench.run_topology(bench.topology(PACE, true), bench.options("one", directory.path()));
        wait_committed(&bench, 3 * NUMBERS / 4);
        tortured.proxy.plan.stop();
        bench.wait_drained();
        running.stop().expect("stopped");
        let faults = tortured.proxy.plan.done() - before;
        assert!(faults >= 3, "seed {seed}: only {faults} faults");
        assert_eq!(bench.violations(NUMBERS, KEYS), Vec::<String>::new(), "seed {seed}, {faults} faults");
        assert_eq!(bench.stored(directory.path(), KEYS), bench.folded(), "seed {seed}, {faults} faults");
        assert_eq!(quarantined(directory.path(), &bench.application), 0, "seed {seed}: R-18: nothing is wiped");
        println!("seed {seed}: exact after {faults} faults");
    }
}

#[test]
fn the_control_arm_is_torn_by_the_same_network() {
    let tortured = tortured();
    for seed in 1..=CONTROL_SCHEDULES {
        let bench = tortured.bench("control");
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

fn wait_committed(bench: &Bench, wanted: u64) {
    wait::until("most of the input", PATIENCE, || match bench.progress().0 {
        committed if u64::try_from(committed).is_ok_and(|committed| committed >= wanted) => Ok(()),
        committed => Err(format!("{committed} of {wanted}")),
    })
    .expect("progress under faults");
}
