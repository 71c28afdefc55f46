//! The subcommands that every binary shares: `run`, `describe`, `validate`, `apply`, `config show`.
//!
//! A topology's `main` is one call of [`main`]: what a user can type is the same for all of them. One that has commands of its own
//! calls [`main_with`]; they stand beside the others, have the same flags, and are given a [`Console`]:
//!
//! ```text
//!  arguments ─▶ Layers ─▶ configuration ─▶ parts ─▶ topology ─┬─▶ run, describe, validate, apply, config show
//!                                                             │      └─ run: OwnRoutes, made of a Host
//!                                                             └─▶ Console ─▶ the topology's own
//!                                                                    ├─ Client, Submitter, TopicFollower: the brokers
//!                                                                    └─ Values: bytes and values, by the registry's schemas
//! ```
//!
//! Results go to stdout, logs to stderr. Exit codes: 0 done, 1 failed, 64 wrong usage or configuration,
//! 70 a call of the Kafka client that never returns.

mod allocator;
mod arguments;
mod console;
mod leave;
mod options;
mod routes;
mod run;
mod values;

use std::convert::Infallible;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser as _, Subcommand};
use serde::de::DeserializeOwned;

use crate::config::{Layers, Loaded};
use crate::error::FatalError;
use crate::runtime::{Environment, Plan, Problem};
use crate::topology::Topology;

use arguments::{Arguments, Command, ConfigCommand};

pub use console::Console;
pub use routes::{Built, Host, OwnRoutes};
pub use values::{Values, Writes};

/// Wrong usage or configuration (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;

/// What a binary is made of by its configuration.
pub struct Parts {
    /// What it does with records.
    pub topology: Topology,
    /// What it does when it is asked, beside the pages that every binary has.
    pub routes: Option<OwnRoutes>,
}

impl From<Topology> for Parts {
    fn from(topology: Topology) -> Self {
        Parts { topology, routes: None }
    }
}

/// Runs a topology's binary: reads the arguments and the configuration, builds the topology and does what is asked.
pub fn main<C: DeserializeOwned, P: Into<Parts>>(
    name: &'static str,
    defaults: &'static str,
    parts: impl Fn(&C) -> Result<P, FatalError>,
) -> ExitCode {
    main_with(name, defaults, parts, |never: Infallible, _| match never {})
}

/// The same, with commands of the topology's own beside the common ones: `own` does them. Configuration and topology are valid by
/// then; nobody was asked for anything yet.
pub fn main_with<C: DeserializeOwned, P: Into<Parts>, O: Subcommand>(
    name: &'static str,
    defaults: &'static str,
    parts: impl Fn(&C) -> Result<P, FatalError>,
    own: impl Fn(O, &Console<C>) -> Result<ExitCode, FatalError>,
) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments::with_name(name)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing to be done if the terminal is gone.
            _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { USAGE });
        }
    };
    match execute(name, defaults, arguments, parts, own) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{name}: {error}");
            leave::at_once(error.exit_code())
        }
    }
}

fn execute<C: DeserializeOwned, P: Into<Parts>, O: Subcommand>(
    name: &'static str,
    defaults: &'static str,
    arguments: Arguments<O>,
    parts: impl Fn(&C) -> Result<P, FatalError>,
    own: impl Fn(O, &Console<C>) -> Result<ExitCode, FatalError>,
) -> Result<ExitCode, FatalError> {
    let layers = Layers::new(defaults).file(arguments.config).environment(std::env::vars_os()).flags(arguments.set);
    let Loaded { runtime, topology: config, document } = layers.load::<C>()?;
    let Parts { topology, routes } = parts(&config)?.into();
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run::run(name, &runtime, topology, routes),
        Command::Describe { format } => {
            print!("{}", topology.describe().render(format));
            Ok(ExitCode::SUCCESS)
        }
        Command::Config { command: ConfigCommand::Show { origin } } => {
            print!("{}", document.show(origin));
            Ok(ExitCode::SUCCESS)
        }
        Command::Validate { offline: true } => {
            println!("configuration and topology are valid; cluster and registry were not asked (--offline)");
            Ok(ExitCode::SUCCESS)
        }
        Command::Validate { offline: false } => {
            let environment = environment(&runtime, topology)?;
            validate(&block_on(environment.problems())?)
        }
        Command::Apply { dry_run } => {
            let environment = environment(&runtime, topology)?;
            report(&block_on(environment.apply(dry_run))?, dry_run);
            Ok(ExitCode::SUCCESS)
        }
        Command::Own(command) => {
            runtime.init_log()?;
            own(command, &Console::new(name, config, runtime, topology)?)
        }
    }
}

fn environment(runtime: &crate::config::RuntimeConfig, topology: Topology) -> Result<Environment, FatalError> {
    runtime.init_log()?;
    let options = options::from_config(runtime, &topology, runtime.telemetry()?)?;
    Ok(Environment::new(topology, options))
}

fn block_on<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, FatalError> {
    run::tokio()?.block_on(work).map_err(|problem| match problem {
        Problem::Fatal(error) => error,
        Problem::Away(away) => FatalError::Environment(away.to_string()),
    })
}

fn validate(problems: &[String]) -> Result<ExitCode, FatalError> {
    if problems.is_empty() {
        println!("configuration, topology, topics and schemas are valid");
        return Ok(ExitCode::SUCCESS);
    }
    Err(FatalError::Environment(problems.join("\n")))
}

fn report(plans: &[Plan], dry_run: bool) {
    for plan in plans {
        match plan {
            Plan::CreateTopic(topic) => {
                let done = if dry_run { "would create" } else { "created" };
                println!("{done} topic {} ({} partitions)", topic.name, topic.partitions);
            }
            Plan::SetGroup { group, setting } => {
                let done = if dry_run { "would set" } else { "set" };
                println!("{done} {setting} for share group {group}");
            }
            Plan::RegisterSchema { subject } => {
                let done = if dry_run { "would register" } else { "registered" };
                println!("{done} schema {subject}");
            }
        }
    }
    if plans.is_empty() {
        println!("nothing to do");
    }
}
