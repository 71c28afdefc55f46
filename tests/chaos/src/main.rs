//! `chaos`: the long runs. `chaos kills --kills 100`, `chaos schedules --schedules 200`, `chaos seeds --seeds 2000`,
//! `chaos queue --tasks 100000` and `chaos log --mutations 20000`; `make chaos` calls them.
//!
//! Exit codes: 0 our arm is exact and the control arm is not; 1 otherwise; 64 wrong usage.

use std::process::ExitCode;

use chaos::brokers::{Brokers, Cluster};
use chaos::check::Findings;
use chaos::fault::{self, Fault};
use chaos::instance::Program;
use chaos::kills::{self, Wanted};
use chaos::queue::{self, Whole};
use chaos::schedules::{self, Network, Outcome, Runs};
use chaos::simulation::{self, Arm};
use chaos::verdict::Verdict;
use chaos::{Result, child, report, wal};
use clap::{Parser, Subcommand};
use serde_json::json;
use testbed::{Kafka, Testbed};

/// Exit code for a wrong command line, as in sysexits.h.
const USAGE: u8 = 64;
/// Schedules at a time, each with a broker of its own: what they do is waiting, mostly.
const LANES: u32 = 3;

/// Long runs of faults against the runtime on a real broker.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is done, to whom and when; each run prints its own.
    #[arg(long, global = true)]
    seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// kill -9 of instances under load, with stops, full disks and clock steps between them, and kills of brokers where there are three.
    Kills {
        /// How many kills.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        kills: u32,
        /// One broker, or three, each of which is killed in its turn.
        #[arg(long, default_value = "1", value_parser = ["1", "3"])]
        brokers: String,
        /// Events per second.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
        rate: u64,
        /// Copies of each store that other instances follow, to take over at once.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
        standbys: u8,
        /// Nothing but kills.
        #[arg(long)]
        only_kills: bool,
        /// These faults and no others, to look for one: `--plan stop,broker-kill,kill-twice`.
        #[arg(long, value_delimiter = ',', conflicts_with_all = ["kills", "only_kills"])]
        plan: Vec<Fault>,
    },
    /// The task queue: its binary killed under tasks of all kinds on three brokers, restarted with its hands full, and given
    /// tasks of many locks' length.
    Queue {
        /// How many tasks.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..))]
        tasks: u32,
        /// How many kills of instances; by default one for each thousand tasks.
        #[arg(long)]
        kills: Option<u32>,
        /// How many rolling restarts: at least as many as the broker's limit of deliveries, or the control arm could not fail.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(5..))]
        restarts: u32,
    },
    /// The write-ahead log: its binary killed under mutations of all kinds, and its brokers and targets with it.
    Log {
        /// How many mutations.
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(500..))]
        mutations: u32,
        /// How many kills of instances; by default one for each thousand mutations, and four at least.
        #[arg(long)]
        kills: Option<u32>,
    },
    /// Requests that are delayed, cut, lost, refused and reordered, by one seed after the other.
    Schedules {
        /// How many seeds.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        schedules: u32,
    },
    /// The loop simulated over a model of Kafka, one seed after the other; of a single one the trace is printed.
    Seeds {
        /// How many seeds.
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
        seeds: u32,
        /// A world that breaks a rule, instead of ours and then each of these: `--arm same-epoch`.
        #[arg(long)]
        arm: Option<Arm>,
        /// Each seed two times, to see whether it is the same run.
        #[arg(long)]
        twice: bool,
    },
}

