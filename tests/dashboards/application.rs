//! An application: this binary, started again, with a configuration file of its own.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use chaos::Result;
use chaos::queue::ground::TOKEN;
use testbed::{Testbed, http_get, spawn, wait};

/// Set in a process that is an application: to its name.
pub(crate) const CHILD: &str = "HEADRACE_DASHBOARDS_CHILD";
/// Until it has its topics, and until it is ready: brokers that were started a moment ago have no coordinators yet.
const PATIENCE: Duration = Duration::from_secs(90);

/// One that was started is killed at the end, which it is made for.
pub(crate) struct Application {
    name: &'static str,
    address: String,
    config: PathBuf,
    child: Option<Child>,
}

impl Application {
    /// Writes its configuration, what all have and what is its `own`, and starts nothing.
    pub(crate) fn prepare(bed: &Testbed, name: &'static str, address: &str, own: &str) -> Result<Self> {
        let directory = bed.dirs()?.root().join(name);
        std::fs::create_dir(&directory)?;
        let (token, config) = (directory.join("token"), directory.join("config.toml"));
        std::fs::write(&token, TOKEN)?;
        let text = format!(
            "[kafka]\nbootstrap-servers = \"{}\"\n[schema-registry]\nurl = \"{}\"\n[state]\ndirectory = \"{}\"\n\
             [http]\nlisten = \"{address}\"\ntoken-file = \"{}\"\n[log]\nfilter = \"warn\"\n{own}",
            bed.kafka()?.bootstrap_servers(),
            bed.registry()?.url(),
            directory.join("state").display(),
            token.display(),
        );
        std::fs::write(&config, text)?;
        Ok(Application { name, address: address.to_owned(), config, child: None })
    }

    /// Has it make its topics, starts it, and waits until it is ready.
    pub(crate) fn start(&mut self) -> Result<()> {
        let what = format!("the topics of {}", self.name);
        wait::until(&what, PATIENCE, || self.apply().map_err(|error| error.to_string()))?;
        let (what, url) = (format!("{} to be ready", self.name), format!("http://{}/readyz", self.address));
        wait::until(&what, PATIENCE, || {
            self.keep().map_err(|error| error.to_string())?;
            match http_get(&url) {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{status}: {body}")),
                Err(error) => Err(error.to_string()),
            }
        })?;
        Ok(())
    }

    fn apply(&self) -> Result<()> {
        self.tell(&["apply"])
    }

    /// Runs one of its commands to its end.
    pub(crate) fn tell(&self, command: &[&str]) -> Result<()> {
        let status = spawn(self.command(command)?)?.wait()?;
        if status.success() { Ok(()) } else { Err(format!("{} has ended with {status}", command.join(" ")).into()) }
    }

    /// Starts it if it does not run, as a supervisor would: a broker may tell of a group's settings only a while after it
    /// has taken them, and whoever looks too early refuses to start.
    fn keep(&mut self) -> Result<()> {
        let runs = match &mut self.child {
            Some(child) => child.try_wait()?.is_none(),
            None => false,
        };
        if !runs {
            self.child = Some(spawn(self.command(&["run"])?)?);
        }
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).arg("--config").arg(&self.config).env(CHILD, self.name);
        Ok(command)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself, which the expressions would have shown.
            _ = child.kill();
            _ = child.wait();
        }
    }
}
