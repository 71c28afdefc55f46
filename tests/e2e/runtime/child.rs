//! Applications in processes of their own, to be killed: this very test executable, told by its environment what to be.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headrace::runtime::{Guarantee, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord};

use super::serving::serve;
use super::support::{Bench, PATIENCE, SESSION, tokio};
use super::{colours, punctuators};

const KIND: &str = "HEADRACE_E2E_KIND";
/// Where a child answers queries; without it, it doesn't.
const PORT: &str = "HEADRACE_E2E_PORT";
/// How many copies of each store there are to be.
const STANDBYS: &str = "HEADRACE_E2E_STANDBYS";
/// How long a transaction of it may be open, in milliseconds.
const TRANSACTION: &str = "HEADRACE_E2E_TRANSACTION";
/// What a record takes in a child, so that a kill meets it at work.
const PACE: Duration = Duration::from_micros(50);

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ExactlyOnce,
    AtLeastOnce,
    /// The control arm: librdkafka's example, which produces and then commits offsets, without a transaction.
    Naive,
    /// Counts ticks of the wall clock.
    WallClock,
    /// Sums up between ticks of stream time.
    StreamTime,
    /// In two halves, with a table and two stream threads.
    Colours,
    /// The control arm of that.
    ColoursAtLeastOnce,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::ExactlyOnce => "exactly-once",
            Kind::AtLeastOnce => "at-least-once",
            Kind::Naive => "naive",
            Kind::WallClock => "wall-clock",
            Kind::StreamTime => "stream-time",
            Kind::Colours => "colours",
            Kind::ColoursAtLeastOnce => "colours-at-least-once",
        }
    }
}

/// A running child; killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(bench: &Bench, kind: Kind, instance: &str, directory: &Path, commit: Duration) -> Self {
        Self::start_with(bench, kind, instance, directory, commit, &[])
    }

    /// Exactly-once, and answers queries on this port.
    pub(crate) fn serving(bench: &Bench, instance: &str, directory: &Path, port: u16) -> Self {
        let port = [(PORT, port.to_string())];
        Self::start_with(bench, Kind::ExactlyOnce, instance, directory, Duration::from_millis(50), &port)
    }

    /// The same, with copies of each store on other instances.
    pub(crate) fn with_standbys(bench: &Bench, instance: &str, directory: &Path, standbys: usize) -> Self {
        let more = [(PORT, "0".to_owned()), (STANDBYS, standbys.to_string())];
        Self::start_with(bench, Kind::ExactlyOnce, instance, directory, Duration::from_millis(50), &more)
    }

    /// Exactly-once, with a transaction that is open for so long, and not committed before half of that is over.
    pub(crate) fn with_long_transactions(bench: &Bench, instance: &str, directory: &Path, open: Duration) -> Self {
        let more = [(TRANSACTION, open.as_millis().to_string())];
        Self::start_with(bench, Kind::ExactlyOnce, instance, directory, open / 2, &more)
    }

    fn start_with(
        bench: &Bench,
        kind: Kind,
        instance: &str,
        directory: &Path,
        commit: Duration,
        more: &[(&str, String)],
    ) -> Self {
        let child = Command::new(std::env::current_exe().expect("own path"))
            .envs(more.iter().map(|(name, value)| (*name, value.as_str())))
            .args(["runtime::child::the_child_itself", "--exact", "--nocapture"])
            .env(KIND, kind.name())
            .env("HEADRACE_E2E_SERVERS", &bench.servers)
            .env("HEADRACE_E2E_APPLICATION", &bench.application)
            .env("HEADRACE_E2E_INSTANCE", instance)
            .env("HEADRACE_E2E_DIRECTORY", directory)
            .env("HEADRACE_E2E_COMMIT_MS", commit.as_millis().to_string())
            // It ends when this pipe does: with the test, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Process(child.expect("spawn"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a process id"));
        kill(pid, signal).expect("signal");
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already, or not ours to complain about.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn variable(name: &str) -> String {
    std::env::var(format!("HEADRACE_E2E_{name}")).expect(name)
}

/// Not a test but what a [`Process`] runs; without the environment it does nothing.
#[test]
fn the_child_itself() {
    let Ok(kind) = std::env::var(KIND) else { return };
    std::thread::spawn(|| {
        _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    let bench = Bench { servers: variable("SERVERS"), application: variable("APPLICATION") };
    if kind == Kind::Naive.name() {
        naive(&bench);
    }
    let mut options = bench.options(&variable("INSTANCE"), &PathBuf::from(variable("DIRECTORY")));
    options.commit_interval = Duration::from_millis(variable("COMMIT_MS").parse().expect("a number"));
    if kind.starts_with(Kind::Colours.name()) {
        let own = colours::options(&bench, &variable("INSTANCE"), &PathBuf::from(variable("DIRECTORY")));
        options = Options { commit_interval: options.commit_interval, ..own };
    }
    if kind.ends_with(Kind::AtLeastOnce.name()) {
        options.guarantee = Guarantee::AtLeastOnce;
    }
    let topology = match kind.as_str() {
        "wall-clock" => punctuators::counting(&bench),
        "stream-time" => punctuators::summing(&bench, PACE),
        kind if kind.starts_with("colours") => colours::topology(&bench, PACE),
        _ => bench.topology(PACE, true),
    };
    if let Ok(open) = std::env::var(TRANSACTION) {
        options.kafka.transaction_timeout = Duration::from_millis(open.parse().expect("a number"));
    }
    options.standbys = std::env::var(STANDBYS).map_or(0, |standbys| standbys.parse().expect("a number"));
    let port = std::env::var(PORT).ok().map(|port| port.parse().expect("a port"));
    let _pages = port.map(|port| serve(&topology, &mut options, port));
    let app = headrace::runtime::App::new(topology, options);
    tokio().block_on(app.run(Default::default())).expect("ran");
}

/// The loop of librdkafka's example: consume, produce, flush, commit.
fn naive(bench: &Bench) -> ! {
    let mut config = bench.client();
    config.set("group.id", &bench.application).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("session.timeout.ms", SESSION.as_millis().to_string()).set("heartbeat.interval.ms", "300");
    let consumer: BaseConsumer = config.create().expect("consumer");
    consumer.subscribe(&[&bench.input()]).expect("subscribe");
    let producer: BaseProducer = bench.client().create().expect("producer");
    let mut counts = std::collections::BTreeMap::<Vec<u8>, u64>::new();
    let (output, dead) = (bench.output(), bench.dead());
    for turn in 0u64.. {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let (key, value) = (message.key().expect("key"), message.payload().expect("value"));
        let (topic, value) = match std::str::from_utf8(value).expect("text") {
            poison if poison.starts_with("poison") => (&dead, poison.to_owned()),
            number => {
                let count = counts.entry(key.to_vec()).or_default();
                *count += 1;
                (&output, format!("{count} {number}"))
            }
        };
        let record = BaseRecord::to(topic).partition(message.partition()).key(key).payload(&value);
        producer.send(record).expect("send");
        producer.poll(Duration::ZERO);
        let started = std::time::Instant::now();
        while started.elapsed() < PACE {
            std::hint::spin_loop();
        }
        if turn % 2000 == 1999 {
            rdkafka::producer::Producer::flush(&producer, PATIENCE).expect("flush");
            consumer.commit_consumer_state(CommitMode::Sync).expect("commit");
        }
    }
    unreachable!("killed before")
}
