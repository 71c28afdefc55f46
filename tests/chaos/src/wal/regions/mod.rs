//! Two regions that write the same keys, while the way between them is cut again and again, and instances and stores are killed.
//!
//! ```text
//!  writer ─▶ eu: brokers, log (two instances) ─▶ Redis      kills of instances, of Redis
//!                   │  ▲                                    ways cut: both, or one
//!                   ▼  │ relays
//!  writer ─▶ us: brokers, log (two instances) ─▶ Redis      ─▶ all have ended ─▶ oracle: the greatest version of each key
//! ```
//!
//! The control arm is the same input without versions: what each region would have, had it taken what came last for the last. It has to
//! differ between the regions, or nothing has crossed and the run has shown nothing.

mod oracle;
mod side;
mod writer;

use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use testbed::{Cache, Dirs};

use self::oracle::{Findings, judge};
pub use self::side::{CACHE, Servers, Side, replicated, value};
pub use self::writer::{KEYS, Wanted, Writer};
use super::PATIENCE;
use super::settings::NAMESPACE;
use crate::Result;
use crate::fault::Diary;
use crate::pause::Stop;

/// The regions.
const NAMES: [&str; 2] = ["eu", "us"];
/// Instances of each.
const INSTANCES: [&str; 2] = ["one", "two"];
/// Mutations of each region for each fault.
const PER_FAULT: u32 = 250;
/// How long the way is cut.
const CUT_MS: std::ops::Range<u64> = 1_500..5_000;
/// Between two requests of who writes.
const PACE: Duration = Duration::from_millis(25);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// What the oracle says.
    pub findings: Findings,
    /// Mutations of both regions.
    pub mutations: u32,
    /// How often the way was cut.
    pub cuts: u32,
    /// Kills of instances, and of Redis.
    pub kills: u32,
    /// From the end of the last fault until both regions agreed.
    pub converged: Duration,
    /// What was done.
    pub diary: Diary,
}

impl Outcome {
    /// Whether the regions agree, on the right values, and the control arm does not.
    pub fn holds(&self) -> bool {
        self.findings.is_clean() && self.findings.control > 0
    }

    /// As numbers of a report.
    pub fn figures(&self) -> serde_json::Value {
        json!({
            "mutations": self.mutations,
            "cuts": self.cuts,
            "kills": self.kills,
            "conflicts": self.findings.conflicts,
            "lost": self.findings.lost,
            "divergent_keys": self.findings.divergent,
            "wrong_keys": self.findings.wrong,
            "control_divergent_keys": self.findings.control,
            "converged_ms": u64::try_from(self.converged.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

struct Run<'a> {
    sides: [Side<'a>; 2],
    dice: fastrand::Rng,
    diary: Diary,
    pause: Stop,
    cuts: u32,
    kills: u32,
}

/// Runs it: `mutations` in each region.
///
/// # Errors
/// Something does not get on.
pub fn run(seed: u64, mutations: u32) -> Result<Outcome> {
    let (cache, dirs) = (Cache::open()?, Dirs::new()?);
    let mut directory = TempDir::with_prefix("headrace-chaos-")?;
    let servers = NAMES.map(|name| Servers::start(&cache, &dirs, name));
    let [eu, us] = servers;
    let (eu, us) = (eu?, us?);
    let sides = [Side::new(&eu, directory.path(), &INSTANCES)?, Side::new(&us, directory.path(), &INSTANCES)?];
    let (dice, diary) = (fastrand::Rng::with_seed(seed), Diary::default());
    let mut run = Run { sides, dice, diary, pause: Stop::default(), cuts: 0, kills: 0 };
    let done = run.carry_out(mutations);
    if !done.as_ref().is_ok_and(|(findings, _)| findings.is_clean()) {
        directory.disable_cleanup(true);
        eprintln!("logs: {}", directory.path().display());
    }
    let (findings, converged) = done?;
    let Run { cuts, kills, diary, .. } = run;
    Ok(Outcome { findings, mutations: 2 * mutations, cuts, kills, converged, diary })
}

impl Run<'_> {
    fn carry_out(&mut self, mutations: u32) -> Result<(Findings, Duration)> {
        let [eu, us] = &mut self.sides;
        eu.join(NAMESPACE, (us.name, us.way()))?;
        us.join(NAMESPACE, (eu.name, eu.way()))?;
        eu.start()?;
        us.start()?;
        let seeds = [self.dice.u64(..), self.dice.u64(..)];
        let writers = [0, 1].map(|side| {
            let Side { name, .. } = self.sides[side];
            let (instances, pace) = (self.sides[side].instances(), PACE);
            Writer::start(Wanted { region: name, namespace: NAMESPACE, instances, seed: seeds[side], mutations, pace })
        });
        let faults = mutations.div_ceil(PER_FAULT);
        for fault in 1..=faults {
            let due = mutations * fault / (faults + 1);
            self.wait("mutations to be written", || writers.iter().all(|writer| writer.count() >= due))?;
            self.disturb(fault)?;
        }
        let calm = Instant::now();
        let mut tokens = Vec::new();
        for writer in writers {
            tokens.extend(writer.finish()?);
        }
        self.wait_ended(tokens.len())?;
        let converged = calm.elapsed();
        let audit = self.sides[0].audit(&self.sides[1])?;
        println!("regions audit: {audit}");
        for side in &mut self.sides {
            side.end()?;
        }
        Ok((judge(&self.sides, &tokens)?, converged))
    }

    /// One fault, which is over when this returns: of the way in turn with one of a process.
    fn disturb(&mut self, number: u32) -> Result<()> {
        let side = self.dice.usize(0..2);
        match number % 3 {
            0 => {
                let name = self.sides[side].kill(self.dice.bool())?;
                self.kills += 1;
                self.diary.note("kill", &name);
            }
            way => {
                // Only one direction, now and then.
                let cut: Vec<usize> = if way == 1 { vec![0, 1] } else { vec![side] };
                cut.iter().for_each(|side| self.sides[*side].way().cut(true));
                self.cuts += 1;
                self.diary
                    .note("cut", &format!("to {}", cut.iter().map(|side| NAMES[*side]).collect::<Vec<_>>().join(", ")));
                if self.dice.bool() {
                    let name = self.sides[side].kill(false)?;
                    self.kills += 1;
                    self.diary.note("kill", &name);
                }
                let for_so_long = Duration::from_millis(self.dice.u64(CUT_MS));
                self.pause.pause(for_so_long);
                cut.iter().for_each(|side| self.sides[*side].way().cut(false));
                self.diary.note("mended", "");
            }
        }
        Ok(())
    }

    fn wait(&mut self, what: &str, until: impl Fn() -> bool) -> Result<()> {
        let started = Instant::now();
        while !until() {
            if started.elapsed() > PATIENCE {
                return Err(format!("waited {PATIENCE:?} for {what}").into());
            }
            self.sides.iter_mut().try_for_each(Side::supervise)?;
            self.pause.pause(LOOK);
        }
        Ok(())
    }

    /// Each mutation has ended at the cache of both regions, and at the way from one to the other.
    fn wait_ended(&mut self, mutations: usize) -> Result<()> {
        let counts = self.sides.each_ref().map(Side::ended);
        let due = 3 * mutations;
        let count = || counts.iter().map(|count| count.load(std::sync::atomic::Ordering::SeqCst)).sum::<usize>();
        let ended = self.wait("all to have ended", || count() >= due);
        if let Err(error) = &ended {
            // The oracle says what is missing.
            println!("WRONG: {error}: {} of {due}", count());
        }
        Ok(())
    }
}