fn main() -> ExitCode {
    child::become_one();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing to be done if the terminal is gone.
            _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let seed = arguments.seed;
    let done = match arguments.command {
        Command::Kills { kills, brokers, rate, standbys, only_kills, plan } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
            let others: &[Fault] = if brokers == "3" { &OF_SEVERAL } else { &OF_ONE };
            let plan = match plan.is_empty() {
                true => fault::plan(seed, kills, if only_kills { &[] } else { others }),
                false => plan,
            };
            let wanted = Wanted { seed, plan, rate, standbys: standbys.into(), program: Program::default() };
            if brokers == "3" { on_a_cluster(&wanted) } else { on_one_broker(&wanted) }
        }
        Command::Queue { tasks, kills, restarts } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
            queue::run(Whole { seed, tasks, kills, restarts })
        }
        Command::Log { mutations, kills } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
            wal::run(wal::Whole { seed, mutations, kills })
        }
        Command::Schedules { schedules } => run_schedules(seed.unwrap_or(1), schedules),
        Command::Seeds { seeds, arm, twice: true } => run_twice(seed.unwrap_or(1), seeds, arm.unwrap_or(Arm::Ours)),
        Command::Seeds { seeds: 1, arm, .. } => replay(seed.unwrap_or(1), arm.unwrap_or(Arm::Ours)),
        Command::Seeds { seeds, arm: Some(arm), .. } => run_arm(seed.unwrap_or(1), seeds, arm),
        Command::Seeds { seeds, arm: None, .. } => run_seeds(seed.unwrap_or(1), seeds),
    };
    done.unwrap_or_else(|error| {
        eprintln!("chaos: {error}");
        ExitCode::FAILURE
    })
}

/// What a run does between its kills, in turn. A broker that is the only one is not killed: Kafka 4.3.1 may then forget the
/// markers of a commit that it had decided, which nobody can mend (docs/runbooks.md, HeadraceAborting).
const OF_ONE: [Fault; 4] = [Fault::Stop, Fault::ClockStep, Fault::FullDisk, Fault::Stop];
const OF_SEVERAL: [Fault; 5] = [Fault::Stop, Fault::ClockStep, Fault::Broker, Fault::FullDisk, Fault::Stop];

fn on_one_broker(wanted: &Wanted) -> Result<ExitCode> {
    let kafka = Kafka::builder()?.property("group.min.session.timeout.ms", "1000");
    let bed = Testbed::builder().kafka_with(kafka).start()?;
    run_kills(Brokers::one(bed.kafka()?), wanted)
}

fn on_a_cluster(wanted: &Wanted) -> Result<ExitCode> {
    let cluster = Cluster::start()?;
    run_kills(cluster.brokers(), wanted)
}

fn run_kills(brokers: Brokers<'_>, wanted: &Wanted) -> Result<ExitCode> {
    let (seed, kills) = (wanted.seed, wanted.plan.iter().map(|fault| fault.kills()).sum());
    let (control, control_kills) = kills::control(brokers, &wanted.program, seed)?;
    println!("control arm: {} findings after {control_kills} kills", control.total());
    let outcome = kills::run(brokers, wanted)?;
    let withstood = ("records of transactions that a kill met open", outcome.judgement.aborted);
    let verdict = Verdict { runs: ("kills", kills), judgement: outcome.judgement.clone(), control, withstood };
    let is_kill = |fault: Fault| fault.kills() > 0;
    let detail = json!({
        "seed": seed,
        "kills": kills,
        "brokers": brokers.replication(),
        "events_per_second": wanted.rate,
        "standbys": wanted.standbys,
        "faults": outcome.diary.counts(),
        "recovery_by_fault": outcome.all_committed(),
        "exits": outcome.exits,
        "quarantined": outcome.quarantined,
        "control_kills": control_kills,
        "verdict": verdict.json(),
        "diary": outcome.diary.json(),
    });
    report::write("kill", outcome.first_committed(is_kill), detail)?;
    println!("faults: {:?}", outcome.diary.counts());
    println!("first new committed record after a kill: {}", outcome.first_committed(is_kill));
    if outcome.quarantined > 0 {
        println!("WRONG: R-19: {} states were set aside as unusable", outcome.quarantined);
        _ = verdict.print();
        return Ok(ExitCode::FAILURE);
    }
    Ok(verdict.print())
}

