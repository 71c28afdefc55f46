//! Kafka Streams: its jars, its program compiled from `bench/peers/`, and the settings it is given.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testbed::{Artifacts, Cache, STREAMS_VERSION, Testbed};

use super::arm::{Place, Setting};
use crate::Failure;

/// Where the programs are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// What the JVM is given. The serial collector took 8.4 CPU seconds per million records on two cores where G1, the
/// default, took 9.6, and about 65 MiB less memory. Half a gigabyte of heap is more than it needs: with half of that it was
/// neither slower nor smaller.
const JVM: [&str; 3] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData"];

/// Beside those that are the same for all arms: what made the peer fastest of what was tried. Batches of 128 KiB for
/// 16 KiB save 2 of 10 CPU seconds per million records, 256 KiB and polls of 20,000 records cost 1; between polls of
/// 1,000 records, the default, and of 4,000 there is no difference. A linger of 100 ms is Kafka Streams' own default.
const PROPERTIES: [(&str, &str); 3] =
    [("consumer.max.poll.records", "4000"), ("producer.batch.size", "131072"), ("producer.linger.ms", "100")];

/// The peer, ready to be started.
pub(crate) struct Peer {
    class_path: String,
}

impl Peer {
    /// The program of the count topology.
    pub(crate) const STATEFUL_COUNT: &str = "StatefulCount";

    /// Fetches the jars (once, into the cache) and compiles programs.
    pub(crate) fn prepare(bed: &Testbed, programs: &[&str]) -> Result<Self, Failure> {
        let jars = Cache::open()?.ensure(Artifacts::Streams)?.join("*");
        let classes: PathBuf = bed.dirs()?.root().join("peer-classes");
        let sources = programs.iter().map(|program| Path::new(SOURCES).join(program).with_extension("java"));
        compile(&jars, &classes, sources)?;
        Ok(Peer { class_path: format!("{}:{}", classes.display(), jars.display()) })
    }

    /// A process that runs one of the program's classes.
    pub(crate) fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(JVM)
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &self.class_path, class])
            // An inherited option string would change it.
            .env_remove("JAVA_TOOL_OPTIONS");
        command
    }

    /// The process of the count topology.
    pub(crate) fn command(&self, servers: &str, place: &Place, setting: &Setting) -> Command {
        let mut command = self.java(Self::STATEFUL_COUNT);
        command
            .env("PEER_SERVERS", servers)
            .env("PEER_APPLICATION", &place.application)
            .env("PEER_EVENTS", &place.events)
            .env("PEER_COUNTS", &place.counts)
            .env("PEER_STATE", &place.state)
            .env("PEER_PROPERTIES", properties(setting));
        command
    }
}

/// Settings by Kafka Streams' own names, a line each.
pub(crate) fn properties(setting: &Setting) -> String {
    let guarantee = if setting.exactly_once { "exactly_once_v2" } else { "at_least_once" };
    let interval = setting.commit_interval_ms.to_string();
    let same = [
        ("processing.guarantee", guarantee),
        ("commit.interval.ms", &interval),
        ("producer.compression.type", setting.compression),
    ];
    let lines: Vec<String> = same.iter().chain(&PROPERTIES).map(|(key, value)| format!("{key}={value}")).collect();
    lines.join("\n")
}

fn compile(jars: &Path, classes: &Path, sources: impl Iterator<Item = PathBuf>) -> Result<(), Failure> {
    let compiled =
        Command::new("javac").args(["--release", "17", "-cp"]).arg(jars).arg("-d").arg(classes).args(sources).output();
    let compiled = compiled.map_err(|error| format!("javac: {error}; run scripts/setup"))?;
    if compiled.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&compiled.stderr).into_owned().into()) }
}

/// What it is and how it was set, for the result.
pub(crate) fn describe(setting: &Setting) -> (Value, Value, Value) {
    let settings = json!({ "jvm": JVM.join(" "), "properties": properties(setting).replace('\n', " "), "store": "RocksDB, cache 0 bytes, changelog" });
    (json!("Kafka Streams, Processor API"), json!(STREAMS_VERSION), settings)
}
