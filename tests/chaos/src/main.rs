//! `chaos`: the long runs. `chaos kills --kills 100` and `chaos schedules --schedules 200`; `make chaos` calls them.
//!
//! Exit codes: 0 our arm is exact and the control arm is not; 1 otherwise; 64 wrong usage.

use std::process::ExitCode;

use chaos::check::judge::Judgement;
use chaos::fault::{self, Fault};
use chaos::instance::Program;
use chaos::kills::{self, Wanted};
use chaos::schedules::Network;
use chaos::verdict::Verdict;
use chaos::{Result, child, report};
use clap::{Parser, Subcommand};
use serde_json::json;
use testbed::{Kafka, Testbed};

/// Exit code for a wrong command line, as in sysexits.h.
const USAGE: u8 = 64;

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
    /// kill -9 of instances under load, with stops, full disks, clock steps and restarts of the broker between them.
    Kills {
        /// How many kills.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        kills: u32,
        /// Events per second.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
        rate: u64,
        /// Nothing but kills.
        #[arg(long)]
        only_kills: bool,
        /// These faults and no others, to look for one: `--plan stop,broker-kill,kill-twice`.
        #[arg(long, value_delimiter = ',', conflicts_with_all = ["kills", "only_kills"])]
        plan: Vec<Fault>,
    },
    /// Requests that are delayed, cut, lost, refused and reordered, by one seed after the other.
    Schedules {
        /// How many seeds.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        schedules: u32,
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
        Command::Kills { kills, rate, only_kills, plan } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
            let plan = match plan.is_empty() {
                true => fault::plan(seed, kills, if only_kills { &[] } else { &OTHERS }),
                false => plan,
            };
            run_kills(Wanted { seed, plan, rate, program: Program::default() })
        }
        Command::Schedules { schedules } => run_schedules(seed.unwrap_or(1), schedules),
    };
    done.unwrap_or_else(|error| {
        eprintln!("chaos: {error}");
        ExitCode::FAILURE
    })
}

/// What a run does between its kills, in turn.
const OTHERS: [Fault; 5] = [Fault::Stop, Fault::ClockStep, Fault::Broker, Fault::FullDisk, Fault::Stop];

fn run_kills(wanted: Wanted) -> Result<ExitCode> {
    let (seed, kills) = (wanted.seed, wanted.plan.iter().map(|fault| fault.kills()).sum());
    let kafka = Kafka::builder()?.property("group.min.session.timeout.ms", "1000");
    let bed = Testbed::builder().kafka_with(kafka).start()?;
    let kafka = bed.kafka()?;
    let (control, control_kills) = kills::control(kafka, &wanted.program, seed)?;
    println!("control arm: {} findings after {control_kills} kills", control.total());
    let outcome = kills::run(kafka, &wanted)?;
    let withstood = ("records of transactions that a kill met open", outcome.judgement.aborted);
    let verdict = Verdict { runs: ("kills", kills), judgement: outcome.judgement.clone(), control, withstood };
    let is_kill = |fault: Fault| fault.kills() > 0;
    let detail = json!({
        "seed": seed,
        "kills": kills,
        "events_per_second": wanted.rate,
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
    let network = Network::start()?;
    let (control, control_schedules) = network.control(first)?;
    let (mut judgement, mut faults, mut requests) = (Judgement::default(), std::collections::BTreeMap::new(), 0);
    let mut failed = Vec::new();
    for seed in first..first + u64::from(schedules) {
        let outcome = network.schedule(seed).map_err(|error| format!("seed {seed}: {error}"))?;
        let done: u64 = outcome.faults.values().sum();
        println!(
            "seed {seed}: {} findings after {done} faults in {} requests",
            outcome.judgement.findings.total(),
            outcome.requests
        );
        if !outcome.judgement.findings.is_clean() {
            failed.push(seed);
        }
        judgement.add(outcome.judgement);
        outcome.faults.into_iter().for_each(|(name, count)| *faults.entry(name).or_insert(0) += count);
        requests += outcome.requests;
    }
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
