//! Mutations of all lanes, while instances are killed at random again and again, and now and then one of three brokers, or a target.
//!
//! ```text
//!  plan (by seed) ─▶ load, intake ────────────────────────────────────────▶ all have ended ─▶ SIGTERM ─▶ judge
//!  when so many have ended: kill -9 of an instance, which starts again at once, some of them twice
//!  after some kills: kill -9 of a broker, in its turn; two kills later it is started again
//!  after others: kill -9 of Redis or of PostgreSQL, or the receiver is away; with the next kill it is back
//! ```
//!
//! A broker is only killed while all replicas of everything are in sync. So none is ever the only one that has a record.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testbed::{Kafka, Postgres, Redis, free_port, wait};

use super::PATIENCE;
use super::intake::Intake;
use super::judge::{Findings, Witness, judge};
use super::load::{Load, Window};
use super::plan::{Lane, Written, plan};
use super::receiver::{Manners, Receiver};
use super::results::{Follower, read};
use super::settings::{NAMESPACE, TARGETS, configure, namespace, set};
use super::stores;
use crate::Result;
use crate::brokers::Brokers;
use crate::fault::Diary;
use crate::pause::Stop;
use crate::queue::ground::Ground;
use crate::queue::member::Member;

/// The binary.
const BINARY: &str = "write-ahead-log";
/// Instances.
const MEMBERS: [&str; 2] = ["one", "two"];
/// Mutations that may be open at the same time, of all.
const WINDOW: usize = 2_000;
/// Kills of instances between two of brokers, and while a broker is away; between two of targets.
const BETWEEN_BROKERS: u32 = 4;
const AWAY: u32 = 2;
const BETWEEN_TARGETS: u32 = 2;
/// A target is away for so long at least, so that mutations are parked, and breakers open.
const TARGET_AWAY: Duration = Duration::from_secs(4);
/// Between the two kills of one that is killed twice, in milliseconds.
const AGAIN_MS: std::ops::Range<u64> = 50..2_500;
/// One in so many kills is followed by another one at once.
const TWICE: u32 = 5;
/// Of the receiver's calls, one in so many fails, and one in so many hangs, for longer than a target's timeout.
const FAILS: u32 = 15;
const HANGS: u32 = 1_000;
const HANG: Duration = Duration::from_secs(3);

/// The stores that are targets.
#[derive(Debug, Clone, Copy)]
pub struct Stores<'a> {
    /// Keys and values.
    pub redis: &'a Redis,
    /// Rows.
    pub postgres: &'a Postgres,
}

/// What is wanted of a run.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Decides about the mutations, the victims, and which calls fail.
    pub seed: u64,
    /// How many mutations.
    pub mutations: u32,
    /// How many kills of instances.
    pub kills: u32,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// What the judge says.
    pub findings: Findings,
    /// Calls of the receiver, and those of what it had done already.
    pub calls: usize,
    /// See `calls`.
    pub repeated: usize,
    /// Kills of instances.
    pub instance_kills: u32,
    /// Kills of brokers.
    pub broker_kills: u32,
    /// Kills of Redis and PostgreSQL.
    pub target_kills: u32,
    /// Instances that ended by themselves, and were started again.
    pub exits: u32,
    /// From the first mutation to the last result.
    pub took: Duration,
    /// What was done.
    pub diary: Diary,
}

/// A target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Redis,
    Postgres,
    Receiver,
}

struct Run<'a> {
    brokers: Brokers<'a>,
    stores: Stores<'a>,
    ground: Ground,
    receiver: Receiver,
    members: Vec<Member>,
    dice: fastrand::Rng,
    diary: Diary,
    pause: Stop,
    instance_kills: u32,
    broker_kills: u32,
    target_kills: u32,
    /// How often a target was made to be away.
    disturbed: u32,
    exits: u32,
    /// The broker that is away, and how many kills of instances it stays so.
    broker_away: Option<(&'a Kafka, u32)>,
    /// The target that is away, and since when.
    target_away: Option<(Target, Instant)>,
}

