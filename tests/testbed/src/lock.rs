//! `artifacts.lock`: the sha256 of each fetched file, so that nobody runs a jar that was swapped on its way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Lines of `sha256  file-name`, as `sha256sum` prints them.
const LOCK: &str = include_str!("../artifacts.lock");

/// The locked sums by file name.
pub(crate) fn locked() -> BTreeMap<&'static str, &'static str> {
    LOCK.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect()
}

/// Checks each file directly in `dir` against the lock.
///
/// # Errors
/// [`Error::Checksum`] for the first file that differs or that the lock does not name.
pub(crate) fn verify(dir: &Path) -> Result<()> {
    let locked = locked();
    let mut files = 0;
    for entry in std::fs::read_dir(dir).map_err(Error::path("list", dir))?.flatten() {
        if !entry.path().is_file() {
            continue;
        }
        let file = entry.file_name().to_string_lossy().into_owned();
        let got = sha256(&entry.path())?;
        let want = locked.get(file.as_str()).copied().unwrap_or("(no line for this file)");
        if got != want {
            return Err(Error::Checksum { file, got, want: want.to_owned() });
        }
        files += 1;
    }
    if files == 0 {
        return Err(Error::Setting(format!("{} is empty", dir.display())));
    }
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::path("open", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(Error::path("read", path))?;
        if read == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_file_that_differs_from_the_lock_or_is_unknown() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (name, want) = locked().pop_first().expect("a locked file");
        std::fs::write(dir.path().join(name), "swapped").expect("write");
        let error = verify(dir.path()).expect_err("the content differs");
        assert!(error.to_string().contains(want), "{error}");
        std::fs::rename(dir.path().join(name), dir.path().join("stranger.jar")).expect("rename");
        let error = verify(dir.path()).expect_err("nobody locked this name");
        assert!(error.to_string().contains("no line for this file"), "{error}");
    }
}
