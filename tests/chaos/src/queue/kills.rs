//! Tasks of all fates, while instances are killed at random again and again, and now and then one of three brokers.
//!
//! ```text
//!  plan (by seed) ─▶ submit ──────────────────────────────────────────────▶ all have ended ─▶ SIGTERM ─▶ judge
//!  when so many have ended: kill -9 of an instance, which starts again at once, some of them twice
//!  after some kills: kill -9 of a broker, in its turn; two kills later it is started again
//! ```
//!
//! A broker is only killed while all replicas of everything are in sync. So none is ever the only one that has a record.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use testbed::{Kafka, wait};

use super::PATIENCE;
use super::fate::{QUEUES, plan};
use super::ground::{Ground, Queue};
use super::handlers::Handlers;
use super::judge::{Findings, judge};
use super::member::Member;
use super::results::{Follower, read};
use super::submit::Load;
use crate::Result;
use crate::brokers::Brokers;
use crate::fault::Diary;
use crate::pause::Stop;

/// Instances.
const MEMBERS: [&str; 3] = ["one", "two", "three"];
/// Clients that ask each of them.
const CLIENTS: usize = 12;
/// Calls, and leases, at the same time in each.
const CONCURRENCY: usize = 32;
/// Tasks that may be open at the same time, of all.
const WINDOW: usize = 3_000;
/// Kills of instances between two of brokers, and while a broker is away.
const BETWEEN: u32 = 6;
const AWAY: u32 = 2;
/// Between the two kills of one that is killed twice, in milliseconds.
const AGAIN_MS: std::ops::Range<u64> = 50..2_500;
/// One in so many kills is followed by another one at once.
const TWICE: u32 = 5;
/// Of records that a member holds: those of one that is cut off come again after it.
const LOCK_MS: &str = "8000";

/// What is wanted of a run.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Decides about the tasks, the victims, and when.
    pub seed: u64,
    /// How many tasks.
    pub tasks: u32,
    /// How many kills of instances.
    pub kills: u32,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// What the judge says.
    pub findings: Findings,
    /// Calls of handlers.
    pub calls: usize,
    /// Kills of instances.
    pub worker_kills: u32,
    /// Kills of brokers.
    pub broker_kills: u32,
    /// Instances that ended by themselves, and were started again.
    pub exits: u32,
    /// From the first task to the last result.
    pub took: Duration,
    /// What was done.
    pub diary: Diary,
}

struct Run<'a> {
    brokers: Brokers<'a>,
    ground: Ground,
    members: Vec<Member>,
    dice: fastrand::Rng,
    diary: Diary,
    pause: Stop,
    worker_kills: u32,
    broker_kills: u32,
    exits: u32,
    /// The broker that is away, and how many kills of instances it stays so.
    away: Option<(&'a Kafka, u32)>,
}

/// Runs it on three brokers.
///
/// # Errors
/// Something has not recovered; the logs are kept and named then.
pub fn run(brokers: Brokers<'_>, registry: &str, wanted: &Wanted) -> Result<Outcome> {
    println!("seed {}: {} tasks, {} kills", wanted.seed, wanted.tasks, wanted.kills);
    let mut directory = TempDir::with_prefix("headrace-chaos-")?;
    let ground = Ground::new(&brokers.servers(), registry, "queue", brokers.replication());
    let handlers = Handlers::start()?;
    let members = members(&ground, &handlers, &directory)?;
    let (dice, diary, pause) = (fastrand::Rng::with_seed(wanted.seed), Diary::default(), Stop::default());
    let mut run =
        Run { brokers, ground, members, dice, diary, pause, worker_kills: 0, broker_kills: 0, exits: 0, away: None };
    let done = run.carry_out(wanted, &handlers);
    let is_clean = done.as_ref().is_ok_and(|(findings, _)| findings.is_clean());
    if !is_clean {
        directory.disable_cleanup(true);
        eprintln!("logs: {}", directory.path().display());
    }
    let (findings, took) = done?;
    let Run { worker_kills, broker_kills, exits, diary, .. } = run;
    let calls = handlers.calls().values().map(Vec::len).sum();
    Ok(Outcome { findings, calls, worker_kills, broker_kills, exits, took, diary })
}

