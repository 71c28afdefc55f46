//! The file through which other processes learn the addresses of a running testbed.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::write;

/// A file of `NAME=value` lines; dropping it removes the file, since the addresses are no longer true then.
#[derive(Debug)]
pub struct EnvFile {
    path: PathBuf,
}

impl EnvFile {
    /// Writes the file at once: a reader sees all lines or no file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(path: PathBuf, lines: &[(&str, String)]) -> Result<Self> {
        let text: String = lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let mut young = path.clone().into_os_string();
        young.push(format!(".{}", std::process::id()));
        let young = PathBuf::from(young);
        write(&young, &text)?;
        std::fs::rename(&young, &path).map_err(Error::path("rename", &young))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        // Whoever removed it before us had the same wish.
        let _ = std::fs::remove_file(&self.path);
    }
}
