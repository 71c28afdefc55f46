//! The process whose timers they are.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use count_topology::timers::{STORE, TICKS};
use testbed::Testbed;

use crate::Failure;
use crate::counting::{Running, binary, now_ms};
use crate::measure::{cpu_seconds, peak_rss_bytes};

pub(super) const APPLICATION: &str = "pending-timers";
/// What is set.
pub(super) const TIMERS: &str = "timers";
/// What is due.
pub(super) const DUE: &str = "due";
const STOP: Duration = Duration::from_secs(60);

/// The changelogs of the timers, and of the ticks at which they are looked at.
pub(super) fn changelogs() -> [String; 2] {
    [STORE, TICKS].map(|store| format!("{APPLICATION}-{store}-changelog"))
}

/// A running one; killed when dropped.
pub(super) struct Instance {
    pub(super) running: Running,
    pub(super) started: Instant,
    /// The same by the clock of timestamps.
    pub(super) started_ms: i64,
    state: PathBuf,
}

impl Instance {
    /// Starts it, with the state that it has.
    pub(super) fn start(bed: &Testbed) -> Result<Self, Failure> {
        let state = bed.dirs()?.root().join(APPLICATION);
        std::fs::create_dir_all(&state)?;
        let mut command = Command::new(binary("pending-timers")?);
        let mut set = |key: &str, value: &str| _ = command.env(format!("HEADRACE__{key}"), value);
        set("KAFKA__BOOTSTRAP_SERVERS", bed.kafka()?.bootstrap_servers());
        set("INSTANCE_ID", "one");
        set("TOPICS__TIMERS", TIMERS);
        set("TOPICS__DUE", DUE);
        set("STATE__DIRECTORY", &state.to_string_lossy());
        set("HTTP__LISTEN", &format!("127.0.0.1:{}", testbed::free_port()?));
        let (started, started_ms) = (Instant::now(), now_ms());
        let running = Running::spawn(command, state.with_extension("log"))?;
        Ok(Instance { running, started, started_ms, state })
    }

    pub(super) fn cpu_seconds(&self) -> Result<f64, Failure> {
        cpu_seconds(self.running.pid())
    }

    pub(super) fn peak_rss_bytes(&self) -> Result<f64, Failure> {
        Ok(peak_rss_bytes(self.running.pid())? as f64)
    }

    /// Kill −9; gives where its state is.
    pub(super) fn kill(self) -> PathBuf {
        self.state
    }

    /// Ends it in order; gives where its state is.
    pub(super) fn stop(self) -> Result<PathBuf, Failure> {
        self.running.stop(STOP)?;
        Ok(self.state)
    }
}