fn members(ground: &Ground, handlers: &Handlers, directory: &TempDir) -> Result<Vec<Member>> {
    let [called, asked] = QUEUES;
    let member = |name: &&str| {
        let pushed = format!("push = \"{}\"", handlers.url(name));
        let queues = [(called, pushed), (asked, "pull = true\ntimeout = \"5s\"".to_owned())];
        let queue = |(name, handled)| Queue { name, handled, concurrency: CONCURRENCY };
        Member::prepare(ground, directory.path(), name, &queues.map(queue))
    };
    let mut members = MEMBERS.iter().map(member).collect::<Result<Vec<_>>>()?;
    members[0].apply()?;
    for queue in [called, asked] {
        ground.set_group(&ground.group(queue), ("share.record.lock.duration.ms", LOCK_MS))?;
    }
    members.iter_mut().try_for_each(Member::start)?;
    members.iter_mut().try_for_each(Member::wait_ready)?;
    members.iter().for_each(|member| handlers.ask(member.http(), asked, CLIENTS));
    Ok(members)
}

impl Run<'_> {
    fn carry_out(&mut self, wanted: &Wanted, handlers: &Handlers) -> Result<(Findings, Duration)> {
        let (tasks, started) = (wanted.tasks as usize, Instant::now());
        let follower = Follower::start(&self.ground)?;
        // Small enough that the kills come while tasks are submitted.
        let window = WINDOW.min(tasks / 4).max(1);
        let load = Load::start(&self.ground, plan(wanted.seed, wanted.tasks), window, &follower)?;
        for kill in 1..=wanted.kills {
            let due = tasks * kill as usize / (wanted.kills as usize + 1);
            self.wait_ended(&follower, due)?;
            self.disturb()?;
        }
        self.bring_back()?;
        let all = self.wait_ended(&follower, tasks);
        let took = started.elapsed();
        // Whether all have ended or not: what is missing, the judge says.
        if let Err(error) = &all {
            println!("WRONG: {error}");
        }
        let submitted = load.finish()?;
        // One that was killed a moment ago may not hear signals yet.
        self.members.iter_mut().try_for_each(Member::wait_ready)?;
        self.members.iter().try_for_each(Member::tell_to_end)?;
        self.members.iter_mut().try_for_each(Member::wait_end)?;
        follower.finish()?;
        self.diary.note("judge", &format!("{} tasks", submitted.len()));
        Ok((judge(&submitted, &read(&self.ground)?, &handlers.calls()), took))
    }

    /// Waits until so many tasks have ended. It may take as long as it does, but has to go on.
    fn wait_ended(&mut self, follower: &Follower, due: usize) -> Result<()> {
        let (mut last, mut since) = (follower.count(), Instant::now());
        loop {
            let count = follower.count();
            if count >= due {
                return Ok(());
            }
            if count > last {
                (last, since) = (count, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                return Err(
                    format!("nothing has ended for {PATIENCE:?}; {count} tasks have, {due} were waited for").into()
                );
            }
            self.supervise()?;
            self.pause.pause(Duration::from_millis(10));
        }
    }

    /// Starts again whoever has ended by itself, as a supervisor would.
    fn supervise(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(status) = member.ended()? {
                self.exits += 1;
                let tail = member.tail();
                let last = tail.lines().last().unwrap_or_default();
                self.diary.note("exit", &format!("{} by itself ({status}): {last}", member.name()));
                member.start()?;
            }
        }
        Ok(())
    }

    fn disturb(&mut self) -> Result<()> {
        let victim = self.dice.usize(0..self.members.len());
        self.kill(victim)?;
        if self.dice.u32(0..TWICE) == 0 {
            let again = self.dice.u64(AGAIN_MS);
            self.pause.pause(Duration::from_millis(again));
            self.kill(victim)?;
        }
        match self.away.take() {
            Some((broker, 0)) => self.restart(broker),
            Some((broker, left)) => {
                self.away = Some((broker, left - 1));
                Ok(())
            }
            None if self.worker_kills / BETWEEN > self.broker_kills => self.kill_broker(),
            None => Ok(()),
        }
    }

    fn kill(&mut self, victim: usize) -> Result<()> {
        let member = &mut self.members[victim];
        member.kill()?;
        self.worker_kills += 1;
        self.diary.note("kill", member.name());
        member.start()
    }

    fn kill_broker(&mut self) -> Result<()> {
        wait::until("all replicas to be in sync", PATIENCE, || {
            self.brokers.in_sync(&self.ground.client()).map_err(|error| error.to_string())
        })?;
        let broker = self.brokers.in_turn(self.broker_kills as usize);
        broker.kill();
        self.broker_kills += 1;
        self.diary.note("broker-kill", &format!("kafka {}", broker.node_id()));
        self.away = Some((broker, AWAY - 1));
        Ok(())
    }

    fn restart(&mut self, broker: &Kafka) -> Result<()> {
        broker.start()?;
        self.diary.note("broker-start", &format!("kafka {}", broker.node_id()));
        Ok(())
    }

    fn bring_back(&mut self) -> Result<()> {
        self.away.take().map_or(Ok(()), |(broker, _)| self.restart(broker))
    }
}
