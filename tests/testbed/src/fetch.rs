//! What each part needs from outside, and getting it: `testbed fetch` and `testbed check`.

use std::collections::BTreeSet;

use crate::artifacts::{Artifacts, KafkaVersion};
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::packages;

/// The kinds of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A broker.
    Kafka,
    /// The schema registry.
    Registry,
    /// Redis.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// Kafka Connect with Debezium.
    Connect,
    /// Prometheus.
    Prometheus,
}

impl Part {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 6] =
        [Self::Kafka, Self::Registry, Self::Redis, Self::Postgres, Self::Connect, Self::Prometheus];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Registry => "registry",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Connect => "connect",
            Self::Prometheus => "prometheus",
        }
    }

    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Kafka => &["java", "mvn", "openssl"],
            Self::Connect => &["java", "mvn"],
            Self::Registry => &["java", "mvn", "tar"],
            Self::Redis => &["redis-server"],
            Self::Postgres => &["postgres", "initdb", "psql", "pgbench"],
            Self::Prometheus => &["prometheus"],
        }
    }

    fn artifacts(self) -> Result<Vec<Artifacts>> {
        let kafka = |version: KafkaVersion| {
            let mut all = vec![Artifacts::Kafka(version)];
            if version.tools() != version {
                all.push(Artifacts::Kafka(version.tools()));
            }
            all
        };
        Ok(match self {
            Self::Kafka => kafka(KafkaVersion::from_env()?),
            Self::Connect => {
                let mut all = kafka(KafkaVersion::from_env()?);
                all.push(Artifacts::Connect);
                all
            }
            Self::Registry => vec![Artifacts::Registry],
            Self::Redis | Self::Postgres | Self::Prometheus => vec![],
        })
    }
}

/// Installs the packages of `parts` that are missing (as root on Debian) and fetches their jars.
///
/// # Errors
/// [`Error::Missing`] for the first missing program if we may not install, [`Error::Tool`] if apt or Maven fails.
pub fn fetch(parts: &BTreeSet<Part>) -> Result<()> {
    let missing: BTreeSet<&str> = programs(parts).into_iter().filter(|name| packages::find(name).is_err()).collect();
    if !missing.is_empty() {
        packages::install(&missing)?;
    }
    let cache = Cache::open()?;
    for artifacts in artifacts(parts)? {
        if !cache.has(artifacts) {
            println!("testbed: fetching {}", artifacts.name());
        }
        cache.ensure(artifacts)?;
    }
    Ok(())
}

/// Tells `report` about each thing that is there, and returns the others, each with the command that mends it.
///
/// # Errors
/// [`Error::Setting`] if `KAFKA_VERSION` is not known.
pub fn check(parts: &BTreeSet<Part>, mut report: impl FnMut(String)) -> Result<Vec<Error>> {
    let mut missing = Vec::new();
    for program in programs(parts) {
        match packages::find(program) {
            Ok(path) => report(format!("{program}: {}", path.display())),
            Err(error) => missing.push(error),
        }
    }
    let cache = Cache::open()?;
    for artifacts in artifacts(parts)? {
        let name = artifacts.name();
        if cache.has(artifacts) {
            report(format!("{name}: fetched"));
        } else {
            missing.push(Error::Missing { what: name, command: "testbed fetch".to_owned() });
        }
    }
    Ok(missing)
}

fn programs(parts: &BTreeSet<Part>) -> BTreeSet<&'static str> {
    parts.iter().flat_map(|part| part.programs()).copied().collect()
}

fn artifacts(parts: &BTreeSet<Part>) -> Result<Vec<Artifacts>> {
    let mut all: Vec<Artifacts> = Vec::new();
    for part in parts {
        for artifacts in part.artifacts()? {
            if !all.contains(&artifacts) {
                all.push(artifacts);
            }
        }
    }
    Ok(all)
}
