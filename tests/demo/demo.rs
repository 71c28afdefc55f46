//! `demo`: a shop database under load, captured by Debezium, kept in step in Redis by `cdc-invalidation`, and judged. With
//! `--topology task-queue` or `write-ahead-log`: see [`tasks`] and [`log`].
//!
//! It exists so that one command shows the promise being kept on the reader's own machine, kill -9 included:
//!
//! ```text
//! pgbench ─▶ PostgreSQL ─▶ Debezium ─▶ Kafka ─▶ cdc-invalidation (killed midway) ─▶ Redis
//!                │                                                                    │
//!                └──────── sampler: commit to cache ─── each row compared at the end ─┘
//! ```
//!
//! Last line: `demo: changes=N applied=N stale=0 lost=0 p50_ms=… p99_ms=…`. Exit codes: 0 all rows right; 1 stale, lost
//! or failed; 64 wrong usage.

mod application;
mod cache;
mod database;
mod invalidations;
mod load;
mod log;
mod metrics;
mod progress;
mod sampler;
mod scenario;
mod stage;
mod tasks;
mod verdict;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// What can go wrong here needs no class of its own: it is printed, and the demo has failed.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Exit code for a wrong command line, as in sysexits.h.
const USAGE: u8 = 64;
/// Topologies that have a demo.
const TOPOLOGIES: [&str; 3] = ["cdc-invalidation", "task-queue", "write-ahead-log"];
/// pgbench's transactions per second, if nothing is said.
const RATE: u32 = 300;
/// tokio's threads: the sampler and the database's connection.
const TOKIO_THREADS: usize = 2;

/// Runs a topology on real parts under a load, kills it midway, and judges the outcome.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    /// Which topology.
    #[arg(long, default_value = TOPOLOGIES[0])]
    topology: String,
    /// How long the load lasts; from 10 on. (`make demo` passes DEMO_SECONDS.)
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=3600))]
    seconds: u64,
    /// pgbench's transactions per second, 300 by default, each of about two and a half row changes; or tasks per second, by
    /// default 50; or mutations, 100. (`make demo` passes DEMO_RATE.)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Load, kill, comparison (the default).
    Run,
    /// Starts everything, without load, and waits until Ctrl-C.
    Up,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing to be done if the terminal is gone.
            _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    if !TOPOLOGIES.contains(&arguments.topology.as_str()) {
        eprintln!("demo: no demo of {}; there are: {}", arguments.topology, TOPOLOGIES.join(", "));
        return ExitCode::from(USAGE);
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(TOKIO_THREADS).enable_all().build()?;
    runtime.block_on(async { end_on_signals() })?;
    let (seconds, rate) = (Duration::from_secs(arguments.seconds), arguments.rate);
    match (arguments.command.unwrap_or(Command::Run), arguments.topology.as_str()) {
        (Command::Run, "task-queue") => tasks::run(seconds, rate),
        (Command::Up, "task-queue") => tasks::up(),
        (Command::Run, "write-ahead-log") => log::run(seconds, rate),
        (Command::Up, "write-ahead-log") => log::up(),
        (Command::Run, _) => scenario::run(&runtime, seconds, rate.unwrap_or(RATE)),
        (Command::Up, _) => scenario::up(&runtime),
    }
}

/// The first SIGINT or SIGTERM makes every wait end, and with it the parts; a second one leaves the parts to the kernel,
/// which kills them with us. Handlers and not a blocked mask: children would inherit the mask.
fn end_on_signals() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked {
                std::process::exit(1);
            }
            asked = true;
            testbed::wait::interrupt();
        }
    });
    Ok(())
}
