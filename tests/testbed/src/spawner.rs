//! Starts child processes that cannot outlive this one, whatever ends it.
//!
//! Linux sends a child its "parent death signal" when the *thread* that forked it ends, and the test harness runs each
//! test on a thread of its own. So one thread that lives as long as the process does all the forking:
//!
//! ```text
//! any thread --job--> spawner thread --fork--> child: new group, empty signal mask, PDEATHSIG = SIGKILL, exec
//!     ^                    |
//!     +------- Child ------+
//! ```

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid};

use crate::error::{Error, Result};

/// Jobs that may wait for the spawner thread; each caller waits for its own, so this bounds callers that queue.
const QUEUE: usize = 64;

struct Job {
    command: Command,
    reply: SyncSender<std::io::Result<Child>>,
}

/// Forks and execs `command` on the spawner thread, so that the child cannot outlive this process.
///
/// # Errors
/// [`Error::Io`] if it cannot be started.
pub fn spawn(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Job>> = OnceLock::new();
    let program = command.get_program().to_string_lossy().into_owned();
    let gone = || Error::Setting("the spawner thread is gone".to_owned());
    let jobs = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = sync_channel::<Job>(QUEUE);
        std::thread::spawn(move || {
            for job in inbox {
                // The caller waits for the reply, so it cannot be gone.
                let _ = job.reply.send(fork(job.command));
            }
        });
        jobs
    });
    let (reply, answer) = sync_channel(1);
    jobs.send(Job { command, reply }).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?.map_err(Error::io(format!("start {program}")))
}

/// Runs on the spawner thread.
#[allow(unsafe_code)] // pre_exec is unsafe: the closure runs between fork and exec
fn fork(mut command: Command) -> std::io::Result<Child> {
    let parent = Pid::this();
    // A group of its own: Ctrl-C in the terminal reaches only the testbed, which ends the parts in order.
    command.process_group(0);
    // SAFETY: the closure calls only async-signal-safe system calls (sigprocmask, prctl, getppid), allocates nothing
    // and touches no lock. The standard library runs it after the change of user, which would clear PDEATHSIG.
    unsafe {
        command.pre_exec(move || {
            SigSet::empty().thread_set_mask()?;
            set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != parent {
                // The parent died before prctl: nobody would send the signal any more.
                return Err(std::io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
            Ok(())
        });
    }
    command.spawn()
}
