//! One instance of a topology's binary, the very one that users deploy: started, killed, told to end, and started again.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{free_port, http_get, spawn, wait};

use super::PATIENCE;
use super::ground::{Ground, Queue, TOKEN};
use crate::Result;

/// A variable that every instance has, for what it has to show to another one.
pub const PEER: &str = "HEADRACE_SECRET_PEER";
/// Lines of a log that go into a report.
const TAIL: usize = 25;

/// An instance; its process is killed when it is dropped.
pub struct Member {
    name: String,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    http: String,
    child: Option<Child>,
}

impl Member {
    /// Of the task queue: writes its configuration into a folder of its own in `directory`, and starts nothing.
    ///
    /// # Errors
    /// The binary was not built, or the disk is full.
    pub fn prepare(ground: &Ground, directory: &Path, name: &str, queues: &[Queue]) -> Result<Member> {
        let own = directory.join(format!("{}-{name}", ground.id));
        let http = format!("127.0.0.1:{}", free_port()?);
        let config = ground.configure(&own, name, &http, queues)?;
        Member::of("task-queue", name, config, http)
    }

    /// Of any topology, by its binary, with a configuration that has it answer at `http`. Its log is beside the configuration.
    ///
    /// # Errors
    /// The binary was not built.
    pub fn of(binary: &str, name: &str, config: PathBuf, http: String) -> Result<Member> {
        let (program, log) = (program(binary)?, config.with_file_name("log"));
        Ok(Member { name: name.to_owned(), program, config, log, http, child: None })
    }

    fn command(&self, subcommand: &str) -> Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.env(PEER, TOKEN).arg(subcommand).arg("--config").arg(&self.config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host:port` at which it answers.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// The file of its configuration.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Makes the topics, and gives the groups their settings: again, if brokers that were started a moment ago are not ready
    /// for all of it.
    ///
    /// # Errors
    /// What the binary says in the end.
    pub fn apply(&self) -> Result<()> {
        let once = || -> Result<()> {
            let status = spawn(self.command("apply")?)?.wait()?;
            if status.success() { Ok(()) } else { Err(format!("{status}\n{}", self.tail()).into()) }
        };
        wait::until("the topics and groups", PATIENCE, || once().map_err(|error| error.to_string()))?;
        Ok(())
    }

    /// Starts it, without waiting for anything.
    ///
    /// # Errors
    /// There is no process to be had.
    pub fn start(&mut self) -> Result<()> {
        self.child = Some(spawn(self.command("run")?)?);
        Ok(())
    }

    /// Waits until it says that it is ready. One that ends before is started again, as a supervisor would: a broker may tell of
    /// a group's settings only a while after it has taken them, and whoever looks too early refuses to start.
    ///
    /// # Errors
    /// It is not, in time.
    pub fn wait_ready(&mut self) -> Result<()> {
        let url = format!("http://{}/readyz", self.http);
        let ready = wait::until(&format!("{} to be ready", self.name), PATIENCE, || {
            if let Some(status) = self.ended().map_err(|error| error.to_string())? {
                self.start().map_err(|error| error.to_string())?;
                return Err(format!("it has ended: {status}"));
            }
            match http_get(&url) {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status}: {body}")),
                Err(error) => Err(error.to_string()),
            }
        });
        ready.map_err(|error| format!("{error}\n{}", self.tail()).into())
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

    /// SIGTERM, without waiting for the end.
    ///
    /// # Errors
    /// It does not run.
    pub fn tell_to_end(&self) -> Result<()> {
        let child = self.child.as_ref().ok_or_else(|| format!("{} does not run", self.name))?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
        Ok(())
    }

    /// Waits for an orderly end.
    ///
    /// # Errors
    /// It does not end in time, or with another exit code than 0.
    pub fn wait_end(&mut self) -> Result<()> {
        let name = self.name.clone();
        let status = wait::until(&format!("{name} to end"), PATIENCE, || {
            self.ended().map_err(|error| error.to_string())?.ok_or_else(|| "it runs".to_owned())
        })?;
        if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}\n{}", self.tail()).into()) }
    }

    /// The end of what it has printed.
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Gone already, or not ours to complain about.
        _ = self.kill();
    }
}

/// The binary beside this program, or beside the folder of test executables; or in `HEADRACE_BIN_DIR`.
pub(crate) fn program(binary: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folders = [std::env::var_os("HEADRACE_BIN_DIR").map(PathBuf::from)];
    let beside = own.ancestors().skip(1).take(2).map(Path::to_owned);
    let found = folders.into_iter().flatten().chain(beside).map(|folder| folder.join(binary));
    let found = found.into_iter().find(|program| program.is_file());
    Ok(found.ok_or_else(|| format!("the binary {binary} is missing: build the workspace first (make chaos does)"))?)
}
