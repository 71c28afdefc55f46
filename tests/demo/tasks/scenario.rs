//! The demo's course: start, load, kill midway, settle, judge.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chaos::queue::results::{Follower, read};
use testbed::wait;

use super::kinds::{Kind, Submitter};
use super::stage::{Stage, parts};
use super::verdict::Verdict;
use crate::Result;
use crate::progress::Progress;

/// Tasks per second, if nothing is said.
const RATE: u32 = 50;
/// Between two updates of the display.
const TICK: Duration = Duration::from_secs(1);
/// Time for everything submitted to end, what was scheduled included.
const SETTLE_DEADLINE: Duration = Duration::from_secs(120);

/// Runs the demo; prints its last line.
pub(crate) fn run(duration: Duration, rate: Option<u32>) -> Result<ExitCode> {
    let mut progress = Progress::new();
    progress.stage("starting Kafka, schema registry, Prometheus");
    let (bed, addresses) = parts()?;
    let mut stage = Stage::build(&bed, addresses, &progress)?;
    show_addresses(&stage, &progress)?;
    let follower = Follower::start(&stage.ground)?;
    let rate = rate.unwrap_or(RATE);
    let mut submitter = Submitter::new(&stage.ground, rate)?;
    under_load(&mut stage, &mut progress, &mut submitter, &follower, (duration, rate))?;
    progress.stage("waiting until everything has ended");
    let count = submitter.submitted.len();
    let settled = wait::until("all tasks to end", SETTLE_DEADLINE, || match stage.check() {
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
    progress.stage("comparing each task with its result");
    let verdict = Verdict::reach(&submitter.submitted, &read(&stage.ground)?);
    progress.clear();
    report(&verdict);
    stopped?;
    drop(stage);
    drop(bed);
    let Verdict { done, failed, lost, twice, wrong, early, .. } = verdict;
    let (p50, p99) = (verdict.ms(Kind::Fast, 0.50), verdict.ms(Kind::Fast, 0.99));
    println!(
        "demo: tasks={count} done={done} failed={failed} lost={lost} twice={twice} wrong={wrong} early={early} p50_ms={p50} p99_ms={p99}"
    );
    Ok(if verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts everything and waits for Ctrl-C.
pub(crate) fn up() -> Result<ExitCode> {
    let progress = Progress::new();
    progress.stage("starting Kafka, schema registry, Prometheus");
    let (bed, addresses) = parts()?;
    let mut stage = Stage::build(&bed, addresses, &progress)?;
    show_addresses(&stage, &progress)?;
    progress.clear();
    println!(
        "demo: submit tasks to task-queue.tasks, of the queues mail and reports; results are in task-queue.results. Ctrl-C ends it."
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

/// Submits at the rate; kills the first instance at half-time and starts it again.
fn under_load(
    stage: &mut Stage<'_>,
    progress: &mut Progress,
    submitter: &mut Submitter,
    follower: &Follower,
    (duration, rate): (Duration, u32),
) -> Result<()> {
    progress.begin(duration);
    let (start, mut killed, mut shown) = (Instant::now(), false, Instant::now());
    let over = wait::until("the load to end", duration + TICK, || {
        let elapsed = start.elapsed().min(duration);
        let mut step = || -> Result<()> {
            submitter.submit_to((elapsed.as_secs_f64() * f64::from(rate)) as u64)?;
            if !killed && elapsed >= duration / 2 {
                killed = true;
                kill(stage, progress)?;
            }
            if shown.elapsed() >= TICK {
                shown = Instant::now();
                let (submitted, ended) = (submitter.submitted.len(), follower.count());
                progress.at(elapsed, &format!("{submitted} tasks submitted  {ended} ended"));
            }
            stage.check()
        };
        match step() {
            Err(error) => Ok(Err(error)),
            Ok(()) if elapsed == duration => Ok(Ok(())),
            Ok(()) => Err("it runs".to_owned()),
        }
    });
    over??;
    progress.end();
    submitter.flush()
}

fn kill(stage: &mut Stage<'_>, progress: &Progress) -> Result<()> {
    let instance = &mut stage.instances[0];
    let old = instance.pid().unwrap_or_default();
    instance.kill()?;
    instance.start()?;
    progress.say(&format!("kill -9 {old}; restarted at once as {}", instance.pid().unwrap_or_default()));
    Ok(())
}

/// Says in words what was found.
fn report(verdict: &Verdict) {
    for example in &verdict.examples {
        println!("demo: {example}");
    }
    for kind in Kind::ALL {
        let (count, p50, p99) = (verdict.count(kind), verdict.ms(kind, 0.50), verdict.ms(kind, 0.99));
        let (what, since) = match kind {
            Kind::Fast => ("done by handler.py", "submission"),
            Kind::Slow => ("done by worker.py, which asks, with heart-beats", "submission"),
            Kind::Flaky => ("done at the third attempt", "submission"),
            Kind::Broken => ("refused by handler.py", "submission"),
            Kind::Scheduled => ("done, none before its time", "its time"),
        };
        println!("demo: {:<9} {count:>6} tasks {what}; from {since} to result p50 {p50} ms, p99 {p99} ms", kind.name());
    }
}
