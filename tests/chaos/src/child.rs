//! What an instance's process does: the program that started it starts itself again, told by its environment what to be.

use std::path::PathBuf;
use std::process::exit;
use std::time::Duration;

use headrace::telemetry::{LogLines, init_log};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::application::tokio;
use crate::ground::Ground;
use crate::{naive, queue};

/// Names of the variables begin with it.
const PREFIX: &str = "HEADRACE_CHAOS_";

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Both stages, as the runtime runs them.
    ExactlyOnce,
    /// The control arm of the kills.
    Naive,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::ExactlyOnce => "exactly-once",
            Kind::Naive => "naive",
        }
    }
}

/// What a child is told.
#[derive(Debug, Clone)]
pub struct Role {
    /// What it is.
    pub kind: Kind,
    /// Where it works.
    pub ground: Ground,
    /// Its name in the group.
    pub instance: String,
    /// Where its state lives.
    pub directory: PathBuf,
    /// What a record takes at least.
    pub pace: Duration,
}

impl Role {
    /// As variables of the environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        let all = [
            ("KIND", self.kind.name().to_owned()),
            ("SERVERS", self.ground.servers.clone()),
            ("ID", self.ground.id.clone()),
            ("PARTITIONS", self.ground.partitions.to_string()),
            ("STANDBYS", self.ground.standbys.to_string()),
            ("INSTANCE", self.instance.clone()),
            ("DIRECTORY", self.directory.display().to_string()),
            ("PACE_US", self.pace.as_micros().to_string()),
        ];
        all.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value)).collect()
    }

    fn from_environment() -> Result<Option<Role>> {
        let Ok(kind) = std::env::var(format!("{PREFIX}KIND")) else { return Ok(None) };
        let variable =
            |name: &str| std::env::var(format!("{PREFIX}{name}")).map_err(|error| format!("{name}: {error}"));
        let kind = [Kind::ExactlyOnce, Kind::Naive].into_iter().find(|known| known.name() == kind);
        let ground = Ground {
            servers: variable("SERVERS")?,
            id: variable("ID")?,
            partitions: variable("PARTITIONS")?.parse()?,
            standbys: variable("STANDBYS")?.parse()?,
        };
        Ok(Some(Role {
            kind: kind.ok_or("no such kind of child")?,
            ground,
            instance: variable("INSTANCE")?,
            directory: variable("DIRECTORY")?.into(),
            pace: Duration::from_micros(variable("PACE_US")?.parse()?),
        }))
    }
}

/// Becomes what the environment asks for, and ends the process with it; without it, does nothing.
pub fn become_one() {
    if let Some(ended) = queue::naive::from_environment() {
        exit(end(ended));
    }
    match Role::from_environment() {
        Ok(None) => {}
        Ok(Some(role)) => exit(end(run(&role))),
        Err(error) => exit(end(Err(error))),
    }
}

fn end(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("child: {error}");
            1
        }
    }
}

fn run(role: &Role) -> Result<()> {
    if role.kind == Kind::Naive {
        return naive::plain::run(&role.ground, role.pace);
    }
    init_log(LogLines::Text, &std::env::var("HEADRACE_E2E_LOG").unwrap_or_else(|_| "info".to_owned()))?;
    let shutdown = CancellationToken::new();
    tokio().block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let told = shutdown.clone();
        tokio().spawn(async move {
            terminate.recv().await;
            told.cancel();
        });
        role.ground.run(&role.instance, &role.directory, role.pace, shutdown).await
    })
}
