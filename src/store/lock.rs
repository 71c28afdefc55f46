//! The lock on a task's directory: an advisory `flock` on a file beside it that holds the owner's process id.
//!
//! The kernel releases it when the process dies, however it dies, so there is no stale lock to recognise (rule R-24).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::StoreError;

/// A task's directory is ours until this is dropped.
#[derive(Debug)]
pub(super) struct TaskLock {
    _file: Flock<File>,
}

impl TaskLock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(path: &Path, task: &dyn std::fmt::Display) -> Result<Self, StoreError> {
        let failed = |source| StoreError::File { action: "locking", path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        match Flock::lock(file.map_err(failed)?, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                record_owner(&mut file).map_err(failed)?;
                Ok(TaskLock { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                Err(StoreError::Locked { task: task.to_string(), holder: owner(&mut file) })
            }
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

fn record_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
