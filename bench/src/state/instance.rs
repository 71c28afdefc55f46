//! One process of an arm: started, asked what it has restored, measured, killed or stopped.

use std::process::Command;
use std::time::{Duration, Instant};

use super::place::Place;
use crate::Failure;
use crate::counting::{Arm, Peer, Running, Setting, binary, peer_properties};
use crate::measure::{cpu_seconds, peak_rss_bytes};

/// How long a clean stop may take.
const STOP: Duration = Duration::from_secs(60);

/// What all instances of a benchmark are started with.
pub(crate) struct Means<'a> {
    pub(crate) servers: &'a str,
    pub(crate) peer: Option<&'a Peer>,
    /// Further keys of Headrace's configuration, as `SECTION__KEY` and value.
    pub(crate) ours: &'a [(&'a str, &'a str)],
    /// Further settings of Kafka Streams, by their own names.
    pub(crate) theirs: &'a [(&'a str, &'a str)],
}

/// Static membership for both: who comes back has its partitions at once, and nobody waits for a session to time out.
const SESSION_MS: u64 = 10_000;

/// A running instance; killed when dropped.
pub(crate) struct Instance {
    arm: Arm,
    pub(crate) running: Running,
    pub(crate) started: Instant,
}

impl Instance {
    /// Starts an instance by its name, with the state that it has under that name.
    pub(crate) fn start(means: &Means<'_>, place: &Place, name: &str) -> Result<Self, Failure> {
        let state = place.state(name);
        std::fs::create_dir_all(&state)?;
        let command = match place.arm {
            Arm::Peer => theirs(means, place, name)?,
            Arm::Ours | Arm::Limit => ours(means, place, name)?,
        };
        let started = Instant::now();
        let running = Running::spawn(command, state.with_extension("log"))?;
        Ok(Instance { arm: place.arm, running, started })
    }

    /// Tasks (ours) or stores (theirs) that are restored, and the changelog records that it took, as its log says.
    pub(crate) fn restored(&self) -> (usize, u64) {
        let log = self.running.printed();
        let lines = log.lines().filter(|line| match self.arm {
            Arm::Peer => line.starts_with("restored "),
            Arm::Ours | Arm::Limit => line.contains("restored task "),
        });
        let records = |line: &str| -> Option<u64> {
            let (_, rest) = line.split_once("records=")?;
            rest.split_whitespace().next()?.parse().ok()
        };
        lines.fold((0, 0), |(count, sum), line| (count + 1, sum + records(line).unwrap_or(0)))
    }

    /// CPU seconds, and the most memory that it has had, so far.
    pub(crate) fn used(&self) -> Result<(f64, u64), Failure> {
        Ok((cpu_seconds(self.running.pid())?, peak_rss_bytes(self.running.pid())?))
    }

    /// Ends it in order.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        self.running.stop(STOP)
    }
}

fn ours(means: &Means<'_>, place: &Place, name: &str) -> Result<Command, Failure> {
    let mut command = Command::new(binary("stored-values")?);
    let mut set = |key: &str, value: &str| _ = command.env(format!("HEADRACE__{key}"), value);
    set("KAFKA__BOOTSTRAP_SERVERS", means.servers);
    set("KAFKA__SESSION_TIMEOUT", &format!("{SESSION_MS}ms"));
    set("APPLICATION_ID", &place.application);
    set("INSTANCE_ID", name);
    set("STORES", &place.shape.stores.to_string());
    set("TOPICS__EVENTS", &place.events());
    set("TOPICS__COUNTS", &place.counts());
    set("STATE__DIRECTORY", &place.state(name).to_string_lossy());
    set("HTTP__LISTEN", &format!("127.0.0.1:{}", testbed::free_port()?));
    set("PROCESSING__COMMIT_INTERVAL", &format!("{}ms", Setting::STANDARD.commit_interval_ms));
    means.ours.iter().for_each(|(key, value)| set(key, value));
    Ok(command)
}

/// What Kafka Streams is given: what the count topology's has, and static membership.
pub(crate) fn their_properties(name: &str, further: &[(&str, &str)]) -> String {
    let session = SESSION_MS.to_string();
    let own = [
        ("main.consumer.group.instance.id", name),
        ("main.consumer.session.timeout.ms", session.as_str()),
        ("restore.consumer.max.poll.records", "4000"),
    ];
    let lines = own.iter().chain(further).map(|(key, value)| format!("{key}={value}"));
    [peer_properties(&Setting::STANDARD)].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

fn theirs(means: &Means<'_>, place: &Place, name: &str) -> Result<Command, Failure> {
    let mut command = means.peer.ok_or("the peer was not prepared")?.java("StoredValues");
    command
        .env("PEER_SERVERS", means.servers)
        .env("PEER_APPLICATION", &place.application)
        .env("PEER_EVENTS", place.events())
        .env("PEER_COUNTS", place.counts())
        .env("PEER_STORES", place.shape.stores.to_string())
        .env("PEER_STATE", place.state(name))
        .env("PEER_PROPERTIES", their_properties(name, means.theirs));
    Ok(command)
}
