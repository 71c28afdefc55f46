//! The demo's course: start, load, a script, a target that goes away, a kill, settle, judge.

use std::collections::{BTreeSet, VecDeque};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chaos::queue::ground::TOKEN;
use chaos::wal::judge::{Findings, Witness};
use chaos::wal::results::{Follower, read};
use chaos::wal::settings::{NAMESPACE, TARGETS};
use chaos::wal::stores;
use testbed::wait;

use super::events::{Effects, Events};
use super::mutations::{Mutations, SESSIONS};
use super::python::{ByPython, put};
use super::stage::{Stage, parts};
use super::verdict::Verdict;
use crate::Result;
use crate::progress::Progress;

/// Mutations per second, if nothing is said.
const RATE: u32 = 100;
/// Between two updates of the display.
const TICK: Duration = Duration::from_secs(1);
/// Time for everything that was written to end, what was put off included.
const SETTLE_DEADLINE: Duration = Duration::from_secs(120);

/// Runs the demo; prints its last line.
pub(crate) fn run(duration: Duration, rate: Option<u32>) -> Result<ExitCode> {
    let mut progress = Progress::new();
    progress.stage("starting Kafka, schema registry, Redis, PostgreSQL, Prometheus");
    let (bed, addresses) = parts()?;
    let mut stage = Stage::build(&bed, addresses, &progress)?;
    show_addresses(&stage, &progress)?;
    let (follower, events) = (Follower::start(&stage.ground)?, Events::start(bed.redis()?)?);
    let mut mutations = Mutations::new(&stage.ground)?;
    let mut course = Course { stage: &mut stage, progress: &mut progress, follower: &follower, steps: STEPS.into() };
    let python = course.under_load(&mut mutations, duration, rate.unwrap_or(RATE))?;
    progress.stage("waiting until everything has ended");
    let count = mutations.results(TARGETS.len()) + python.tokens.len() * TARGETS.len();
    let settled = wait::until("all mutations to end", SETTLE_DEADLINE, || match stage.check() {
        Err(error) => Ok(Err(error)),
        Ok(()) if follower.count() >= count => Ok(Ok(())),
        Ok(()) => Err(format!("{} of {count} have", follower.count())),
    });
    match settled {
        Ok(outcome) => outcome?,
        // What is missing, the comparison says.
        Err(error @ testbed::Error::Timeout { .. }) => progress.say(&error.to_string()),
        Err(error) => return Err(error.into()),
    }
    let stopped = stage.stop();
    follower.finish()?;
    progress.stage("comparing each mutation with what its targets have done");
    let witnesses = witnesses(&stage, &mutations, &python, events.finish()?)?;
    let verdict = Verdict::reach(&mutations, &python, read(&stage.ground)?, witnesses);
    progress.clear();
    report(&verdict, &mutations);
    stopped?;
    drop(stage);
    drop(bed);
    Ok(conclude(&verdict, &mutations, &python))
}

/// Starts everything and waits for Ctrl-C.
pub(crate) fn up() -> Result<ExitCode> {
    let progress = Progress::new();
    progress.stage("starting Kafka, schema registry, Redis, PostgreSQL, Prometheus");
    let (bed, addresses) = parts()?;
    let mut stage = Stage::build(&bed, addresses, &progress)?;
    show_addresses(&stage, &progress)?;
    progress.clear();
    println!(
        "demo: write to http://{}/v1/{NAMESPACE}/log (bearer token {TOKEN}), or to write-ahead-log.mutations; the namespaces are \
         {NAMESPACE} (values are {{\"token\": \"…\"}}) and {SESSIONS}; results are in write-ahead-log.results. Ctrl-C ends it.",
        addresses[0]
    );
    let ended = loop {
        match wait::until("Ctrl-C", TICK, || stage.check().map_or_else(Ok, |()| Err(String::new()))) {
            Ok(died) => break Err(died),
            Err(testbed::Error::Interrupted) => break Ok(ExitCode::SUCCESS),
            Err(_) => {}
        }
    };
    stage.stop()?;
    ended
}

fn show_addresses(stage: &Stage<'_>, progress: &Progress) -> Result<()> {
    for (name, address) in stage.addresses()? {
        progress.say(&format!("{name:<16} {address}"));
    }
    Ok(())
}

/// What happens while mutations are written, and after which part of the time.
#[derive(Debug, Clone, Copy)]
enum Step {
    Script,
    Away,
    Kill,
    Back,
}

const STEPS: [(f64, Step); 4] = [(0.15, Step::Script), (0.3, Step::Away), (0.5, Step::Back), (0.65, Step::Kill)];

struct Course<'a, 'b> {
    stage: &'a mut Stage<'b>,
    progress: &'a mut Progress,
    follower: &'a Follower,
    /// Those that are to come.
    steps: VecDeque<(f64, Step)>,
}

