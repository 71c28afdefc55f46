//! A disk that can be filled: a small tmpfs for one instance's state.
//!
//! Mounting takes privileges. Where they are missing there is no such disk, and whoever wants one says so.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Result;

/// All of it; a run's state is a fraction of that.
const SIZE_BYTES: usize = 96 << 20;
/// Name of the file that fills it.
const BALLAST: &str = "ballast";

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// Mounts one.
    ///
    /// # Errors
    /// The reason why it is not permitted here.
    pub fn mount() -> Result<Disk> {
        let directory = TempDir::with_prefix("headrace-chaos-disk-")?;
        let size = format!("size={SIZE_BYTES},mode=700");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "headrace-chaos"])
            .arg(directory.path())
            .output()?;
        if output.status.success() {
            return Ok(Disk { directory });
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join(BALLAST)
    }

    /// Fills it to the last byte; once more, what has been given back since.
    ///
    /// # Errors
    /// It is no disk of ours any more.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.ballast())?;
        for block in [vec![0; 1 << 20], vec![0; 1]] {
            loop {
                match file.write(&block) {
                    // A part of it fitted: so will a part of the next, or nothing.
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Frees what [`fill`](Self::fill) took.
    ///
    /// # Errors
    /// It was not filled.
    pub fn free(&self) -> Result<()> {
        // Emptied before it goes: a child that is just being started may have it open for a moment, and so keep its room.
        File::options().write(true).open(self.ballast())?.set_len(0)?;
        Ok(fs::remove_file(self.ballast())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was killed a moment ago may have files open. The directory goes with `TempDir`.
        if let Err(error) = Command::new("umount").arg("--lazy").arg(self.path()).status() {
            eprintln!("{} stays mounted: {error}", self.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_until_it_is_freed() {
        let disk = match Disk::mount() {
            Ok(disk) => disk,
            Err(reason) => return println!("NOT TESTED: a tmpfs can't be mounted here: {reason}"),
        };
        let write = || fs::write(disk.path().join("state"), vec![1; 4096]);
        write().unwrap();
        disk.fill().unwrap();
        fs::remove_file(disk.path().join("state")).unwrap();
        disk.fill().unwrap();
        let error = fs::write(disk.path().join("more"), vec![1; 4096]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        disk.free().unwrap();
        write().unwrap();
        let path = disk.path().to_owned();
        drop(disk);
        assert!(!path.exists());
    }
}
