//! The plan of the torture: for each request that writes, dice by (seed, connection, number of the request).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::proxy::{
    ADD_OFFSETS_TO_TXN, ADD_PARTITIONS_TO_TXN, Action, END_TXN, INIT_PRODUCER_ID, PRODUCE, Plan, Proxy, Request,
    TXN_OFFSET_COMMIT,
};

/// Odd, with bits all over: the golden ratio's.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The faults of one run after the other.
#[derive(Default)]
pub(crate) struct Dice {
    on: AtomicBool,
    seed: AtomicU64,
    /// The run's first connection, so that a seed means the same in each of them.
    first: AtomicU64,
    done: AtomicU64,
    /// Requests that something could have been done to.
    thrown: AtomicU64,
}

impl Dice {
    /// How many requests of transactions something was done to, Produce aside.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How many of them there were.
    pub(crate) fn thrown(&self) -> u64 {
        self.thrown.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
    }
}

/// Begins a run.
pub(crate) fn start(proxy: &Proxy<Dice>, seed: u64) {
    let dice = &proxy.plan;
    dice.seed.store(seed, Ordering::Relaxed);
    dice.first.store(proxy.connections(), Ordering::Relaxed);
    dice.on.store(true, Ordering::Relaxed);
}

impl Plan for Dice {
    fn action(&self, request: Request) -> Action {
        if !self.on.load(Ordering::Relaxed) {
            return Action::Pass;
        }
        // In a thousand requests: (delayed, cut before, cut after, answer lost, late).
        let (delay, before, after, answer, late) = match request.api {
            PRODUCE => (30, 6, 3, 3, 6),
            END_TXN => (30, 10, 10, 10, 80),
            TXN_OFFSET_COMMIT | ADD_OFFSETS_TO_TXN | ADD_PARTITIONS_TO_TXN => (30, 10, 5, 5, 10),
            INIT_PRODUCER_ID => (100, 50, 25, 25, 0),
            _ => return Action::Pass,
        };
        let connection = request.connection.wrapping_sub(self.first.load(Ordering::Relaxed));
        // Spread, or neighbouring seeds would only swap the fates of neighbouring requests.
        let seed = self.seed.load(Ordering::Relaxed).wrapping_mul(SPREAD);
        let mut dice = fastrand::Rng::with_seed(seed ^ (connection << 32) ^ request.number);
        let throw = dice.u32(0..1000);
        self.thrown.fetch_add(u64::from(request.api != PRODUCE), Ordering::Relaxed);
        let below = |sum: u32| throw < sum;
        let action = match throw {
            _ if below(delay) => Action::Delay(Duration::from_millis(dice.u64(5..400))),
            _ if below(delay + before) => Action::CutBefore,
            _ if below(delay + before + after) => Action::CutAfter,
            _ if below(delay + before + after + answer) => Action::LoseAnswer,
            _ if below(delay + before + after + answer + late) => {
                Action::Late(Duration::from_millis(dice.u64(100..4000)))
            }
            _ => return Action::Pass,
        };
        // Who produces the input writes too, and is none of the transactions' business.
        if request.api != PRODUCE {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        action
    }
}
