//! The temporary directory of one testbed: data and logs of its parts, removed when it is dropped.
//!
//! A process that was killed with SIGKILL cannot remove anything. Each directory therefore carries a file that its
//! owner keeps locked; whoever makes a new one removes those whose lock is free, because their owner is gone.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};
use crate::ports::random;

/// Name prefix of a finished directory.
const PREFIX: &str = "headrace-testbed-";
/// The file whose lock says that the owner lives.
const OWNER: &str = "owner";
/// If this variable is set, directories stay behind for a look at logs and data.
const KEEP: &str = "TESTBED_KEEP";

/// A temporary directory with one subdirectory for each part.
#[derive(Debug)]
pub struct Dirs {
    root: PathBuf,
    /// Held for its lock only.
    _owner: File,
    parts: AtomicU32,
}

impl Dirs {
    /// Makes a fresh directory under `TMPDIR` and removes those that dead processes have left.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be made.
    pub fn new() -> Result<Self> {
        let base = std::env::temp_dir();
        sweep(&base);
        // Locked first and renamed then: a sweeper never sees a directory without a held lock.
        let id = format!("{}-{:08x}", std::process::id(), random() as u32);
        let young = base.join(format!("headrace-testbed.new-{id}"));
        let root = base.join(format!("{PREFIX}{id}"));
        fs::create_dir(&young).map_err(Error::path("create", &young))?;
        // PostgreSQL runs under another account and has to reach its directory.
        fs::set_permissions(&young, Permissions::from_mode(0o755)).map_err(Error::path("chmod", &young))?;
        let owner = File::create(young.join(OWNER)).map_err(Error::path("create owner file in", &young))?;
        owner.lock().map_err(Error::path("lock owner file in", &young))?;
        fs::rename(&young, &root).map_err(Error::path("rename", &young))?;
        Ok(Self { root, _owner: owner, parts: AtomicU32::new(0) })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A fresh subdirectory for one instance of a part.
    pub(crate) fn part(&self, name: &str) -> Result<PathBuf> {
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        let dir = self.root.join(format!("{name}-{number}"));
        fs::create_dir(&dir).map_err(Error::path("create", &dir))?;
        Ok(dir)
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        if std::env::var_os(KEEP).is_none() {
            // Nothing to report to: what is left, the next testbed sweeps.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// Removes the directories of dead owners; best effort, for others may sweep at the same time.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(owner) = File::open(entry.path().join(OWNER)) else {
            continue;
        };
        if owner.try_lock().is_ok() && std::env::var_os(KEEP).is_none() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_what_a_dead_owner_left_and_spares_the_living() {
        let living = Dirs::new().expect("dirs");
        let dead = std::env::temp_dir().join(format!("{PREFIX}0-{:08x}", random() as u32));
        fs::create_dir(&dead).expect("create");
        File::create(dead.join(OWNER)).expect("owner");
        sweep(&std::env::temp_dir());
        assert!(!dead.exists(), "nobody holds the lock of {}", dead.display());
        assert!(living.root().exists());
    }
}
