//! The demo's course: start, load, kill midway, settle, judge.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use testbed::wait;
use tokio::runtime::Runtime;

use crate::Result;
use crate::load::Load;
use crate::metrics;
use crate::progress::Progress;
use crate::sampler::{Latencies, Sampler};
use crate::stage::{Stage, parts};
use crate::verdict::Verdict;

/// What pgbench may take longer than it was told, for connecting and for finishing.
const LOAD_OVERTIME: Duration = Duration::from_secs(60);
/// Between two updates of the display.
const TICK: Duration = Duration::from_secs(1);
/// Ticks over which the rate of changes is taken.
const RATE_TICKS: usize = 4;
/// Samples from so long before the kill on count to the outage: their changes were on their way.
const BEFORE_KILL: Duration = Duration::from_secs(1);
/// Time for PostgreSQL to end the sessions of the load.
const SESSIONS_DEADLINE: Duration = Duration::from_secs(20);

/// Runs the demo; prints its last line.
pub(crate) fn run(runtime: &Runtime, duration: Duration, rate: u32) -> Result<ExitCode> {
    let mut progress = Progress::new();
    progress.stage("starting Kafka, schema registry, Connect, PostgreSQL, Redis, Prometheus");
    let (bed, address) = parts()?;
    let mut stage = Stage::build(&bed, address, runtime, &progress)?;
    show_addresses(&stage, &progress)?;
    progress.stage("waiting for the snapshot's rows in the cache");
    stage.settle()?;
    let (changes_before, mark) = (stage.database.changes()?, stage.invalidations.mark()?);

    let (latencies, outage) = under_load(&mut stage, runtime, &mut progress, duration, rate)?;
    progress.stage("waiting until everything has arrived");
    wait::until("the load's sessions to end", SESSIONS_DEADLINE, || match stage.database.other_sessions() {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?} are left")),
    })?;
    stage.settle()?;
    let changes = stage.database.changes()? - changes_before;
    let applied = stage.invalidations.count_since(&mark)?;
    progress.stage("comparing each row with the cache");
    let verdict = Verdict::reach(&stage.database, &mut stage.cache)?;
    let stopped = stage.application.stop();
    progress.clear();
    let clean = report(&verdict, &latencies, outage)?;
    stopped?;
    let (p50, p99) = (latencies.ms(0.50, None)?, latencies.ms(0.99, None)?);
    let Verdict { stale, lost, .. } = verdict;
    drop(stage);
    drop(bed);
    println!("demo: changes={changes} applied={applied} stale={stale} lost={lost} p50_ms={p50:.0} p99_ms={p99:.0}");
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts everything and waits for Ctrl-C.
pub(crate) fn up(runtime: &Runtime) -> Result<ExitCode> {
    let progress = Progress::new();
    progress.stage("starting Kafka, schema registry, Connect, PostgreSQL, Redis, Prometheus");
    let (bed, address) = parts()?;
    let mut stage = Stage::build(&bed, address, runtime, &progress)?;
    stage.settle()?;
    show_addresses(&stage, &progress)?;
    progress.clear();
    println!("demo: the shop's rows are in Redis, as public.<table>:<key>; change some with psql. Ctrl-C ends it.");
    let ended = loop {
        match wait::until("Ctrl-C", TICK, || stage.application.check().map_or_else(Ok, |()| Err(String::new()))) {
            Ok(died) => break Err(died),
            Err(testbed::Error::Interrupted) => break Ok(ExitCode::SUCCESS),
            Err(_) => {}
        }
    };
    stage.application.stop()?;
    ended
}

fn show_addresses(stage: &Stage<'_>, progress: &Progress) -> Result<()> {
    for (name, address) in stage.addresses()? {
        progress.say(&format!("{name:<16} {address}"));
    }
    Ok(())
}

/// From shortly before the kill until the lag was gone.
type Outage = (Instant, Instant);

/// Puts the load on, kills the topology at half-time and starts it again.
fn under_load(
    stage: &mut Stage<'_>,
    runtime: &Runtime,
    progress: &mut Progress,
    duration: Duration,
    rate: u32,
) -> Result<(Latencies, Option<Outage>)> {
    let bed = stage.bed;
    std::thread::scope(|scope| {
        let dir = bed.dirs()?.root().join("load");
        std::fs::create_dir(&dir)?;
        let sampler = Sampler::start(bed, runtime)?;
        let load = Load::start(scope, bed, &dir, duration, rate)?;
        progress.begin(duration);
        let mut course = Course::new(stage, duration)?;
        let watched = wait::until("the load to end", duration + LOAD_OVERTIME, || match load.ended() {
            Ok(true) => Ok(Ok(())),
            Err(error) => Ok(Err(error)),
            Ok(false) => course.step(stage, progress).map_or_else(|error| Ok(Err(error)), |()| Err("it runs".into())),
        });
        match watched {
            Ok(Ok(())) => {}
            // The load's thread would go on for its time: this ends it. We are on our way out anyway.
            Ok(Err(error)) => {
                wait::interrupt();
                return Err(error);
            }
            Err(error) => {
                wait::interrupt();
                return Err(error.into());
            }
        }
        progress.end();
        progress.stage("waiting for the last samples");
        Ok((sampler.finish(runtime)?, course.outage()))
    })
}

