//! `testbed`: fetches, checks and starts the real servers that the tests and the demo use.
//!
//! The tests use the library; this binary is for CI (`fetch`, `check`) and for people (`up`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::signal::{SigSet, Signal};
use testbed::{Error, Part, Result, ScrapeTarget, Testbed, env_file::EnvFile, wait};

/// Exit code for a wrong command line, as in sysexits.h.
const USAGE: u8 = 64;

/// Starts real servers for tests and the demo: Kafka, a schema registry, Redis, PostgreSQL, Connect with Debezium and
/// Prometheus, on free ports of 127.0.0.1.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs and downloads what the parts need; packages only as root.
    Fetch {
        /// Parts, with commas between.
        #[arg(long = "for", value_delimiter = ',', default_values_t = Part::ALL.map(PartArg))]
        parts: Vec<PartArg>,
    },
    /// Says what is there; exit code 1 and one line for each thing that is missing.
    Check {
        /// Parts, with commas between.
        #[arg(long = "for", value_delimiter = ',', default_values_t = Part::ALL.map(PartArg))]
        parts: Vec<PartArg>,
    },
    /// Starts parts and waits until Ctrl-C.
    Up {
        /// Parts, with commas between.
        #[arg(long = "with", value_delimiter = ',', default_values_t = Part::ALL.map(PartArg))]
        parts: Vec<PartArg>,
        /// Writes the addresses there as `NAME=value` lines; removed at the end.
        #[arg(long)]
        env_file: Option<PathBuf>,
        /// What Prometheus scrapes: `job=host:port`, may be given several times.
        #[arg(long, value_parser = scrape_target)]
        scrape: Vec<ScrapeTarget>,
    },
}

/// A part's name on the command line.
#[derive(Debug, Clone, Copy)]
struct PartArg(Part);

impl ValueEnum for PartArg {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: [PartArg; Part::ALL.len()] = [
            PartArg(Part::Kafka),
            PartArg(Part::Registry),
            PartArg(Part::Redis),
            PartArg(Part::Postgres),
            PartArg(Part::Connect),
            PartArg(Part::Prometheus),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

impl std::fmt::Display for PartArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

fn scrape_target(text: &str) -> std::result::Result<ScrapeTarget, String> {
    let (job, address) = text.split_once('=').ok_or("want job=host:port")?;
    Ok(ScrapeTarget::new(job, address))
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do if even that cannot be printed.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    // First of all, so that every later thread inherits the mask and only the waiting one sees the signals.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().map_err(|e| Error::Setting(format!("block signals: {e}")))?;
    std::thread::spawn(move || {
        if signals.wait().is_ok() {
            wait::interrupt();
        }
        if signals.wait().is_ok() {
            // Impatient: the kernel kills the parts, the next testbed removes the directory.
            std::process::exit(1);
        }
    });
    match command {
        Command::Fetch { parts } => testbed::fetch(&set(&parts)).map(|()| ExitCode::SUCCESS),
        Command::Check { parts } => {
            let missing = testbed::check(&set(&parts), |line| println!("{line}"))?;
            missing.iter().for_each(|error| eprintln!("{error}"));
            Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Up { parts, env_file, scrape } => up(&set(&parts), env_file, &scrape),
    }
}

fn set(parts: &[PartArg]) -> BTreeSet<Part> {
    parts.iter().map(|part| part.0).collect()
}

fn up(parts: &BTreeSet<Part>, env_file: Option<PathBuf>, scrape: &[ScrapeTarget]) -> Result<ExitCode> {
    let start = std::time::Instant::now();
    let bed = Testbed::builder().parts(parts, scrape).start()?;
    let addresses = bed.addresses();
    let _env_file = env_file.map(|path| EnvFile::write(path, &addresses)).transpose()?;
    println!("testbed: {} parts after {:.1} s; Ctrl-C ends them", bed.pids().len(), start.elapsed().as_secs_f32());
    for (name, address) in &addresses {
        println!("  {name:<36} {address}");
    }
    for (part, pid) in bed.pids() {
        println!("  {part:<12} pid {pid}");
    }
    wait::for_interrupt();
    println!("testbed: ending");
    Ok(ExitCode::SUCCESS)
}
