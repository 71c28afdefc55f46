//! Many seeds, as many at a time as there are cores: each is a world of its own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::twice::{Difference, twice};
use super::{Arm, CONTROL_SEEDS, Outcome, run};
use crate::Result;
use crate::check::judge::Judgement;
use crate::side_by_side::side_by_side;

/// Failed seeds that are named.
const NAMED: usize = 50;

/// Which seeds are run.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The first one.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// In which world.
    pub arm: Arm,
}

impl Wanted {
    fn range(self) -> Range<u64> {
        self.first..self.first + self.seeds
    }
}

/// Worlds need nothing but a core each.
fn cores() -> Vec<()> {
    vec![(); thread::available_parallelism().map_or(1, std::num::NonZero::get)]
}

/// What they have come to.
#[derive(Debug, Default)]
pub struct Runs {
    /// All of them together.
    pub judgement: Judgement,
    /// How often what was done.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often what a rebalance asked back was worked on before it was given up.
    pub handovers: u64,
    /// Seeds with findings.
    pub failed: Vec<u64>,
    /// By their own clocks, all together.
    pub simulated: Duration,
    /// By the machine's.
    pub took: Duration,
}

impl Runs {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        if !outcome.judgement.findings.is_clean() && self.failed.len() < NAMED {
            self.failed.push(seed);
        }
        self.judgement.add(outcome.judgement);
        outcome.faults.into_iter().for_each(|(name, count)| *self.faults.entry(name).or_default() += count);
        self.handovers += outcome.handovers;
        self.simulated += outcome.took;
    }
}

/// Runs them; `told` hears of each that is over.
///
/// # Errors
/// One of them does not end.
pub fn many(wanted: Wanted, told: impl Fn(u64, &Outcome) + Sync) -> Result<Runs> {
    until(wanted, |seed, outcome| {
        told(seed, outcome);
        false
    })
}

/// Runs a control arm until it is caught; gives what was found, and at which seed.
///
/// # Errors
/// As [`many`].
pub fn control(arm: Arm, first: u64) -> Result<Option<(u64, Judgement)>> {
    let wanted = Wanted { first, seeds: CONTROL_SEEDS, arm };
    let runs = until(wanted, |_, outcome| !outcome.judgement.findings.is_clean())?;
    Ok(runs.failed.first().map(|seed| (*seed, runs.judgement)))
}

/// Runs each of them twice; gives those that were not the same run both times.
///
/// # Errors
/// As [`many`].
pub fn each_twice(wanted: Wanted) -> Result<Vec<Difference>> {
    let found = Mutex::new(Vec::new());
    side_by_side(wanted.range(), &cores(), |(), seed| {
        found.lock().unwrap_or_else(PoisonError::into_inner).extend(twice(seed, wanted.arm)?);
        Ok(true)
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Runs them until `enough` says so of one.
fn until(wanted: Wanted, enough: impl Fn(u64, &Outcome) -> bool + Sync) -> Result<Runs> {
    let (started, runs) = (Instant::now(), Mutex::new(Runs::default()));
    side_by_side(wanted.range(), &cores(), |(), seed| {
        let outcome = run(seed, wanted.arm)?;
        let goes_on = !enough(seed, &outcome);
        runs.lock().unwrap_or_else(PoisonError::into_inner).add(seed, outcome);
        Ok(goes_on)
    })?;
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.failed.sort_unstable();
    runs.took = started.elapsed();
    Ok(runs)
}
