//! All proofs of the task queue, one after the other, with their control arms, and the lines that tell what they have shown.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Cache, Dirs, Kafka, Registry, Testbed};

use super::judge::Findings;
use super::{kills, long, naive, restarts};
use crate::Result;
use crate::brokers::{Brokers, Cluster, share_groups};
use crate::instance::Program;
use crate::report;

/// Tasks for each kill, if nothing else is said.
const TASKS_PER_KILL: u32 = 1_000;
/// Long tasks, and how short their locks are: the shortest that the brokers here allow is one second.
const LONG_TASKS: u32 = 20;
const LOCK: Duration = Duration::from_secs(2);

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// Decides about tasks, victims and times of the kills.
    pub seed: u64,
    /// Tasks under kills.
    pub tasks: u32,
    /// Kills of instances; one for each thousand tasks if nothing is said.
    pub kills: Option<u32>,
    /// Rolling restarts.
    pub restarts: u32,
}

/// Runs them. Success: ours hold, and each control arm fails.
///
/// # Errors
/// Something does not get on.
pub fn run(wanted: Whole) -> Result<ExitCode> {
    let quiet = one_broker(wanted.restarts)?;
    let kills = wanted.kills.unwrap_or_else(|| wanted.tasks.div_ceil(TASKS_PER_KILL));
    let kills = kills::Wanted { seed: wanted.seed, tasks: wanted.tasks, kills };
    let (killed, detail) = three_brokers(&kills)?;
    report::write("task-queue", json!({ "kills": killed.json, "calm": quiet.json }), detail)?;
    quiet.lines.iter().chain(&killed.lines).for_each(|line| println!("{line}"));
    Ok(if quiet.holds && killed.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What some of them have shown.
struct Shown {
    lines: Vec<String>,
    holds: bool,
    json: Value,
}

fn word(fails: bool) -> &'static str {
    if fails { "failed" } else { "passed" }
}

fn tell(findings: &Findings) {
    findings.examples.iter().for_each(|example| println!("WRONG: {example}"));
}

/// Restarts and long tasks.
fn one_broker(count: u32) -> Result<Shown> {
    // It is never killed: it need not be given up soon, and on a busy machine must not be.
    let kafka = share_groups(Kafka::builder()?).property("broker.session.timeout.ms", "60000");
    let bed = Testbed::builder().kafka_with(kafka).registry().start()?;
    let (servers, registry) = (bed.kafka()?.bootstrap_servers(), bed.registry()?.url());
    println!("rolling restarts");
    let archived = restarts::control(servers, registry, count)?;
    println!("control arm of the restarts: {archived} records archived");
    let rolling = restarts::run(servers, registry, count)?;
    tell(&rolling.findings);
    if rolling.burnt > 0 {
        println!("WRONG: {} tasks have lost an attempt to a restart", rolling.burnt);
    }
    println!("long tasks");
    let control_calls = long::control((servers, registry), LOCK)?;
    println!("control arm of the long tasks: {control_calls} calls of one");
    let long = long::run((servers, registry), LONG_TASKS, LOCK)?;
    tell(&long.findings);
    let holds = rolling.holds() && archived > 0 && long.holds() && control_calls > 1;
    let lines = vec![
        format!("chaos: restarts={count} archived={} control_arm={}", rolling.archived, word(archived > 0)),
        format!(
            "chaos: long_tasks={} calls_per_long_task={} control_arm={}",
            long.tasks,
            long.most_calls,
            word(control_calls > 1)
        ),
    ];
    let json = json!({
        "restarts": count,
        "tasks_held": rolling.tasks,
        "archived": rolling.archived,
        "burnt": rolling.burnt,
        "control_archived": archived,
        "long_tasks": long.tasks,
        "calls_per_long_task": long.most_calls,
        "control_calls": control_calls,
    });
    Ok(Shown { lines, holds, json })
}

/// Kills of instances and brokers.
fn three_brokers(wanted: &kills::Wanted) -> Result<(Shown, Value)> {
    let (cache, dirs) = (Cache::open()?, Dirs::new()?);
    let registry = Registry::start(&cache, &dirs)?;
    let cluster = Cluster::start_for_share_groups()?;
    let brokers: Brokers<'_> = cluster.brokers();
    let control = naive::control(brokers, registry.url(), &Program::default())?;
    println!("control arm of the kills: lost={} twice={}", control.lost, control.twice);
    let outcome = kills::run(brokers, registry.url(), wanted)?;
    let findings = &outcome.findings;
    tell(findings);
    let kills::Outcome { worker_kills, broker_kills, calls, exits, took, .. } = &outcome;
    let rate = f64::from(wanted.tasks) / took.as_secs_f64();
    println!(
        "{calls} calls, {} of them with an attempt that had been called before; {exits} ends by themselves; {:.0} s, {rate:.0} tasks/s",
        findings.repeated,
        took.as_secs_f64(),
    );
    if findings.twice + findings.wrong > 0 {
        println!("WRONG: twice={} wrong={}", findings.twice, findings.wrong);
    }
    let line = format!(
        "chaos: tasks={} worker_kills={worker_kills} broker_kills={broker_kills} lost={} results_per_task={} \
         out_of_order={} early={} control_arm={}",
        wanted.tasks,
        findings.lost,
        findings.most_results,
        findings.out_of_order,
        findings.early,
        word(!control.is_clean()),
    );
    let json = json!({
        "tasks": wanted.tasks,
        "tasks_per_second": rate.round(),
        "worker_kills": worker_kills,
        "broker_kills": broker_kills,
        "lost": findings.lost,
        "results_per_task": findings.most_results,
        "wrong": findings.wrong,
        "out_of_order": findings.out_of_order,
        "early": findings.early,
    });
    let detail = json!({
        "seed": wanted.seed,
        "calls": calls,
        "repeated_calls": findings.repeated,
        "exits": exits,
        "control": { "lost": control.lost, "twice": control.twice, "wrong": control.wrong },
        "diary": outcome.diary.json(),
    });
    let holds = findings.is_clean() && !control.is_clean();
    Ok((Shown { lines: vec![line], holds, json }, detail))
}
