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
use super::orders::{self, LINES};
use super::python::{ByPython, put};
use super::regions::{self, Compared, Regions};
use super::stage::{Stage, parts};
use super::verdict::Verdict;
use crate::Result;
use crate::application::Application;
use crate::progress::Progress;

/// Mutations per second, if nothing is said.
const RATE: u32 = 100;
/// Between two updates of the display.
const TICK: Duration = Duration::from_secs(1);
/// Mutations per second of each region, beside those.
const REGION_RATE: u32 = 20;
/// Time for everything that was written to end, what was put off included.
const SETTLE_DEADLINE: Duration = Duration::from_secs(120);

/// Runs the demo; prints its last line.
pub(crate) fn run(duration: Duration, rate: Option<u32>) -> Result<ExitCode> {
    let mut progress = Progress::new();
    progress.stage("starting Kafka, schema registry, Redis, PostgreSQL, Prometheus");
    let (bed, addresses) = parts()?;
    let mut stage = Stage::build(&bed, addresses, &progress)?;
    progress.stage("starting a second region: Kafka, schema registry, Redis, write-ahead-log");
    let servers = regions::servers(&bed)?;
    let mut regions = Regions::start(&servers, &bed, &stage.ground, &addresses[1].to_string())?;
    show_addresses(&stage, &progress)?;
    let (follower, events) = (Follower::start(&stage.ground)?, Events::start(bed.redis()?)?);
    let mut mutations = Mutations::new(&stage.ground)?;
    let of_region = u32::try_from(duration.as_secs())? * REGION_RATE;
    regions.write(addresses.iter().map(ToString::to_string).collect(), of_region.max(1));
    let mut course = Course {
        stage: &mut stage,
        regions: &mut regions,
        progress: &mut progress,
        follower: &follower,
        steps: STEPS.into(),
        python: ByPython::default(),
        operations: 0,
    };
    course.under_load(&mut mutations, duration, rate.unwrap_or(RATE))?;
    let Course { python, operations, .. } = course;
    progress.stage("waiting until everything has ended");
    let of_regions = regions.written()?;
    // Each region has a result of its own store for both regions' mutations, and of the way for its own: three of two.
    let of_each = of_regions / 2 * 3;
    let count = mutations.results(TARGETS.len()) + python.tokens.len() * TARGETS.len() + operations + of_each;
    let settled = wait::until("all mutations to end", SETTLE_DEADLINE, || {
        let (here, there) = (follower.count(), regions.ended());
        match stage.check().and_then(|()| regions.check()) {
            Err(error) => Ok(Err(error)),
            Ok(()) if here >= count && there >= of_each => Ok(Ok(())),
            Ok(()) => Err(format!("{here} of {count} have, and {there} of {of_each} in the other region")),
        }
    });
    match settled {
        Ok(outcome) => outcome?,
        // What is missing, the comparison says.
        Err(error @ testbed::Error::Timeout { .. }) => progress.say(&error.to_string()),
        Err(error) => return Err(error.into()),
    }
    let stopped = stage.stop().and_then(|()| regions.end());
    follower.finish()?;
    progress.stage("comparing each mutation with what its targets have done");
    let witnesses = witnesses(&stage, &mutations, &python, events.finish()?)?;
    let verdict = Verdict::reach(&mutations, &python, read(&stage.ground)?, witnesses);
    let (compared, is_whole) = (regions.compare(of_regions)?, orders::is_whole(&bed)?);
    progress.clear();
    report(&verdict, &mutations, &compared, is_whole);
    stopped?;
    Ok(conclude(&verdict, &mutations, &python, &compared, is_whole))
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
    Cut,
    Away,
    Back,
    Mend,
    Order,
    Kill,
}

const STEPS: [(f64, Step); 7] = [
    (0.1, Step::Script),
    (0.2, Step::Cut),
    (0.3, Step::Away),
    (0.45, Step::Back),
    (0.5, Step::Mend),
    (0.65, Step::Order),
    (0.66, Step::Kill),
];

struct Course<'a, 'b> {
    stage: &'a mut Stage<'b>,
    regions: &'a mut Regions<'b>,
    progress: &'a mut Progress,
    follower: &'a Follower,
    /// Those that are to come.
    steps: VecDeque<(f64, Step)>,
    /// What the script has written.
    python: ByPython,
    /// Of the order.
    operations: usize,
}

impl Course<'_, '_> {
    /// Writes at the rate until the time is over.
    fn under_load(&mut self, mutations: &mut Mutations, duration: Duration, rate: u32) -> Result<()> {
        self.progress.begin(duration);
        let (start, mut shown) = (Instant::now(), Instant::now());
        let over = wait::until("the load to end", duration + SETTLE_DEADLINE, || {
            let elapsed = start.elapsed().min(duration);
            let mut turn = || -> Result<()> {
                mutations.write_to((elapsed.as_secs_f64() * f64::from(rate)) as u64)?;
                let part = elapsed.as_secs_f64() / duration.as_secs_f64();
                while let Some((_, step)) = self.steps.pop_front_if(|(at, _)| *at <= part) {
                    self.step(step)?;
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
        mutations.flush()
    }

    fn step(&mut self, step: Step) -> Result<()> {
        let postgres = self.stage.bed.postgres()?;
        match step {
            Step::Script => {
                self.python = put(self.stage.instances[1].address())?;
                self.progress.say(&format!("put.py has written {} mutations over HTTP", self.python.tokens.len()));
            }
            Step::Cut => {
                self.regions.cut(true);
                self.progress.say("the way between the regions is cut");
            }
            Step::Mend => {
                let divergent = self.regions.divergent()?;
                self.regions.cut(false);
                self.progress.say(&format!("it is mended; {divergent} prices differ"));
            }
            Step::Order => {
                self.operations = orders::write(&self.stage.instances[1].address().to_string())?;
                self.progress.say(&format!("an order of {} operations is written, in one request", self.operations));
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
                let lines = orders::wait_begun(self.stage.bed)?;
                self.stage.instances.iter_mut().try_for_each(Application::kill)?;
                self.stage.instances.iter_mut().try_for_each(Application::start)?;
                self.progress.say(&format!(
                    "kill -9 of both instances, with {lines} of the order's {LINES} lines there; restarted at once"
                ));
            }
        }
        Ok(())
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
fn report(verdict: &Verdict, mutations: &Mutations, compared: &Compared, is_whole: bool) {
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
    let Compared { mutations, keys, divergent } = compared;
    println!(
        "demo: {mutations:>6} writes of {keys} prices in two regions, which were apart for a while; {divergent} differ"
    );
    let is = if is_whole { "is there, each operation once and in its place" } else { "is there in part" };
    println!("demo: {LINES:>6} lines and an order in two tables, and a cart taken away, in one mutation: it {is}");
}

/// The last line.
fn conclude(
    verdict: &Verdict,
    mutations: &Mutations,
    python: &ByPython,
    compared: &Compared,
    is_whole: bool,
) -> ExitCode {
    let Findings { lost, duplicated, early, reordered, .. } = verdict.findings;
    let (count, applied, delayed) = (mutations.count() + python.tokens.len(), verdict.applied, mutations.delayed);
    let (p50, p99) = (verdict.ms(0.50), verdict.ms(0.99));
    println!(
        "demo: mutations={count} applied={applied} delayed={delayed} lost={lost} duplicated_effects={duplicated} early={early} \
         reordered={reordered} divergent_keys={} orders_in_part={} p50_ms={p50} p99_ms={p99}",
        compared.divergent,
        u32::from(!is_whole),
    );
    let is_right = verdict.findings.is_clean() && compared.divergent == 0 && is_whole;
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
