//! One instance of a run's applications: a process that is started, stopped, killed and started again.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{spawn, wait};

use crate::Result;
use crate::application::PATIENCE;
use crate::child::Role;
use crate::clock::Clock;

/// Lines of a log that go into a report.
const TAIL: usize = 25;

/// How an instance is started: this very program, with arguments that lead it to [`become_one`](crate::child::become_one).
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Arguments; none for a program that begins with it.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// A test executable, by the path of a test whose whole body is that call.
    pub fn test(path: &str) -> Program {
        Program { arguments: [path, "--exact", "--nocapture"].map(OsString::from).to_vec() }
    }
}

/// An instance; its process is killed when it is dropped.
pub struct Instance {
    program: Program,
    role: Role,
    log: PathBuf,
    clock: Option<Clock>,
    child: Option<Child>,
}

impl Instance {
    /// Starts nothing yet. Its log is a file in `logs`.
    pub fn new(program: Program, role: Role, logs: &Path, clock: Option<Clock>) -> Instance {
        let log = logs.join(format!("{}-{}.log", role.ground.id, role.instance));
        Instance { program, role, log, clock, child: None }
    }

    /// Its name in the group.
    pub fn name(&self) -> &str {
        &self.role.instance
    }

    /// Where its state lives.
    pub fn directory(&self) -> &Path {
        &self.role.directory
    }

    /// Its clock, where it has one of its own.
    pub fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    /// Starts it.
    ///
    /// # Errors
    /// There is no process to be had.
    pub fn start(&mut self) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(&self.program.arguments).envs(self.role.variables());
        if let Some(clock) = &self.clock {
            command.envs(clock.variables());
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(spawn(command)?);
        Ok(())
    }

    /// How it ended, if it did by itself.
    ///
    /// # Errors
    /// The system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Whether it has a process.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// A signal to its process.
    ///
    /// # Errors
    /// It has none.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().ok_or("it does not run")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        Ok(())
    }

    /// SIGTERM, and waits for an orderly end.
    ///
    /// # Errors
    /// It ends in another way, or not in time.
    pub fn terminate(&mut self) -> Result<()> {
        if self.child.is_none() {
            return Ok(());
        }
        self.signal(Signal::SIGTERM)?;
        let status = wait::until("an instance to end", PATIENCE, || {
            self.ended().map_err(|error| error.to_string())?.ok_or_else(|| "it runs".to_owned())
        })?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{} ended with {status}\n{}", self.name(), self.tail()).into())
        }
    }

    /// The end of what it has printed.
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Gone already, or not ours to complain about.
        _ = self.kill();
    }
}
