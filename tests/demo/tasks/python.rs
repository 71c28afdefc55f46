//! The Python scripts of `topologies/task-queue/examples`, as child processes.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use testbed::spawn;

use crate::Result;

/// A script that runs; killed at the end.
#[derive(Debug)]
pub(crate) struct Python {
    script: &'static str,
    child: Child,
    log: PathBuf,
}

impl Python {
    /// `dir` takes its log.
    pub(crate) fn start(
        script: &'static str,
        arguments: &[String],
        variables: &[(&str, &str)],
        dir: &Path,
    ) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies/task-queue/examples").join(script);
        let log = dir.join(format!("{script}.log"));
        let out = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new("python3");
        command.arg(path).args(arguments).envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = spawn(command).map_err(|error| format!("{error}; the demo's handlers are in Python 3"))?;
        Ok(Python { script, child, log })
    }

    /// An error if it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                Err(format!("{} has ended by itself: {status}\n{log}", self.script).into())
            }
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It is on its way out already, or there is nobody to tell.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
