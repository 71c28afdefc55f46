//! Members whose network delays, cuts, loses and reorders their requests, by a seed.
//!
//! Some seeds are part of every test run. `HEADRACE_TORTURE_SEED` starts at another one, to see a failure again, and
//! `HEADRACE_SHARE_SCHEDULES` runs more of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use headrace::share::ShareSettings;
use testbed::Kafka;
use tokio_util::sync::CancellationToken;

use super::account::{Account, Belief, Findings, work};
use super::support::{Cluster, Place, Queue, run};
use crate::support::proxy::{Action, Plan, Proxy, Request};
use crate::support::share_groups;

const SCHEDULES: u64 = 3;
/// Schedules within which the control arm must be caught.
const CONTROL_SCHEDULES: u64 = 8;
/// A schedule lasts until so many requests were disturbed.
const FAULTS: u64 = 15;
/// Records that come at a time.
const PORTION: u32 = 60;
const METADATA: i16 = 3;
const SHARE_GROUP_HEARTBEAT: i16 = 76;
const SHARE_FETCH: i16 = 78;
const SHARE_ACKNOWLEDGE: i16 = 79;
/// Sets neighbouring seeds apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is done to the requests of members.
#[derive(Default)]
struct Weather {
    on: AtomicBool,
    seed: AtomicU64,
    done: Mutex<BTreeMap<&'static str, u64>>,
}

impl Weather {
    fn faults(&self) -> u64 {
        self.done.lock().unwrap().values().sum()
    }
}

impl Plan for Weather {
    fn action(&self, request: Request) -> Action {
        let share = match request.api {
            SHARE_FETCH | SHARE_ACKNOWLEDGE => 10,
            SHARE_GROUP_HEARTBEAT | METADATA => 30,
            _ => return Action::Pass,
        };
        if !self.on.load(Ordering::Relaxed) {
            return Action::Pass;
        }
        let seed = self.seed.load(Ordering::Relaxed).wrapping_mul(SPREAD);
        let mut dice = fastrand::Rng::with_seed(seed ^ (request.connection << 32) ^ request.number);
        let (name, action) = match dice.u32(0..1_000) / share {
            0..2 => ("delay", Action::Delay(Duration::from_millis(dice.u64(5..300)))),
            2 => ("cut-before", Action::CutBefore),
            3 => ("cut-after", Action::CutAfter),
            4 | 5 => ("lose-answer", Action::LoseAnswer),
            6 => ("late", Action::Late(Duration::from_millis(dice.u64(50..1_500)))),
            _ => return Action::Pass,
        };
        *self.done.lock().unwrap().entry(name).or_default() += 1;
        action
    }
}

/// A broker behind the weather.
struct Network {
    cluster: Arc<Cluster>,
    proxy: Proxy<Weather>,
}

/// One schedule at a time, or a seed would not mean the same.
fn network() -> MutexGuard<'static, Network> {
    static NETWORK: OnceLock<Mutex<Network>> = OnceLock::new();
    let start = || {
        let proxy = Proxy::bind(Weather::default());
        let advertised = format!("PLAINTEXT://{}", proxy.address());
        let kafka = share_groups(Kafka::builder().unwrap()).property("advertised.listeners", &advertised);
        let cluster = Cluster::start_behind(&kafka, proxy.address());
        proxy.lead_to(cluster.nodes[0].port());
        Mutex::new(Network { cluster, proxy })
    };
    NETWORK.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner)
}

fn first_seed() -> u64 {
    std::env::var("HEADRACE_TORTURE_SEED").map_or(1, |seed| seed.parse().expect("a number"))
}

/// What the books say after two members have worked in the weather of a seed.
fn schedule(network: &Network, seed: u64, belief: Belief) -> Findings {
    let more = ",share.record.lock.duration.ms=5000,share.delivery.count.limit=10";
    let queue = Queue::on(Place::Own(Arc::clone(&network.cluster)), "weather", 3, more);
    let weather = Arc::clone(&network.proxy.plan);
    let account = Arc::new(Account::default());
    let books = Arc::clone(&account);
    run(async move {
        weather.seed.store(seed, Ordering::Relaxed);
        let before = weather.faults();
        weather.on.store(true, Ordering::Relaxed);
        let stop = CancellationToken::new();
        let settings = ShareSettings { window: 40, ..queue.settings() };
        let members: Vec<_> = (0..2).map(|_| work(queue.join(settings.clone()), &account, belief, &stop)).collect();
        let mut produced = 0;
        while weather.faults() < before + FAULTS {
            tokio::task::block_in_place(|| queue.produce(produced..produced + PORTION));
            produced += PORTION;
            account.wait_said(0..produced).await;
            queue.wait_done().await;
        }
        weather.on.store(false, Ordering::Relaxed);
        stop.cancel();
        for member in members {
            member.await.expect("the member goes on");
        }
        if belief == Belief::Told {
            account.wait_settled().await;
        }
        println!("seed {seed}: {produced} records, {} came again; {:?}", account.again(), weather.done.lock().unwrap());
    });
    books.findings()
}

#[test]
fn r5_whatever_the_network_does_all_is_done_and_what_was_accepted_does_not_come_again() {
    let (network, first) = (network(), first_seed());
    let schedules = std::env::var("HEADRACE_SHARE_SCHEDULES").map_or(SCHEDULES, |many| many.parse().expect("a number"));
    for seed in first..first + schedules {
        let findings = schedule(&network, seed, Belief::Told);
        assert!(findings.is_empty(), "seed {seed}: {findings:#?}");
    }
}

#[test]
fn the_control_arm_that_does_not_wait_for_the_brokers_word_is_caught() {
    let (network, first) = (network(), first_seed());
    let caught = (first..first + CONTROL_SCHEDULES).any(|seed| !schedule(&network, seed, Belief::Naive).is_empty());
    assert!(caught, "the faults are too mild");
}
