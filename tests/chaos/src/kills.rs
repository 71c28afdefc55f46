//! Instances under load that are killed again and again, and whatever else a plan has for them.
//!
//! ```text
//! plan (by seed) ─▶ for each fault: who owns what ─▶ inflict ─▶ start again ─▶ until new records are committed ─▶ lull
//!                                                                 end: drain ─▶ SIGTERM ─▶ judge
//! ```

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testbed::wait;

use crate::Result;
use crate::application::{PATIENCE, SESSION};
use crate::brokers::Brokers;
use crate::check::Findings;
use crate::check::judge::{Judgement, judge, judge_outputs};
use crate::child::Kind;
use crate::disk::Disk;
use crate::fault::{Diary, Fault};
use crate::fleet::{Composition, Fleet};
use crate::ground::{Ground, Stage};
use crate::instance::Program;
use crate::load::{Load, Source};
use crate::ownership;
use crate::pause::Stop;
use crate::positions::Positions;
use crate::recovery::{Outage, Recovery, percentiles};

/// Partitions of every topic.
const PARTITIONS: i32 = 4;
/// Instances of our arm.
const INSTANCES: usize = 3;
/// Between a recovery and the next fault, in milliseconds.
const LULL_MS: std::ops::Range<u64> = 200..2500;
/// Between the two kills of [`Fault::KillTwice`], in milliseconds.
const AGAIN_MS: std::ops::Range<u64> = 20..1200;
/// A clock's steps, in seconds: minutes to days.
const STEP_SECONDS: std::ops::Range<i64> = 60..200_000;
/// How long a stepped clock's instance is left to notice.
const STEPPED: Duration = Duration::from_secs(2);
/// How long a disk stays full if nobody ends for want of it.
const FULL: Duration = Duration::from_secs(15);

/// What is wanted of a run.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Decides about the load, the victims and the lulls.
    pub seed: u64,
    /// What is done, one after the other.
    pub plan: Vec<Fault>,
    /// Events per second.
    pub rate: u64,
    /// Copies of each store that other instances follow (rule R-24).
    pub standbys: usize,
    /// How instances are started.
    pub program: Program,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// What the checker says.
    pub judgement: Judgement,
    /// What was done.
    pub diary: Diary,
    /// Processes that ended by themselves.
    pub exits: u32,
    /// States that were set aside as unusable; none should be.
    pub quarantined: usize,
    /// How long each fault's victims were away.
    pub outages: Vec<(Fault, Recovery)>,
}

impl Outcome {
    /// From a fault until the first new record of its victim was committed; all faults that `wanted` takes.
    pub fn first_committed(&self, wanted: impl Fn(Fault) -> bool) -> Value {
        percentiles(self.outages.iter().filter(|(fault, _)| wanted(*fault)).map(|(_, outage)| outage.first).collect())
    }

    /// The same until each of its partitions had one, by the fault's name.
    pub fn all_committed(&self) -> Value {
        let mut faults: Vec<Fault> = self.outages.iter().map(|(fault, _)| *fault).collect();
        faults.sort_unstable();
        faults.dedup();
        let of = |fault: Fault| {
            let own = self.outages.iter().filter(|(known, _)| *known == fault);
            let (first, all) = own.map(|(_, outage)| (outage.first, outage.all)).unzip();
            (
                fault.name().to_owned(),
                json!({ "first_partition": percentiles(first), "all_partitions": percentiles(all) }),
            )
        };
        Value::Object(faults.into_iter().map(of).collect())
    }
}

struct Run<'a> {
    brokers: Brokers<'a>,
    /// Brokers that were killed.
    broker_kills: usize,
    ground: Ground,
    fleet: Fleet,
    positions: Positions,
    diary: Diary,
    dice: fastrand::Rng,
    pause: Stop,
    outages: Vec<(Fault, Recovery)>,
}

