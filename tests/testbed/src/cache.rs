//! The cache of fetched parts: `${XDG_CACHE_HOME:-$HOME/.cache}/headrace/parts`.
//!
//! ```text
//! parts/.kafka-4.3.1.lock          held while somebody looks or fetches
//! parts/.fetch-kafka-4.3.1/        Maven's work; renamed to the next line once all sums are right
//! parts/kafka-4.3.1/lib/*.jar
//! parts/kafka-4.3.1/stamp          sizes and times of all files, so that a start need not hash 50 MB
//! ```
//!
//! The rename makes it safe to interrupt, the lock makes it safe to share between test processes.

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::artifacts::Artifacts;
use crate::error::{Error, Result};
use crate::process::{Launch, write};
use crate::{lock, maven, packages};

/// Time to unpack the registry.
const UNPACK_DEADLINE: Duration = Duration::from_secs(120);

/// Where fetched parts are kept between runs.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the user's cache, and makes it if there is none.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be made, [`Error::Setting`] without `HOME`.
    pub fn open() -> Result<Self> {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
        let base = base.ok_or_else(|| Error::Setting("neither XDG_CACHE_HOME nor HOME is set".to_owned()))?;
        Self::at(base.join("headrace").join("parts"))
    }

    /// A cache in another directory.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be made.
    pub fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).map_err(Error::path("create", &root))?;
        Ok(Self { root })
    }

    /// Whether `artifacts` are there and untouched.
    pub fn has(&self, artifacts: Artifacts) -> bool {
        is_stamped(&self.root.join(artifacts.name()), artifacts)
    }

    /// The directory with the files of `artifacts`, fetched and verified if they are not there.
    ///
    /// # Errors
    /// [`Error::Missing`] without Maven, [`Error::Tool`] if it fails, [`Error::Checksum`] if a file is not as locked.
    pub fn ensure(&self, artifacts: Artifacts) -> Result<PathBuf> {
        let name = artifacts.name();
        let dir = self.root.join(&name);
        let lib = dir.join("lib");
        let guard = self.root.join(format!(".{name}.lock"));
        let guard = File::create(&guard).map_err(Error::path("create", &guard))?;
        guard.lock().map_err(Error::io(format!("lock the cache of {name}")))?;
        if is_stamped(&dir, artifacts) {
            return Ok(lib);
        }
        let fresh = self.root.join(format!(".fetch-{name}"));
        remove(&fresh)?;
        let fresh_lib = fresh.join("lib");
        fs::create_dir_all(&fresh_lib).map_err(Error::path("create", &fresh_lib))?;
        maven::fetch(artifacts, &fresh, &fresh_lib)?;
        lock::verify(&fresh_lib)?;
        if artifacts == Artifacts::Registry {
            unpack(&fresh_lib)?;
        }
        write(&fresh.join("stamp"), &stamp(&fresh_lib, artifacts)?)?;
        remove(&dir)?;
        fs::rename(&fresh, &dir).map_err(Error::path("rename", &fresh))?;
        Ok(lib)
    }
}

/// Unpacks the one tarball in `lib` beside itself.
fn unpack(lib: &Path) -> Result<()> {
    let tar = packages::find("tar")?;
    for entry in fs::read_dir(lib).map_err(Error::path("list", lib))?.flatten() {
        Launch::new(&tar, lib).args(["-xzf".into(), entry.path()]).run(UNPACK_DEADLINE)?;
    }
    Ok(())
}

/// Whether the files are those that were verified when the stamp was written.
fn is_stamped(dir: &Path, artifacts: Artifacts) -> bool {
    let written = fs::read_to_string(dir.join("stamp")).ok();
    written.is_some() && written == stamp(&dir.join("lib"), artifacts).ok()
}

/// What was asked for, and name, size and modification time of each file with the lock's line for it: a change of
/// either calls for a new fetch.
fn stamp(lib: &Path, artifacts: Artifacts) -> Result<String> {
    let locked = lock::locked();
    let mut files = Vec::new();
    list(lib, &mut files)?;
    files.sort();
    let mut text = String::new();
    for wanted in artifacts.dependencies().iter().chain(&artifacts.alone()) {
        text += &format!("{}\n", wanted.xml());
    }
    for path in files {
        let meta = fs::metadata(&path).map_err(Error::path("look at", &path))?;
        let name = path.strip_prefix(lib).unwrap_or(&path).to_string_lossy().into_owned();
        let sum = locked.get(name.as_str()).copied().unwrap_or("-");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} {} {}.{:09} {sum}", meta.size(), meta.mtime(), meta.mtime_nsec());
    }
    Ok(text)
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::path("list", dir))?.flatten() {
        if entry.path().is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::path("remove", dir)(error)),
        _ => Ok(()),
    }
}
