//! What all parts have in common: start until a real request is answered, kill, stop, pause, resume, restart.
//!
//! ```text
//! plan (fresh ports) --> process --> probe answers? --yes--> running
//!        ^                  | ended, "address in use"            | kill / stop ... start: same ports, same data
//!        +------------------+
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::{Error, Result};
use crate::process::{Launch, Process, tail};
use crate::wait;

/// How long a part may take to answer its first request. Generous: a busy CI machine may be ten times slower.
const BOOT_DEADLINE: Duration = Duration::from_secs(90);
/// How long a part may take to end by itself after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(20);
/// The same when its data is about to be deleted.
const DROP_GRACE: Duration = Duration::from_secs(3);
/// Starts with fresh ports before giving up.
const TRIES: u32 = 5;

/// Asks the server something that only a working server answers.
pub(crate) type Probe = Box<dyn Fn() -> std::result::Result<(), String> + Send + Sync>;

/// What to run and how to find out that it works.
pub(crate) struct Plan {
    pub(crate) launch: Launch,
    pub(crate) probe: Probe,
    pub(crate) log: PathBuf,
    /// The signal on which the program ends in an orderly way.
    pub(crate) stop_signal: Signal,
}

/// One server process that can be ended and started again. Every part derefs to this.
pub struct Server {
    part: &'static str,
    plan: Plan,
    process: Mutex<Option<Process>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(self.part).field("pid", &self.pid()).field("log", &self.plan.log).finish()
    }
}

impl Server {
    /// Starts what `plan` says and waits until it answers; plans anew if another process took a port in between.
    ///
    /// `plan` also returns what the part wants to know about the plan that worked, for example its port.
    pub(crate) fn launch<T>(part: &'static str, mut plan: impl FnMut() -> Result<(Plan, T)>) -> Result<(Self, T)> {
        let mut tries = 1;
        loop {
            let (plan, about) = plan()?;
            let server = Self { part, plan, process: Mutex::new(None) };
            match server.start() {
                Ok(()) => return Ok((server, about)),
                Err(error) if tries == TRIES || !is_bind_failure(&error) => return Err(error),
                Err(_) => tries += 1,
            }
        }
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), with the same ports and data, and waits
    /// until it answers. Does nothing if it runs.
    ///
    /// # Errors
    /// [`Error::Start`] with the end of the log.
    pub fn start(&self) -> Result<()> {
        let mut slot = self.slot();
        if slot.as_mut().is_some_and(|process| process.ended().is_none()) {
            return Ok(());
        }
        let mut process = Process::start(&self.plan.launch, &self.plan.log)?;
        let mut ended = false;
        let answer = wait::until(self.part, BOOT_DEADLINE, || {
            if ended {
                return Ok(false);
            }
            let answer = (self.plan.probe)();
            // Looked at after the answer: a stranger on our port may have given it.
            ended = process.ended().is_some();
            if ended { Ok(false) } else { answer.map(|()| true) }
        });
        let reason = match answer {
            Ok(true) => {
                *slot = Some(process);
                return Ok(());
            }
            Ok(false) => "its process ended".to_owned(),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => error.to_string(),
        };
        let log = self.plan.log.clone();
        Err(Error::Start { part: self.part, reason, tail: tail(&log), log })
    }

    /// SIGKILL, and waits until the process and its children are gone. The data stays as a crash leaves it.
    pub fn kill(&self) {
        *self.slot() = None;
    }

    /// Ends it in an orderly way (SIGTERM; SIGKILL if that takes too long) and waits for the end.
    pub fn stop(&self) {
        self.stop_within(STOP_GRACE);
    }

    /// [`stop`](Self::stop) for a part whose data nobody needs any more.
    pub(crate) fn tear_down(&self) {
        self.stop_within(DROP_GRACE);
    }

    fn stop_within(&self, grace: Duration) {
        if let Some(process) = self.slot().take() {
            process.stop(self.plan.stop_signal, grace);
        }
    }

    /// SIGSTOP: connections stay open and nobody answers, as behind a network partition.
    ///
    /// # Errors
    /// [`Error::NotRunning`] after a kill or stop.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT after [`pause`](Self::pause).
    ///
    /// # Errors
    /// [`Error::NotRunning`] after a kill or stop.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// [`stop`](Self::stop), then [`start`](Self::start).
    ///
    /// # Errors
    /// As `start`.
    pub fn restart(&self) -> Result<()> {
        self.stop();
        self.start()
    }

    /// The process id, `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.slot().as_ref().map(Process::pid)
    }

    /// The part's name.
    pub fn part(&self) -> &'static str {
        self.part
    }

    /// The file that both outputs of the process go to.
    pub fn log(&self) -> &Path {
        &self.plan.log
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let slot = self.slot();
        let process = slot.as_ref().ok_or(Error::NotRunning(self.part))?;
        process.signal(signal);
        Ok(())
    }

    fn slot(&self) -> MutexGuard<'_, Option<Process>> {
        // A panic elsewhere leaves nothing half done: the slot either holds a process or does not.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tear_down();
    }
}

/// How the parts say it; the last but one is Quarkus, which the registry runs on.
const BIND_FAILURES: [&str; 5] =
    ["already in use", "bindexception", "failed to bind", "to be in use by another process", "already bound"];

/// Whether a start failed because another process listens on the port. The whole log: what a JVM says after that is
/// longer than the tail in the error.
fn is_bind_failure(error: &Error) -> bool {
    let Error::Start { log, .. } = error else {
        return false;
    };
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).to_lowercase();
    BIND_FAILURES.iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::dirs::Dirs;

    #[test]
    fn plans_anew_if_another_process_took_the_port() {
        let dirs = Dirs::new().expect("dirs");
        let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
        let taken = taken.local_addr().expect("address").port();
        let plans = AtomicU32::new(0);
        let (server, port) = Server::launch("redis", || {
            let first = plans.fetch_add(1, Ordering::SeqCst) == 0;
            crate::redis::plan_at(&dirs, if first { taken } else { crate::free_port()? })
                .map(|(plan, about)| (plan, about.0))
        })
        .expect("the second plan works");
        assert_eq!(plans.load(Ordering::SeqCst), 2);
        assert_ne!(port, taken);
        assert!(server.pid().is_some());
    }
}