/// Runs it. The brokers have to allow sessions as short as [`SESSION`].
///
/// # Errors
/// Something has not recovered, or could not be judged; the logs are kept and named then.
pub fn run(brokers: Brokers<'_>, wanted: &Wanted) -> Result<Outcome> {
    println!("seed {}: {} faults planned", wanted.seed, wanted.plan.len());
    let ground = Ground { standbys: wanted.standbys, ..Ground::new(&brokers.servers(), "kills", PARTITIONS) };
    ground.create(brokers.replication())?;
    let mut diary = Diary::default();
    let composition = Composition {
        kind: Kind::ExactlyOnce,
        instances: INSTANCES,
        pace: Duration::ZERO,
        disk: wanted.plan.contains(&Fault::FullDisk),
        clocks: wanted.plan.contains(&Fault::ClockStep),
    };
    let fleet = Fleet::start(&wanted.program, &ground, &composition, &mut diary)?;
    let load = Load::start(&ground, wanted.seed, wanted.rate)?;
    let positions = Positions::new(&ground)?;
    let dice = fastrand::Rng::with_seed(wanted.seed);
    let (pause, outages) = (Stop::default(), Vec::new());
    let mut run = Run { brokers, broker_kills: 0, ground, fleet, positions, diary, dice, pause, outages };
    let judgement = run.carry_out(&wanted.plan).and_then(|()| run.finish(load));
    let judgement = judgement.inspect_err(|_| {
        eprintln!("{}", run.fleet.tails());
        run.fleet.keep_logs();
    })?;
    if !judgement.findings.is_clean() {
        run.fleet.keep_logs();
    }
    let quarantined = run.quarantined();
    Ok(Outcome { judgement, exits: run.fleet.exits(), quarantined, outages: run.outages, diary: run.diary })
}

