//! Who is measured, and with which settings; each as a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::Testbed;

use super::peer::Peer;
use crate::Failure;

/// Lines of a log that go into an error.
const TAIL_LINES: usize = 15;
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arm {
    /// The count topology on Headrace.
    Ours,
    /// The same on Kafka Streams.
    Peer,
    /// What a count reads and writes, in a bare loop without a store.
    Limit,
}

impl Arm {
    /// As it is printed, and named in topics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Arm::Ours => "ours",
            Arm::Peer => "peer",
            Arm::Limit => "limit",
        }
    }
}

/// With which settings; the same for all arms, as far as they have them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) commit_interval_ms: u64,
    /// Codec of what is produced: outputs and changelog.
    pub(crate) compression: &'static str,
    pub(crate) exactly_once: bool,
    /// Whether the limit writes a changelog's record beside each copy, as the others do.
    pub(crate) limit_writes_changelog: bool,
    /// Further keys of Headrace's configuration, as `SECTION__KEY` and value. An arm for another producer is one line:
    /// `Setting { ours: &[("PROCESSING__PRODUCER", "rdkafka")], ..Setting::STANDARD }`.
    pub(crate) ours: &'static [(&'static str, &'static str)],
}

impl Setting {
    /// What the issue asks for: exactly-once, 100 ms, nothing compressed.
    pub(crate) const STANDARD: Setting = Setting {
        commit_interval_ms: 100,
        compression: "none",
        exactly_once: true,
        limit_writes_changelog: true,
        ours: &[],
    };
}

/// The names that one run has for itself.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) application: String,
    pub(crate) events: String,
    pub(crate) counts: String,
    pub(crate) state: PathBuf,
}

impl Place {
    /// A fresh place below the testbed's directory.
    pub(crate) fn new(bed: &Testbed, application: String, events: &str) -> Result<Self, Failure> {
        let state = bed.dirs()?.root().join(&application);
        Ok(Place { counts: format!("{application}.counts"), events: events.to_owned(), application, state })
    }

    /// The changelog of the store, which Headrace and Kafka Streams name alike.
    pub(crate) fn changelog(&self) -> String {
        format!("{}-counts-changelog", self.application)
    }
}

/// A running arm; killed when dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is as good.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Running {
    /// Starts an arm. Its topics must be there.
    pub(crate) fn start(
        arm: Arm,
        bed: &Testbed,
        place: &Place,
        setting: &Setting,
        peer: Option<&Peer>,
    ) -> Result<Self, Failure> {
        let servers = bed.kafka()?.bootstrap_servers();
        let command = match arm {
            Arm::Ours => ours(servers, place, setting)?,
            Arm::Limit => limit(servers, place, setting)?,
            Arm::Peer => peer.ok_or("the peer was not prepared")?.command(servers, place, setting),
        };
        Self::spawn(command, place.state.with_extension("log"))
    }

    /// Starts a command; all that it prints goes to `log`.
    pub(crate) fn spawn(mut command: Command, log: PathBuf) -> Result<Self, Failure> {
        let file = std::fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Running { child: testbed::spawn(command)?, log })
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self, patience: Duration) -> Result<(), Failure> {
        let pid = i32::try_from(self.pid())?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        let deadline = Instant::now() + patience;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("still there {patience:?} after SIGTERM:\n{}", tail(&self.log)).into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("ended by itself ({status}):\n{}", tail(&self.log)).into()),
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// A binary beside this one.
pub(crate) fn binary(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() { Ok(path) } else { Err(format!("{} is not built", path.display()).into()) }
}

fn ours(servers: &str, place: &Place, setting: &Setting) -> Result<Command, Failure> {
    let mut command = Command::new(binary("stateful-count")?);
    let mut set = |key: &str, value: &str| _ = command.env(format!("HEADRACE__{key}"), value);
    set("KAFKA__BOOTSTRAP_SERVERS", servers);
    set("APPLICATION_ID", &place.application);
    set("TOPICS__EVENTS", &place.events);
    set("TOPICS__COUNTS", &place.counts);
    set("STATE__DIRECTORY", &place.state.to_string_lossy());
    set("HTTP__LISTEN", &format!("127.0.0.1:{}", testbed::free_port()?));
    set("PROCESSING__COMMIT_INTERVAL", &format!("{}ms", setting.commit_interval_ms));
    set("PROCESSING__COMPRESSION", setting.compression);
    // Enough for 100,000 keys; a larger one is memory and nothing else.
    set("STATE__WRITE_BUFFERS", "16 MiB");
    set("PROCESSING__GUARANTEE", if setting.exactly_once { "exactly-once" } else { "at-least-once" });
    for (key, value) in setting.ours {
        set(key, value);
    }
    Ok(command)
}

fn limit(servers: &str, place: &Place, setting: &Setting) -> Result<Command, Failure> {
    let mut command = Command::new(binary("copy-loop")?);
    command
        .env("COPY_SERVERS", servers)
        .env("COPY_APPLICATION", &place.application)
        .env("COPY_EVENTS", &place.events)
        .env("COPY_COPIES", &place.counts)
        .env("COPY_COMPRESSION", setting.compression)
        .env("COPY_COMMIT_MS", setting.commit_interval_ms.to_string());
    if setting.limit_writes_changelog {
        command.env("COPY_CHANGELOG", place.changelog());
    }
    Ok(command)
}
