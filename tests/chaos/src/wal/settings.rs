//! An instance's configuration, and the namespace that a run writes to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testbed::{Postgres, Redis};
use write_ahead_log::namespace::{Breaker, Namespace, Retry, TargetKind, TargetSpec};

use super::PATIENCE;
use super::receiver::Receiver;
use super::records::Records;
use super::stores::{KEY, TABLE};
use crate::Result;
use crate::queue::ground::{Ground, TOKEN};

/// Partitions of every topic.
const PARTITIONS: u32 = 6;
/// The namespace.
pub const NAMESPACE: &str = "shop";
/// Its targets, in the order of their kinds: Redis, PostgreSQL, HTTP.
pub const TARGETS: [&str; 3] = ["cache", "rows", "book"];

/// Writes the configuration of an instance that answers at `http`, with `more` sections; the file is in `directory`, and so is its state.
///
/// # Errors
/// The disk is full.
pub fn configure(ground: &Ground, directory: &Path, instance: &str, http: &str, more: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let token = directory.join("token");
    std::fs::write(&token, TOKEN)?;
    let topics = ["mutations", "commands", "namespaces", "results", "exhausted", "conflicts", "dead-letters"];
    let topics: String = topics.iter().map(|name| format!("{name} = \"{}\"\n", ground.topic(name))).collect();
    // Short, so that the consequences of a fault come within seconds.
    let text = format!(
        "application-id = \"{}\"\ninstance-id = \"{instance}\"\n\
         [kafka]\nbootstrap-servers = \"{}\"\nsession-timeout = \"8s\"\n\
         [kafka.properties]\n\"heartbeat.interval.ms\" = 500\n\
         [schema-registry]\nurl = \"{}\"\n\
         [internal-topics]\npartitions = {PARTITIONS}\nreplication = {}\n\
         [state]\ndirectory = \"{}\"\n\
         [http]\nlisten = \"{http}\"\ntoken-file = \"{}\"\n\
         [processing]\ntransaction-timeout = \"20s\"\n\
         [external]\ntimeout = \"5s\"\n\
         [health]\nstalled-after = \"60s\"\n\
         [topics]\n{topics}{more}",
        ground.id,
        ground.servers,
        ground.registry,
        ground.replication,
        directory.join("state").display(),
        token.display(),
    );
    let path = directory.join("config.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Everything is tried for as long as it takes, and soon again.
pub fn namespace(redis: &Redis, postgres: &Postgres, receiver: &Receiver) -> Namespace {
    let target = |name, kind, address: String, settings: &[(&str, &str)]| {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings: BTreeMap<String, String> = settings.iter().chain(&[("timeout", "1500ms")]).map(text).collect();
        TargetSpec { settings, ..TargetSpec::new(name, kind, address) }
    };
    let [cache, rows, book] = TARGETS;
    Namespace {
        targets: vec![
            target(cache, TargetKind::Redis, redis.url().to_owned(), &[]),
            target(rows, TargetKind::Postgres, postgres.url(), &[("table", TABLE), ("key", KEY)]),
            target(book, TargetKind::Http, receiver.url(), &[]),
        ],
        retry: Retry { max_attempts: 10_000, backoff_ms: 50, longest_backoff_ms: 1_000 },
        breaker: Breaker { failures: 20, open_ms: 1_000 },
        ..Namespace::default()
    }
}

/// Puts a namespace on its topic.
///
/// # Errors
/// The brokers don't take it.
pub fn set(ground: &Ground, name: &str, namespace: &Namespace) -> Result<()> {
    let producer: BaseProducer = ground.client().set("enable.idempotence", "true").create()?;
    let (topic, value) = (ground.topic("namespaces"), Records::new(ground)?.namespace(namespace)?);
    producer.send(BaseRecord::to(&topic).key(name).payload(&value)).map_err(|(error, _)| error)?;
    Ok(producer.flush(PATIENCE)?)
}