impl Course<'_, '_> {
    /// Writes at the rate until the time is over.
    fn under_load(&mut self, mutations: &mut Mutations, duration: Duration, rate: u32) -> Result<ByPython> {
        self.progress.begin(duration);
        let (start, mut shown, mut python) = (Instant::now(), Instant::now(), ByPython::default());
        let over = wait::until("the load to end", duration + SETTLE_DEADLINE, || {
            let elapsed = start.elapsed().min(duration);
            let mut turn = || -> Result<()> {
                mutations.write_to((elapsed.as_secs_f64() * f64::from(rate)) as u64)?;
                let part = elapsed.as_secs_f64() / duration.as_secs_f64();
                while let Some((_, step)) = self.steps.pop_front_if(|(at, _)| *at <= part) {
                    python = self.step(step)?.unwrap_or(std::mem::take(&mut python));
                }
                if shown.elapsed() >= TICK {
                    shown = Instant::now();
                    let (written, ended) = (mutations.count(), self.follower.count());
                    self.progress.at(elapsed, &format!("{written} mutations written  {ended} results"));
                }
                self.stage.check()
            };
            match turn() {
                Err(error) => Ok(Err(error)),
                Ok(()) if elapsed == duration => Ok(Ok(())),
                Ok(()) => Err("it runs".to_owned()),
            }
        });
        over??;
        self.progress.end();
        mutations.flush()?;
        Ok(python)
    }

    /// What the script has written, if it was its turn.
    fn step(&mut self, step: Step) -> Result<Option<ByPython>> {
        let postgres = self.stage.bed.postgres()?;
        match step {
            Step::Script => {
                let python = put(self.stage.instances[1].address())?;
                self.progress.say(&format!("put.py has written {} mutations over HTTP", python.tokens.len()));
                return Ok(Some(python));
            }
            Step::Away => {
                postgres.kill();
                self.progress.say(&format!("kill -9 of PostgreSQL after {} results", self.follower.count()));
            }
            Step::Back => {
                let results = self.follower.count();
                postgres.start()?;
                self.progress
                    .say(&format!("PostgreSQL is started again; the other targets went on, {results} results"));
            }
            Step::Kill => {
                let instance = &mut self.stage.instances[0];
                let old = instance.pid().unwrap_or_default();
                instance.kill()?;
                instance.start()?;
                let new = instance.pid().unwrap_or_default();
                self.progress.say(&format!("kill -9 {old}; restarted at once as {new}"));
            }
        }
        Ok(None)
    }
}

/// What the sessions' target has done, and the stock's.
fn witnesses(
    stage: &Stage<'_>,
    mutations: &Mutations,
    python: &ByPython,
    sessions: Effects,
) -> Result<(Witness, [Witness; 3])> {
    let (redis, postgres) = (stage.bed.redis()?, stage.bed.postgres()?);
    let keys: BTreeSet<&str> = mutations.sessions.iter().map(|one| one.planned.key.as_str()).collect();
    let values = stores::values(redis, &format!("{SESSIONS}:"), keys)?;
    let sessions = Witness { target: SESSIONS, effects: Some(sessions), values, ..Witness::default() };
    let keys = mutations.stock.iter().map(|one| one.planned.key.as_str());
    let keys: BTreeSet<&str> = keys.chain(python.values.iter().map(|(key, _)| key.as_str())).collect();
    let [cache, rows, book] = TARGETS;
    let values = stores::values(redis, &format!("{NAMESPACE}:"), keys)?;
    let cache = Witness { target: cache, values, ..Witness::default() };
    let (effects, values) = (Some(stores::effects(postgres)?), stores::rows(postgres)?);
    let rows = Witness { target: rows, effects, values, ..Witness::default() };
    Ok((sessions, [cache, rows, stage.receiver.book().witness(book)]))
}

/// Says in words what was found.
fn report(verdict: &Verdict, mutations: &Mutations) {
    for example in &verdict.findings.examples {
        println!("demo: {example}");
    }
    if verdict.findings.overtaken > 0 {
        // See `chaos::wal::judge`: the kill came between an effect and the log's knowing of it.
        println!(
            "demo: {:>6} writes had no effect, because a later one of their key was there already",
            verdict.findings.overtaken
        );
    }
    let (first, last) = (verdict.jitter_ms(0.0), verdict.jitter_ms(1.0));
    println!(
        "demo: {:>6} sessions put, and deleted 5 s later and up to 5 s of jitter: the first {first} ms after the 5 s, the last {last} ms",
        mutations.sessions.len() / 2
    );
    println!(
        "demo: {:>6} writes of stock, at Redis, PostgreSQL and the receiver, each key in its order; at Redis after p50 {} ms, p99 {} ms",
        mutations.stock.len(),
        verdict.ms(0.50),
        verdict.ms(0.99),
    );
}

/// The last line.
fn conclude(verdict: &Verdict, mutations: &Mutations, python: &ByPython) -> ExitCode {
    let Findings { lost, duplicated, early, reordered, .. } = verdict.findings;
    let (count, applied, delayed) = (mutations.count() + python.tokens.len(), verdict.applied, mutations.delayed);
    let (p50, p99) = (verdict.ms(0.50), verdict.ms(0.99));
    println!(
        "demo: mutations={count} applied={applied} delayed={delayed} lost={lost} duplicated_effects={duplicated} early={early} \
         reordered={reordered} p50_ms={p50} p99_ms={p99}"
    );
    if verdict.findings.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
