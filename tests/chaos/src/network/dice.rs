//! A plan of faults by dice: for each request that writes, by seed, connection, and number of the request.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::proxy::{
    ADD_OFFSETS_TO_TXN, ADD_PARTITIONS_TO_TXN, Action, END_TXN, INIT_PRODUCER_ID, PRODUCE, Plan, Proxy, Request,
    TXN_OFFSET_COMMIT,
};
use crate::event::SPREAD;

/// Of a thousand requests of a kind, to how many each is done.
struct Odds {
    delay: u32,
    before: u32,
    after: u32,
    answer: u32,
    late: u32,
    refuse: u32,
    swallow: u32,
    /// Errors that a broker may give without having done anything.
    codes: &'static [i16],
}

const COORDINATOR_LOADING: i16 = 14;
const NOT_COORDINATOR: i16 = 16;
const NOT_LEADER: i16 = 6;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const CONCURRENT_TRANSACTIONS: i16 = 51;

fn odds(api: i16) -> Option<Odds> {
    let coordinator = &[COORDINATOR_LOADING, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS];
    Some(match api {
        PRODUCE => Odds {
            delay: 30,
            before: 6,
            after: 3,
            answer: 3,
            late: 6,
            refuse: 6,
            swallow: 0,
            codes: &[NOT_LEADER, NOT_ENOUGH_REPLICAS],
        },
        END_TXN => {
            Odds { delay: 30, before: 10, after: 10, answer: 10, late: 80, refuse: 20, swallow: 2, codes: coordinator }
        }
        TXN_OFFSET_COMMIT => Odds {
            delay: 30,
            before: 10,
            after: 5,
            answer: 5,
            late: 10,
            refuse: 20,
            swallow: 2,
            codes: &[COORDINATOR_LOADING, NOT_COORDINATOR],
        },
        ADD_OFFSETS_TO_TXN | ADD_PARTITIONS_TO_TXN => {
            Odds { delay: 30, before: 10, after: 5, answer: 5, late: 10, refuse: 20, swallow: 2, codes: coordinator }
        }
        INIT_PRODUCER_ID => {
            Odds { delay: 100, before: 50, after: 25, answer: 25, late: 0, refuse: 50, swallow: 5, codes: coordinator }
        }
        _ => return None,
    })
}

/// The faults of one run after the other.
#[derive(Default)]
pub struct Dice {
    on: AtomicBool,
    seed: AtomicU64,
    /// The run's first connection, so that a seed means the same in each of them.
    first: AtomicU64,
    /// Requests of transactions that something could have been done to, Produce aside.
    thrown: AtomicU64,
    done: Mutex<BTreeMap<&'static str, u64>>,
}

impl Dice {
    /// What was done to requests of transactions, and how often; Produce aside, which the load sends too.
    pub fn done(&self) -> BTreeMap<&'static str, u64> {
        self.done.lock().expect("done").clone()
    }

    /// How many of them there were.
    pub fn thrown(&self) -> u64 {
        self.thrown.load(Ordering::Relaxed)
    }

    /// Lets everything pass.
    pub fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
    }
}

/// Begins a run.
pub fn start(proxy: &Proxy<Dice>, seed: u64) {
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
        let Some(odds) = odds(request.api) else { return Action::Pass };
        let connection = request.connection.wrapping_sub(self.first.load(Ordering::Relaxed));
        // Spread, or neighbouring seeds would only swap the fates of neighbouring requests.
        let seed = self.seed.load(Ordering::Relaxed).wrapping_mul(SPREAD);
        let mut dice = fastrand::Rng::with_seed(seed ^ (connection << 32) ^ request.number);
        let (name, action) = throw(&odds, &mut dice);
        if request.api != PRODUCE {
            self.thrown.fetch_add(1, Ordering::Relaxed);
            if action != Action::Pass {
                *self.done.lock().expect("done").entry(name).or_default() += 1;
            }
        }
        action
    }
}

fn throw(odds: &Odds, dice: &mut fastrand::Rng) -> (&'static str, Action) {
    let mut left = dice.u32(0..1000);
    let mut falls = |share: u32| {
        let hit = left < share;
        left = left.wrapping_sub(share);
        hit
    };
    if falls(odds.delay) {
        ("delay", Action::Delay(Duration::from_millis(dice.u64(5..400))))
    } else if falls(odds.before) {
        ("cut-before", Action::CutBefore)
    } else if falls(odds.after) {
        ("cut-after", Action::CutAfter)
    } else if falls(odds.answer) {
        ("lose-answer", Action::LoseAnswer)
    } else if falls(odds.late) {
        ("late", Action::Late(Duration::from_millis(dice.u64(100..4000))))
    } else if falls(odds.refuse) {
        ("refuse", Action::Refuse(odds.codes[dice.usize(0..odds.codes.len())]))
    } else if falls(odds.swallow) {
        ("swallow", Action::Swallow)
    } else {
        ("pass", Action::Pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(seed: u64) -> (Vec<Action>, Dice) {
        let dice = Dice::default();
        dice.seed.store(seed, Ordering::Relaxed);
        dice.on.store(true, Ordering::Relaxed);
        let request = |number| Request { connection: 3, number, api: END_TXN };
        ((0..3000).map(|number| dice.action(request(number))).collect(), dice)
    }

    #[test]
    fn a_seed_decides_each_request_and_every_fault_comes_up() {
        let (actions, dice) = fates(5);
        assert_eq!(actions, fates(5).0);
        assert_ne!(actions, fates(6).0);
        let done = dice.done();
        let kinds = ["cut-after", "cut-before", "delay", "late", "lose-answer", "refuse", "swallow"];
        assert_eq!(done.keys().copied().collect::<Vec<_>>(), kinds);
        let hit = actions.iter().filter(|action| **action != Action::Pass).count() as u64;
        assert_eq!((done.values().sum::<u64>(), dice.thrown()), (hit, 3000));
    }
}