/// What happens while the load is on.
struct Course {
    start: Instant,
    duration: Duration,
    killed: Option<Instant>,
    recovered: Option<Instant>,
    /// Applied by the first life, as of its last scrape; for the display only.
    applied_before: u64,
    applied_at_start: u64,
    /// Applied by the life that runs.
    last: u64,
    next_tick: Instant,
    /// The last counts of changes, for a rate that does not jump: PostgreSQL's sessions tell theirs once a second.
    changes: VecDeque<(Instant, u64)>,
}

impl Course {
    fn new(stage: &Stage<'_>, duration: Duration) -> Result<Self> {
        let now = Instant::now();
        let last = metrics::applied(stage.application.address()).unwrap_or_default();
        Ok(Course {
            start: now,
            duration,
            killed: None,
            recovered: None,
            applied_before: 0,
            applied_at_start: last,
            last,
            next_tick: now + TICK,
            changes: VecDeque::from([(now, stage.database.changes()?)]),
        })
    }

    fn step(&mut self, stage: &mut Stage<'_>, progress: &mut Progress) -> Result<()> {
        stage.application.check()?;
        let elapsed = self.start.elapsed();
        if self.killed.is_none() && elapsed >= self.duration / 2 {
            self.kill(stage, progress)?;
        }
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + TICK;
            self.tick(stage, progress, elapsed)?;
        }
        Ok(())
    }

    fn kill(&mut self, stage: &mut Stage<'_>, progress: &Progress) -> Result<()> {
        let old = stage.application.pid().unwrap_or_default();
        self.killed = Some(Instant::now());
        stage.application.kill()?;
        stage.application.start()?;
        let new = stage.application.pid().unwrap_or_default();
        progress.say(&format!("kill -9 {old}; restarted at once as {new}"));
        self.applied_before += self.last;
        self.last = 0;
        Ok(())
    }

    fn tick(&mut self, stage: &Stage<'_>, progress: &mut Progress, elapsed: Duration) -> Result<()> {
        let (now, changes) = (Instant::now(), stage.database.changes()?);
        let (then, before) = self.changes.front().copied().unwrap_or((self.start, 0));
        let rate = (changes - before) as f64 / (now - then).as_secs_f64().max(f64::EPSILON);
        self.changes.push_back((now, changes));
        if self.changes.len() > RATE_TICKS {
            self.changes.pop_front();
        }
        // Nothing while it is away; then what was last seen stays.
        self.last = metrics::applied(stage.application.address()).unwrap_or(self.last);
        let applied = (self.applied_before + self.last).saturating_sub(self.applied_at_start);
        // Asked of the broker: a process that is away, or has no partitions yet, has no lag to tell.
        let lag = stage.lag()?;
        if let (Some(killed), None) = (self.killed, self.recovered)
            && self.last > 0
            && (lag as f64) < rate
        {
            self.recovered = Some(now);
            progress.say(&format!("caught up {:.1} s after the kill", (now - killed).as_secs_f64()));
        }
        progress.at(elapsed, &format!("{rate:.0} changes/s  {applied} applied  lag {lag}"));
        Ok(())
    }

    fn outage(&self) -> Option<Outage> {
        let killed = self.killed?;
        Some((killed.checked_sub(BEFORE_KILL)?, self.recovered.unwrap_or_else(Instant::now)))
    }
}

/// Says in words what was found; whether it was good.
fn report(verdict: &Verdict, latencies: &Latencies, outage: Option<Outage>) -> Result<bool> {
    for example in &verdict.examples {
        println!("demo: {example}");
    }
    if latencies.missing > 0 {
        println!("demo: {} sampled changes never showed in the cache", latencies.missing);
    }
    println!("demo: {} rows compared with their cache entries", verdict.rows);
    println!(
        "demo: commit to cache, {} samples: p50 {:.0} ms, p99 {:.0} ms without the restart; below with it",
        latencies.count(),
        latencies.ms(0.50, outage)?,
        latencies.ms(0.99, outage)?
    );
    Ok(verdict.is_clean() && latencies.missing == 0)
}