/// Runs it on three brokers, with stores that nobody else has.
///
/// # Errors
/// Something has not recovered; the logs are kept and named then.
pub fn run(brokers: Brokers<'_>, registry: &str, stores: Stores<'_>, wanted: &Wanted) -> Result<Outcome> {
    println!("seed {}: {} mutations, {} kills", wanted.seed, wanted.mutations, wanted.kills);
    let mut directory = TempDir::with_prefix("headrace-chaos-")?;
    let ground = Ground::new(&brokers.servers(), registry, "log", brokers.replication());
    let receiver = Receiver::start(Manners { seed: wanted.seed, fails: FAILS, hangs: HANGS, hang: HANG })?;
    stores::prepare(stores.postgres)?;
    let members = members(&ground, &receiver, stores, &directory)?;
    let mut run = Run {
        brokers,
        stores,
        ground,
        receiver,
        members,
        dice: fastrand::Rng::with_seed(wanted.seed),
        diary: Diary::default(),
        pause: Stop::default(),
        instance_kills: 0,
        broker_kills: 0,
        target_kills: 0,
        disturbed: 0,
        exits: 0,
        broker_away: None,
        target_away: None,
    };
    let done = run.carry_out(wanted);
    if !done.as_ref().is_ok_and(|(findings, _)| findings.is_clean()) {
        directory.disable_cleanup(true);
        eprintln!("logs: {}", directory.path().display());
    }
    let (findings, took) = done?;
    let Run { instance_kills, broker_kills, target_kills, exits, diary, receiver, .. } = run;
    let (calls, repeated) = {
        let book = receiver.book();
        (book.calls, book.repeated)
    };
    Ok(Outcome { findings, calls, repeated, instance_kills, broker_kills, target_kills, exits, took, diary })
}

fn members(ground: &Ground, receiver: &Receiver, stores: Stores<'_>, directory: &TempDir) -> Result<Vec<Member>> {
    let member = |name: &&str| {
        let http = format!("127.0.0.1:{}", free_port()?);
        let config = configure(ground, &directory.path().join(name), name, &http, "")?;
        Member::of(BINARY, name, config, http)
    };
    let mut members = MEMBERS.iter().map(member).collect::<Result<Vec<_>>>()?;
    members[0].apply()?;
    set(ground, NAMESPACE, &namespace(stores.redis, stores.postgres, receiver))?;
    members.iter_mut().try_for_each(Member::start)?;
    members.iter_mut().try_for_each(Member::wait_ready)?;
    Ok(members)
}

