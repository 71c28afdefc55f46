//! The topology's binary as a child: run, killed with −9, run again, ended in an orderly way.
//!
//! It is the very binary that users deploy, beside this one in the target directory, so nothing is special about it.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use chaos::queue::ground::TOKEN;
use chaos::queue::member::PEER;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::wait;

use crate::Result;
use crate::metrics;

/// Time until `/readyz` says yes; a restart may first have to wait for the transaction of the life before.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// The binary's own shutdown deadline, and a little.
const STOP_DEADLINE: Duration = Duration::from_secs(28);
/// Lines of its log that go into an error.
const TAIL_LINES: usize = 15;

/// Where the binary is and what it is told.
#[derive(Debug)]
pub(crate) struct Application {
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
}

impl Application {
    /// The binary beside this one, with the configuration at `config`; it answers HTTP at `address`.
    pub(crate) fn new(name: &str, config: PathBuf, address: SocketAddr) -> Result<Self> {
        let binary = std::env::current_exe()?.with_file_name(name);
        if !binary.is_file() {
            return Err(format!("{} is missing; run `make demo`, which builds it", binary.display()).into());
        }
        let log = config.with_file_name(format!("{name}.log"));
        Ok(Application { binary, config, log, address, child: None })
    }

    /// Creates the topics and registers the schemas.
    pub(crate) fn apply(&self) -> Result<()> {
        let output = self.command("apply").stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("apply failed ({}):\n{}", output.status, tail(&text)).into())
    }

    /// Starts it. To be called on the main thread: the kernel kills the child when the thread that forked it ends.
    pub(crate) fn start(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let errors = log.try_clone()?;
        let mut command = self.command("run");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until it says that it is ready, and returns how long that took.
    pub(crate) fn wait_ready(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let address = self.address;
        let mut ended = None;
        let answer = wait::until("the topology to be ready", READY_DEADLINE, || {
            ended = self.ended();
            if ended.is_some() {
                return Ok(());
            }
            match metrics::http(address, "/readyz") {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status} {}", body.trim())),
                Err(error) => Err(error.to_string()),
            }
        });
        match (answer, ended) {
            (Err(testbed::Error::Interrupted), _) => Err(testbed::Error::Interrupted.into()),
            (Err(error), _) => Err(format!("{error}\n{}", self.log_tail()).into()),
            (Ok(()), Some(status)) => Err(self.died(status)),
            (Ok(()), None) => Ok(start.elapsed()),
        }
    }

    /// An error if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.ended().map_or(Ok(()), |status| Err(self.died(status)))
    }

    /// SIGKILL: no handler runs, nothing is flushed, the open transaction stays open.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        let status = child.wait()?;
        if status.signal() == Some(Signal::SIGKILL as i32) { Ok(()) } else { Err(self.died(status)) }
    }

    /// SIGTERM, and waits; an error if it does not leave in time or not with 0.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        let start = Instant::now();
        // Not `wait::until`, which ends at once after Ctrl-C, and that is when this is called.
        loop {
            if let Some(status) = child.try_wait()? {
                return if status.success() { Ok(()) } else { Err(self.died(status)) };
            }
            if start.elapsed() > STOP_DEADLINE {
                child.kill()?;
                child.wait()?;
                return Err(format!("SIGTERM did not end it within {STOP_DEADLINE:?}\n{}", self.log_tail()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    fn died(&self, status: ExitStatus) -> Box<dyn std::error::Error + Send + Sync> {
        format!("the topology has ended by itself: {status}\n{}", self.log_tail()).into()
    }

    fn log_tail(&self) -> String {
        tail(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// setpriv (util-linux, on every Debian) asks the kernel to kill the child when we die, then becomes the child.
    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.binary).arg(subcommand).arg("--config").arg(&self.config);
        // What a target may have to show.
        command.env(PEER, TOKEN);
        // A group of its own: Ctrl-C in the terminal reaches only the demo, which ends its children in order.
        command.process_group(0);
        command
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It is on its way out already, or there is nobody to tell.
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  | {line}")).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
