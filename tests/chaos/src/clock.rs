//! A wall clock for one process that can be stepped while it runs, without a hook in what is tested.
//!
//! Linux has no wall clock per process (time namespaces shift only the monotonic clocks), and stepping the machine's own would
//! hit everybody on it. So a small library of C is preloaded into the process, which adds what a file says:
//!
//! ```text
//! Clock::step ─▶ file ◀─ mapped ─ clock.so in the instance ─▶ clock_gettime(CLOCK_REALTIME) + shift
//! ```

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

const SOURCE: &str = include_str!("clock.c");

/// The library, built for this machine.
#[derive(Debug, Clone)]
pub struct ClockLibrary {
    library: PathBuf,
    directory: PathBuf,
}

impl ClockLibrary {
    /// Builds it in a directory, which has to stay.
    ///
    /// # Errors
    /// There is no C compiler, which Rust's linker needs too.
    pub fn build(directory: &Path) -> Result<ClockLibrary> {
        let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
        fs::write(&source, SOURCE)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let output = compiler.output().map_err(|error| format!("cc: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(ClockLibrary { library, directory: directory.to_owned() })
    }

    /// A clock for the process of this name, which says what all clocks say.
    ///
    /// # Errors
    /// The directory is gone.
    pub fn clock(&self, name: &str) -> Result<Clock> {
        let clock = Clock { library: self.library.clone(), file: self.directory.join(format!("{name}.clock")) };
        fs::write(&clock.file, 0i64.to_ne_bytes())?;
        Ok(clock)
    }
}

/// One process's wall clock.
#[derive(Debug, Clone)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// What the process needs in its environment.
    pub fn variables(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.library.clone()), ("HEADRACE_CHAOS_CLOCK", self.file.clone())]
    }

    /// Sets it this many seconds ahead of all others, or behind, at once; in place, for the process has mapped the file.
    ///
    /// # Errors
    /// The file is gone.
    pub fn step(&self, seconds: i64) -> Result<()> {
        let file = fs::OpenOptions::new().write(true).open(&self.file)?;
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn year(clock: &Clock) -> i32 {
        let output = Command::new("date").arg("+%Y").envs(clock.variables()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_process_sees_its_own_wall_clock() {
        let directory = tempfile::tempdir().unwrap();
        let clock = ClockLibrary::build(directory.path()).unwrap().clock("one").unwrap();
        let now = year(&clock);
        assert!(now > 2000);
        clock.step(3 * 366 * 86_400).unwrap();
        assert_eq!(year(&clock), now + 3);
        clock.step(-3 * 366 * 86_400).unwrap();
        assert!(year(&clock) < now - 2);
    }
    #[test]
    fn waits_are_as_long_as_before_a_step_in_every_way_that_our_parts_wait() {
        let directory = tempfile::tempdir().unwrap();
        let clock = ClockLibrary::build(directory.path()).unwrap().clock("one").unwrap();
        let (source, program) = (directory.path().join("waits.c"), directory.path().join("waits"));
        fs::write(&source, include_str!("clock_waits.c")).unwrap();
        let built = Command::new("cc").args(["-D_GNU_SOURCE", "-pthread", "-o"]).arg(&program).arg(&source).status();
        assert!(built.unwrap().success());
        for seconds in [0, 86_400, -86_400] {
            clock.step(seconds).unwrap();
            // One that waited for a day too long is ended.
            let output = Command::new("timeout").arg("30").arg(&program).envs(clock.variables()).output().unwrap();
            let waits = String::from_utf8(output.stdout).unwrap();
            let waits: Vec<f64> = waits.lines().map(|line| line.parse().unwrap()).collect();
            assert_eq!(waits.len(), 3, "{seconds}: {waits:?}");
            assert!(waits.iter().all(|wait| *wait > 0.9), "{seconds}: {waits:?}");
        }
    }
}