impl Run<'_> {
    fn carry_out(&mut self, wanted: &Wanted) -> Result<(Findings, Duration)> {
        let (all, started) = (wanted.mutations as usize * TARGETS.len(), Instant::now());
        let follower = Follower::start(&self.ground)?;
        // Small enough that the kills come while mutations are written.
        let open = WINDOW.min(wanted.mutations as usize / 4).max(1);
        let window = Window { ended: follower.ended(), open };
        let plan = plan(wanted.seed, wanted.mutations).into_iter().enumerate();
        let (web, topic): (Vec<_>, Vec<_>) = plan.partition(|(_, planned)| planned.lane == Lane::Web);
        let load = Load::start(&self.ground, topic, window.clone())?;
        let instances = self.members.iter().map(|member| member.http().to_owned()).collect();
        let intake = Intake::start(instances, web, window);
        for kill in 1..=wanted.kills {
            self.wait_ended(&follower, all * kill as usize / (wanted.kills as usize + 1))?;
            self.disturb()?;
        }
        self.bring_back()?;
        let ended = self.wait_ended(&follower, all);
        let took = started.elapsed();
        // Whether all have ended or not: what is missing, the judge says.
        if let Err(error) = &ended {
            println!("WRONG: {error}");
        }
        let mut written = load.finish()?;
        written.extend(intake.finish()?);
        if written.len() < wanted.mutations as usize {
            return Err(format!("only {} of {} mutations were written", written.len(), wanted.mutations).into());
        }
        // One that was killed a moment ago may not hear signals yet.
        self.members.iter_mut().try_for_each(Member::wait_ready)?;
        self.members.iter().try_for_each(Member::tell_to_end)?;
        self.members.iter_mut().try_for_each(Member::wait_end)?;
        follower.finish()?;
        self.diary.note("judge", &format!("{} mutations", written.len()));
        Ok((judge(&written, Some(&read(&self.ground)?), &self.witnesses(&written)?), took))
    }

    fn witnesses(&self, written: &[Written]) -> Result<[Witness; 3]> {
        let Stores { redis, postgres } = self.stores;
        let ([cache, rows, book], keys) = (TARGETS, written.iter().map(|one| one.planned.key.as_str()));
        let keys: BTreeSet<&str> = keys.collect();
        let values = stores::values(redis, &format!("{NAMESPACE}:"), keys)?;
        let cache = Witness { target: cache, values, ..Witness::default() };
        let (effects, values) = (Some(stores::effects(postgres)?), stores::rows(postgres)?);
        let rows = Witness { target: rows, effects, values, ..Witness::default() };
        Ok([cache, rows, self.receiver.book().witness(book)])
    }

    /// Waits until there are so many results. It may take as long as it does, but has to go on.
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
                    format!("nothing has ended for {PATIENCE:?}; {count} results, {due} were waited for").into()
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
        match self.target_away.take() {
            Some(away) => self.bring_target_back(away)?,
            None if self.instance_kills / BETWEEN_TARGETS > self.disturbed => self.take_target_away(),
            None => {}
        }
        match self.broker_away.take() {
            Some((broker, 0)) => self.restart(broker),
            Some((broker, left)) => {
                self.broker_away = Some((broker, left - 1));
                Ok(())
            }
            None if self.instance_kills / BETWEEN_BROKERS > self.broker_kills => self.kill_broker(),
            None => Ok(()),
        }
    }

    fn kill(&mut self, victim: usize) -> Result<()> {
        let member = &mut self.members[victim];
        member.kill()?;
        self.instance_kills += 1;
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
        self.broker_away = Some((broker, AWAY - 1));
        Ok(())
    }

    fn restart(&mut self, broker: &Kafka) -> Result<()> {
        broker.start()?;
        self.diary.note("broker-start", &format!("kafka {}", broker.node_id()));
        Ok(())
    }

    fn take_target_away(&mut self) {
        let all = [Target::Redis, Target::Postgres, Target::Receiver];
        let target = all[self.disturbed as usize % all.len()];
        match target {
            Target::Redis => self.stores.redis.kill(),
            Target::Postgres => self.stores.postgres.kill(),
            Target::Receiver => self.receiver.book().away = true,
        }
        self.disturbed += 1;
        self.target_kills += u32::from(target != Target::Receiver);
        self.diary.note("target-away", &format!("{target:?}"));
        self.target_away = Some((target, Instant::now()));
    }

    fn bring_target_back(&mut self, (target, since): (Target, Instant)) -> Result<()> {
        self.pause.pause(TARGET_AWAY.saturating_sub(since.elapsed()));
        match target {
            Target::Redis => self.stores.redis.start()?,
            Target::Postgres => self.stores.postgres.start()?,
            Target::Receiver => self.receiver.book().away = false,
        }
        self.diary.note("target-back", &format!("{target:?}"));
        Ok(())
    }

    fn bring_back(&mut self) -> Result<()> {
        self.target_away.take().map_or(Ok(()), |away| self.bring_target_back(away))?;
        self.broker_away.take().map_or(Ok(()), |(broker, _)| self.restart(broker))
    }
}
