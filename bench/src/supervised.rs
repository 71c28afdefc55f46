//! A benchmark as a process of its own, so that one that is interrupted leaves nothing: no broker, no gigabytes of topics.
//!
//! ```text
//!  bench NAME ─▶ the same again, in a group of its own ─▶ broker, arms          each dies with the one that has started it
//!     │ Ctrl-C, or SIGTERM
//!     └─▶ kills it ─▶ sweeps the directories that it had ─▶ exit 130
//! ```

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use testbed::Dirs;

use crate::Failure;

/// Tells a process that it is the one that is supervised.
const WITHIN: &str = "BENCH_SUPERVISED";
const LOOK: Duration = Duration::from_millis(20);
/// How long what has been killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// As a shell says it of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs the benchmark in a process that is ended with this one; here, if this is that process.
pub(crate) fn run(benchmark: impl FnOnce() -> ExitCode) -> Result<ExitCode, Failure> {
    if std::env::var_os(WITHIN).is_some() {
        return Ok(benchmark());
    }
    // Before the first thread, so that all have it blocked and the one below hears of it.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    std::thread::spawn(move || IS_INTERRUPTED.store(signals.wait().is_ok(), Ordering::Release));
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(WITHIN, "1");
    let mut child = testbed::spawn(command)?;
    loop {
        if let Some(status) = child.try_wait()? {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return Ok(ExitCode::from(code.unwrap_or(1)));
        }
        if IS_INTERRUPTED.load(Ordering::Acquire) {
            child.kill()?;
            child.wait()?;
            sweep(child.id())?;
            return Ok(ExitCode::from(INTERRUPTED));
        }
        std::thread::sleep(LOOK);
    }
}

/// Removes the directories that a process had, once what it had started is gone as well.
fn sweep(owner: u32) -> Result<(), Failure> {
    let (begun, name) = (Instant::now(), format!("headrace-testbed-{owner}-"));
    loop {
        // Whoever makes a new one removes those of dead owners.
        drop(Dirs::new()?);
        let mut left = std::fs::read_dir(std::env::temp_dir())?.filter_map(Result::ok);
        if !left.any(|entry| entry.file_name().to_string_lossy().starts_with(&name)) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("{}/{name}* can't be removed", std::env::temp_dir().display()).into());
        }
        std::thread::sleep(LOOK);
    }
}