impl Run<'_> {
    fn carry_out(&mut self, plan: &[Fault]) -> Result<()> {
        self.wait_at_work()?;
        for fault in plan {
            self.inflict(*fault)?;
            let lull = self.dice.u64(LULL_MS);
            self.pause.pause(Duration::from_millis(lull));
            self.fleet.supervise(&mut self.diary)?;
        }
        Ok(())
    }

    fn finish(&mut self, load: Load) -> Result<Judgement> {
        let produced = load.finish()?;
        self.diary.note("load-ends", &format!("after {} events", produced.iter().sum::<u64>()));
        let (fleet, diary) = (&mut self.fleet, &mut self.diary);
        self.positions.wait_drained(|| fleet.supervise(diary))?;
        self.fleet.terminate()?;
        self.diary.note("judge", "what is there");
        judge(&self.ground, self.brokers, &produced, &self.fleet.directories())
    }

    /// Until every instance has partitions of both stages, and every partition has a commit.
    fn wait_at_work(&mut self) -> Result<()> {
        wait::until("all instances at work", PATIENCE, || {
            self.fleet.supervise(&mut self.diary).map_err(|error| error.to_string())?;
            let committed = self.positions.committed().map_err(|error| error.to_string())?;
            let owned = self.fleet.instances().iter().map(|instance| instance.name().to_owned()).collect::<Vec<_>>();
            let owned: Vec<_> = owned
                .iter()
                .map(|name| ownership::of(&self.ground, name))
                .collect::<Result<_>>()
                .map_err(|error| error.to_string())?;
            let busy = owned.iter().all(|stages| stages.iter().all(|partitions| !partitions.is_empty()));
            let ready = busy && committed.iter().flatten().all(|next| *next > 0);
            if ready { Ok(()) } else { Err(format!("{owned:?}, committed {committed:?}")) }
        })?;
        Ok(())
    }

    fn victim(&mut self) -> usize {
        let count = self.fleet.len();
        self.dice.usize(0..count)
    }

    fn inflict(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill | Fault::KillForLong | Fault::KillTwice => self.kill(fault),
            Fault::Stop => self.stop(),
            Fault::Broker => self.restart_broker(),
            Fault::FullDisk => self.fill_disk(),
            Fault::ClockStep => self.step_clock(),
        }
    }

    fn kill(&mut self, fault: Fault) -> Result<()> {
        let victim = self.victim();
        let owned = self.owned(victim)?;
        let mut since = self.kill_once(fault, victim)?;
        match fault {
            Fault::KillForLong => {
                self.wait_taken_over(victim, &owned)?;
                self.fleet.instance(victim).start()?;
            }
            Fault::KillTwice => {
                self.fleet.instance(victim).start()?;
                let again = self.dice.u64(AGAIN_MS);
                self.pause.pause(Duration::from_millis(again));
                since = self.kill_once(fault, victim)?;
                self.fleet.instance(victim).start()?;
            }
            _ => self.fleet.instance(victim).start()?,
        }
        self.wait_over(fault, &owned, since)
    }

    fn kill_once(&mut self, fault: Fault, victim: usize) -> Result<Instant> {
        let instance = self.fleet.instance(victim);
        instance.kill()?;
        let since = Instant::now();
        self.diary.note(fault.name(), instance.name());
        Ok(since)
    }

    fn stop(&mut self) -> Result<()> {
        let victim = self.victim();
        let owned = self.owned(victim)?;
        let instance = self.fleet.instance(victim);
        instance.signal(Signal::SIGSTOP)?;
        let since = Instant::now();
        self.diary.note(Fault::Stop.name(), instance.name());
        let taken_over = self.wait_taken_over(victim, &owned);
        self.fleet.instance(victim).signal(Signal::SIGCONT)?;
        taken_over?;
        self.wait_over(Fault::Stop, &owned, since)
    }

    fn restart_broker(&mut self) -> Result<()> {
        let broker = self.brokers.in_turn(self.broker_kills);
        self.broker_kills += 1;
        let since = Instant::now();
        broker.kill();
        self.diary.note(Fault::Broker.name(), &format!("kafka {}", broker.node_id()));
        let all: Vec<i32> = (0..PARTITIONS).collect();
        let all = [all.clone(), all];
        if self.brokers.are_several() {
            // What it led and coordinated has to move: it stays away until all goes on without it.
            self.wait_over(Fault::Broker, &all, since)?;
            return Ok(broker.start()?);
        }
        broker.start()?;
        self.wait_over(Fault::Broker, &all, since)
    }

    fn fill_disk(&mut self) -> Result<()> {
        let victim = self.fleet.len() - 1;
        if self.fleet.disk().is_none() {
            return Ok(());
        }
        let owned = self.owned(victim)?;
        let filled = self.fleet.disk().map_or(Ok(()), Disk::fill);
        filled?;
        let since = self.kill_once(Fault::FullDisk, victim)?;
        self.fleet.instance(victim).start()?;
        let end = wait::until("an instance without disk to end", FULL, || {
            // What it gives back itself is taken, too: RocksDB deletes old logs when it opens.
            self.fleet.disk().map_or(Ok(()), Disk::fill).map_err(|error| error.to_string())?;
            let ended = self.fleet.instance(victim).ended().map_err(|error| error.to_string())?;
            ended.ok_or_else(|| "it runs".to_owned())
        });
        let instance = self.fleet.instance(victim);
        // RocksDB takes room ahead for its log: who has some goes on for a while, which is as good.
        let end = end.map_or_else(|_| "runs on with what it has".to_owned(), |status| format!("ended ({status})"));
        let last = instance.tail().lines().last().unwrap_or_default().to_owned();
        self.diary.note("without-disk", &format!("{} {end}: {last}", instance.name()));
        let freed = self.fleet.disk().map_or(Ok(()), Disk::free);
        freed?;
        if !self.fleet.instance(victim).is_running() {
            self.fleet.instance(victim).start()?;
        }
        self.wait_over(Fault::FullDisk, &owned, since)
    }

    fn step_clock(&mut self) -> Result<()> {
        let victim = self.victim();
        let seconds = self.dice.i64(STEP_SECONDS) * if self.dice.bool() { 1 } else { -1 };
        let owned = self.owned(victim)?;
        let instance = self.fleet.instance(victim);
        let name = instance.name().to_owned();
        let Some(clock) = instance.clock() else { return Err("this fleet has no clocks".into()) };
        clock.step(seconds)?;
        self.diary.note(Fault::ClockStep.name(), &format!("{name} to {seconds:+} s"));
        self.pause.pause(STEPPED);
        self.wait_over(Fault::ClockStep, &owned, Instant::now())
    }

    /// What the victim has: something, or a fault would hit nobody, and an instance that never came back would not be noticed.
    fn owned(&mut self, victim: usize) -> Result<[Vec<i32>; 2]> {
        let name = self.fleet.instance(victim).name().to_owned();
        let ground = &self.ground;
        Ok(wait::until(&format!("{name} to have partitions"), PATIENCE, || {
            let owned = ownership::of(ground, &name).map_err(|error| error.to_string())?;
            if owned.iter().all(Vec::is_empty) { Err("it has none".to_owned()) } else { Ok(owned) }
        })?)
    }

    /// Until the others have all that was the victim's. Its session has to end first.
    fn wait_taken_over(&mut self, victim: usize, owned: &[Vec<i32>; 2]) -> Result<()> {
        let others: Vec<String> = self.fleet.directories().into_iter().map(|(name, _)| name).collect();
        let others: Vec<&String> = others.iter().enumerate().filter(|(at, _)| *at != victim).map(|(_, n)| n).collect();
        wait::until("a take-over", SESSION + PATIENCE, || {
            let mut missing = owned.clone();
            for other in &others {
                let theirs = ownership::of(&self.ground, other).map_err(|error| error.to_string())?;
                missing
                    .iter_mut()
                    .zip(&theirs)
                    .for_each(|(missing, theirs)| missing.retain(|one| !theirs.contains(one)));
            }
            if missing.iter().all(Vec::is_empty) { Ok(()) } else { Err(format!("nobody has {missing:?}")) }
        })?;
        Ok(())
    }

    fn wait_over(&mut self, fault: Fault, owned: &[Vec<i32>; 2], since: Instant) -> Result<()> {
        let outage = Outage::new(&self.positions, owned, since)?;
        let (fleet, diary) = (&mut self.fleet, &mut self.diary);
        let recovery = outage.wait(&self.positions, || fleet.supervise(diary));
        let recovery = recovery.map_err(|error| format!("after {}: {error}", fault.name()))?;
        self.outages.extend(recovery.map(|recovery| (fault, recovery)));
        Ok(())
    }

    fn quarantined(&self) -> usize {
        let count = |(_, directory): &(String, std::path::PathBuf), stage: &Stage| {
            let entries = std::fs::read_dir(directory.join(&stage.application).join("quarantine"));
            entries.map_or(0, Iterator::count)
        };
        let stages = self.ground.stages();
        self.fleet.directories().iter().map(|own| stages.iter().map(|stage| count(own, stage)).sum::<usize>()).sum()
    }
}

