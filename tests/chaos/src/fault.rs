//! What is done to a run, by name, and the diary of it.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

/// A fault, without its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of an instance, which is started again at once.
    Kill,
    /// The same, but it stays away until its partitions are somebody else's.
    KillForLong,
    /// The same, and again before it has recovered.
    KillTwice,
    /// SIGSTOP until its partitions are somebody else's, then SIGCONT: a zombie.
    Stop,
    /// `kill -9` of a broker, and its restart.
    Broker,
    /// `kill -9` of an instance, whose disk is full when it starts again and stays so for a while.
    FullDisk,
    /// An instance's clock jumps by hours, ahead or back.
    ClockStep,
}

impl Fault {
    const ALL: [Fault; 7] = [
        Fault::Kill,
        Fault::KillForLong,
        Fault::KillTwice,
        Fault::Stop,
        Fault::Broker,
        Fault::FullDisk,
        Fault::ClockStep,
    ];

    /// As it is called in diaries and reports.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::KillForLong => "kill-for-long",
            Fault::KillTwice => "kill-twice",
            Fault::Stop => "stop",
            Fault::Broker => "broker-kill",
            Fault::FullDisk => "full-disk",
            Fault::ClockStep => "clock-step",
        }
    }

    /// How many kills of an instance it takes.
    pub fn kills(self) -> u32 {
        match self {
            Fault::Kill | Fault::KillForLong => 1,
            Fault::KillTwice => 2,
            Fault::Stop | Fault::Broker | Fault::FullDisk | Fault::ClockStep => 0,
        }
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Fault, String> {
        let known = Fault::ALL.into_iter().find(|fault| fault.name() == name);
        known.ok_or_else(|| format!("there are: {}", Fault::ALL.map(Fault::name).join(", ")))
    }
}

/// A plan with so many kills, and with one of the others after every few of them. The same seed gives the same plan.
pub fn plan(seed: u64, kills: u32, others: &[Fault]) -> Vec<Fault> {
    /// Kills between two of the others.
    const BETWEEN: u32 = 5;
    let mut dice = fastrand::Rng::with_seed(seed);
    let (mut plan, mut done, mut due) = (Vec::new(), 0, BETWEEN);
    let mut others = others.iter().cycle();
    while done < kills {
        let fault = match dice.u32(0..10) {
            0..7 => Fault::Kill,
            7 => Fault::KillForLong,
            _ if kills - done >= 2 => Fault::KillTwice,
            _ => Fault::Kill,
        };
        done += fault.kills();
        plan.push(fault);
        if done >= due && done < kills {
            plan.extend(others.next());
            due += BETWEEN;
        }
    }
    plan
}

/// What was done, when and to whom.
#[derive(Debug, Clone)]
pub struct Diary {
    started: Instant,
    entries: Vec<(u128, String, String)>,
}

impl Default for Diary {
    fn default() -> Self {
        Diary { started: Instant::now(), entries: Vec::new() }
    }
}

impl Diary {
    /// Notes and prints it.
    pub fn note(&mut self, what: &str, target: &str) {
        let at = self.started.elapsed();
        println!("{:9.3} s  {what} {target}", at.as_secs_f64());
        self.entries.push((at.as_millis(), what.to_owned(), target.to_owned()));
    }

    /// How often each was done.
    pub fn counts(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        self.entries.iter().for_each(|(_, what, _)| *counts.entry(what.as_str()).or_default() += 1);
        counts
    }

    /// All of it.
    pub fn json(&self) -> Value {
        let entry = |(at, what, target): &(u128, String, String)| json!([*at as u64, what, target]);
        self.entries.iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_as_many_kills_as_were_asked_for_and_all_of_the_others() {
        let others = [Fault::Stop, Fault::Broker, Fault::ClockStep, Fault::FullDisk];
        for kills in [1, 2, 3, 30, 100] {
            for seed in 0..50 {
                let plan = plan(seed, kills, &others);
                assert_eq!(plan.iter().map(|fault| fault.kills()).sum::<u32>(), kills);
                assert_eq!(plan, self::plan(seed, kills, &others));
                assert!(kills < 30 || others.iter().all(|other| plan.contains(other)), "{plan:?}");
            }
        }
        assert!((0..50).any(|seed| plan(seed, 9, &[]) != plan(seed + 1, 9, &[])));
    }
}
