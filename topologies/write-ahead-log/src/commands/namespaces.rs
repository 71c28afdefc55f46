//! `namespaces`: what holds for whom, as the newest record under its name.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use headrace::error::FatalError;

use super::Console;
use crate::mutation::Mutation;
use crate::namespace::{Namespace, Written};

/// How long the topic of namespaces may take to be read.
const PATIENCE: Duration = Duration::from_secs(30);

/// See [`Command::Namespaces`](super::Command::Namespaces).
#[derive(Debug, Subcommand)]
pub enum NamespacesCommand {
    /// All of them, a line each.
    List,
    /// One of them as it is set, in TOML: to be changed and set again.
    Show {
        /// Its name.
        name: String,
    },
    /// Set one; instances go by it from then on. All that is wrong with it is told, and nothing is set then.
    Set {
        /// Its name.
        name: String,
        /// What it says, in TOML, or in JSON if it begins with a brace; - is standard input.
        #[arg(long)]
        file: PathBuf,
    },
    /// Say what would happen to a mutation: when, how often, until when, and what its targets guarantee.
    Explain(Explain),
}

/// See [`NamespacesCommand::Explain`].
#[derive(Debug, Args)]
pub struct Explain {
    /// The namespace.
    name: String,
    /// What it would say, before it is set.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The mutation's key.
    #[arg(long, default_value = "example")]
    key: String,
    /// Its target, if it is for one only.
    #[arg(long)]
    target: Option<String>,
}

impl NamespacesCommand {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode, FatalError> {
        match self {
            NamespacesCommand::List => list(console),
            NamespacesCommand::Show { name } => {
                let toml = Written::from(&known(console, &name)?).to_toml().map_err(FatalError::Environment)?;
                print!("{toml}");
                Ok(ExitCode::SUCCESS)
            }
            NamespacesCommand::Set { name, file } => set(console, &name, &file),
            NamespacesCommand::Explain(explain) => explain.run(console),
        }
    }
}

impl Explain {
    fn run(self, console: &Console) -> Result<ExitCode, FatalError> {
        let namespace = match &self.file {
            Some(file) => valid(console, &self.name, written(file)?.namespace(1))?,
            None => known(console, &self.name)?,
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let sample = Mutation {
            namespace: self.name.clone(),
            token: "example".to_owned(),
            created_at: now,
            target: self.target,
            key: self.key,
            value: Some(Vec::new()),
            ..Mutation::default()
        };
        print!("{}", namespace.explain(&self.name, &sample, now));
        Ok(ExitCode::SUCCESS)
    }
}

/// What the topic has, by name; those that can't be read with the reason.
fn all(console: &Console) -> Result<BTreeMap<String, Result<Namespace, String>>, FatalError> {
    let topic = &console.config.topics.namespaces;
    console.partitions(topic)?;
    let mut newest = BTreeMap::new();
    let read = console.follower(topic)?.read_whole(PATIENCE, |key, value| {
        newest.insert(String::from_utf8_lossy(key).into_owned(), value.map(<[u8]>::to_vec));
    });
    read.map_err(|error| console.failed(topic, &error))?;
    let values = console.values::<Namespace>(topic)?.read();
    let there = newest.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let decoded = |value: &[u8]| console.block_on(values.decode(Some(value))).map_err(|error| error.to_string());
    Ok(there.map(|(name, value)| (name, decoded(&value))).collect())
}

pub(super) fn known(console: &Console, name: &str) -> Result<Namespace, FatalError> {
    match all(console)?.remove(name) {
        Some(Ok(namespace)) => Ok(namespace),
        Some(Err(reason)) => {
            Err(FatalError::Environment(format!("namespace {name} can't be read: {reason}; set it anew")))
        }
        None => {
            let way_out = format!("make it with: {} namespaces set {name} --file FILE", console.name);
            Err(FatalError::Environment(format!("there is no namespace {name}; {way_out}")))
        }
    }
}

fn list(console: &Console) -> Result<ExitCode, FatalError> {
    for (name, namespace) in all(console)? {
        let line = match namespace {
            Err(reason) => format!("can't be read: {reason}"),
            Ok(Namespace { version, targets, paused, .. }) => {
                let target =
                    |target: &crate::namespace::TargetSpec| format!("{} ({})", target.name, target.kind.name());
                let targets = targets.iter().map(target).collect::<Vec<_>>().join(", ");
                format!("version {version}{}: {targets}", if paused { ", paused" } else { "" })
            }
        };
        println!("{name}  {line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn set(console: &Console, name: &str, file: &Path) -> Result<ExitCode, FatalError> {
    let before = all(console)?.remove(name).and_then(Result::ok);
    let version = before.map_or(1, |before| before.version.saturating_add(1));
    let namespace = valid(console, name, written(file)?.namespace(version))?;
    let topic = &console.config.topics.namespaces;
    let values = console.block_on(console.values::<Namespace>(topic)?.written())?;
    console.submit(topic, name, values.encode(&namespace)?)?;
    println!("{name} is set, version {version}");
    Ok(ExitCode::SUCCESS)
}

fn written(file: &Path) -> Result<Written, FatalError> {
    let shown = file.display();
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    read.map_err(|error| FatalError::Config(format!("{shown}: {error}")))?;
    let written =
        if text.trim_start().starts_with('{') { Written::from_json(&text) } else { Written::from_toml(&text) };
    written.map_err(|error| FatalError::Config(format!("{shown}: {error}")))
}

/// Nothing is set that is wrong.
fn valid(console: &Console, name: &str, namespace: Namespace) -> Result<Namespace, FatalError> {
    let mut problems = namespace.validate(name);
    problems.extend(namespace.own_topics(|topic| console.is_own_topic(topic)));
    if problems.is_empty() {
        return Ok(namespace);
    }
    let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ");
    Err(FatalError::Config(format!("namespace {name}: {} problems\n  {told}", problems.len())))
}