/// Events that the control arm has to do, and the kills that are spread over them.
const CONTROL_EVENTS: u64 = 20_000;
const CONTROL_ROUND: u32 = 5;
/// Kills within which the control arm must be caught.
pub const CONTROL_KILLS: u32 = 50;
/// What a record takes in the control arm, so that a kill meets it at work.
const CONTROL_PACE: Duration = Duration::from_micros(50);

/// The control arm: the loop of librdkafka's example, killed until the checker finds something. What it found, and after how
/// many kills.
///
/// # Errors
/// It does not get on.
pub fn control(brokers: Brokers<'_>, program: &Program, seed: u64) -> Result<(Findings, u32)> {
    let mut kills = 0;
    while kills < CONTROL_KILLS {
        let findings = control_round(brokers, program, seed + u64::from(kills))?;
        kills += CONTROL_ROUND;
        if !findings.is_clean() {
            return Ok((findings, kills));
        }
    }
    Ok((Findings::default(), kills))
}

fn control_round(brokers: Brokers<'_>, program: &Program, seed: u64) -> Result<Findings> {
    let ground = Ground::new(&brokers.servers(), "control", PARTITIONS);
    ground.create(brokers.replication())?;
    let mut source = Source::new(&ground, seed)?;
    source.send(CONTROL_EVENTS)?;
    source.flush()?;
    let mut diary = Diary::default();
    let composition = Composition { kind: Kind::Naive, instances: 1, pace: CONTROL_PACE, disk: false, clocks: false };
    let mut fleet = Fleet::start(program, &ground, &composition, &mut diary)?;
    let positions = Positions::new(&ground)?;
    let count = || positions.output_end().map_err(|error| error.to_string());
    let reach = |wanted: u64| -> Result<()> {
        wait::until("the control arm's output", PATIENCE, || match count()? {
            count if count >= wanted => Ok(()),
            count => Err(format!("{count} of {wanted}")),
        })?;
        Ok(())
    };
    for kill in 1..=u64::from(CONTROL_ROUND) {
        reach(kill * CONTROL_EVENTS / u64::from(CONTROL_ROUND + 1))?;
        fleet.instance(0).kill()?;
        diary.note(Fault::Kill.name(), "the control arm");
        fleet.instance(0).start()?;
    }
    reach(CONTROL_EVENTS)?;
    // Its last commit: what it has produced is there by then, lost or not.
    positions.wait_first_drained(|| fleet.supervise(&mut diary))?;
    fleet.instance(0).kill()?;
    let findings = judge_outputs(&ground, source.produced())?;
    ground.delete()?;
    Ok(findings)
}