fn run_schedules(first: u64, schedules: u32) -> Result<ExitCode> {
    let lanes = schedules.clamp(1, LANES);
    let networks = (0..lanes).map(|_| Network::start()).collect::<Result<Vec<_>>>()?;
    let (control, control_schedules) = networks[0].control(first)?;
    let told = |seed, outcome: &Outcome| {
        let (done, requests): (u64, _) = (outcome.faults.values().sum(), outcome.requests);
        let findings = &outcome.judgement.findings;
        println!("seed {seed}: {} findings after {done} faults in {requests} requests", findings.total());
        // At once: a long run may be ended early.
        findings.examples.iter().for_each(|example| println!("WRONG: seed {seed}: {example}"));
    };
    let Runs { judgement, faults, requests, failed } =
        schedules::many(&networks, first..first + u64::from(schedules), told)?;
    let withstood = ("faults", faults.values().sum());
    let verdict = Verdict { runs: ("schedules", schedules), judgement, control, withstood };
    let detail = json!({
        "first_seed": first,
        "failed_seeds": failed,
        "control_schedules": control_schedules,
        "verdict": verdict.json(),
    });
    report::write("proxy", json!({ "schedules": schedules, "requests": requests, "faults": faults }), detail)?;
    println!("faults: {faults:?} in {requests} requests");
    Ok(verdict.print())
}

/// One seed, with all that happened in it.
fn replay(seed: u64, arm: Arm) -> Result<ExitCode> {
    let outcome = simulation::run(seed, arm)?;
    outcome.trace.iter().for_each(|line| println!("{line}"));
    let findings = outcome.judgement.findings;
    findings.examples.iter().for_each(|example| println!("WRONG: {example}"));
    println!("chaos: seed={seed} arm={arm} findings={} faults={:?}", findings.total(), outcome.faults);
    Ok(if findings.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn seeds(first: u64, seeds: u32, arm: Arm) -> Result<simulation::Runs> {
    let wanted = simulation::Wanted { first, seeds: u64::from(seeds), arm };
    simulation::many(wanted, |seed, outcome| {
        let findings = &outcome.judgement.findings;
        if let Some(example) = findings.examples.first() {
            println!("seed {seed}: {} findings, such as {example}", findings.total());
        }
    })
}

/// How often a control arm is caught.
fn run_arm(first: u64, count: u32, arm: Arm) -> Result<ExitCode> {
    let runs = seeds(first, count, arm)?;
    println!("chaos: arm={arm} seeds={count} caught={} first={:?}", runs.failed.len(), runs.failed.first());
    Ok(ExitCode::SUCCESS)
}

/// Whether each seed is the same run both times.
fn run_twice(first: u64, count: u32, arm: Arm) -> Result<ExitCode> {
    let different = simulation::each_twice(simulation::Wanted { first, seeds: u64::from(count), arm })?;
    different.iter().for_each(|difference| println!("WRONG: {difference}"));
    println!("chaos: arm={arm} seeds={count} twice, different={}", different.len());
    Ok(if different.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_seeds(first: u64, count: u32) -> Result<ExitCode> {
    let (mut control, mut caught, mut missed) = (Findings::default(), serde_json::Map::new(), Vec::new());
    for arm in Arm::CONTROLS {
        match simulation::control(arm, first)? {
            Some((seed, judgement)) => {
                println!("control arm {arm}: {} findings at seed {seed}", judgement.findings.total());
                caught.insert(arm.to_string(), json!(seed));
                control.add(judgement.findings);
            }
            None => {
                println!("WRONG: control arm {arm}: not caught within {} seeds", simulation::CONTROL_SEEDS);
                missed.push(arm);
            }
        }
    }
    if !missed.is_empty() {
        control = Findings::default();
    }
    let simulation::Runs { judgement, faults, failed, simulated, took, .. } = seeds(first, count, Arm::Ours)?;
    let withstood = ("faults", faults.values().sum());
    let verdict = Verdict { runs: ("seeds", count), judgement, control, withstood };
    let per_hour = f64::from(count) / took.as_secs_f64() * 3600.0;
    let detail = json!({
        "first_seed": first,
        "failed_seeds": failed,
        "control_seeds": caught,
        "simulated_seconds": simulated.as_secs_f64().round(),
        "verdict": verdict.json(),
    });
    let ours = json!({ "seeds": count, "seeds_per_hour": per_hour.round(), "faults": faults });
    report::write("simulation", ours, detail)?;
    println!("faults: {faults:?}; {per_hour:.0} seeds an hour");
    for seed in &failed {
        println!("WRONG: seed {seed}; again, with its trace: chaos seeds --seeds 1 --seed {seed}");
    }
    Ok(verdict.print())
}
