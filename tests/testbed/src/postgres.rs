//! PostgreSQL with logical decoding switched on, for Debezium.
//!
//! The server refuses to run as root, so then it gets the account `postgres` (or `nobody`).

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use crate::cache::Cache;
use crate::dirs::Dirs;
use crate::error::{Error, Result};
use crate::packages;
use crate::ports::free_port;
use crate::process::{Launch, RunAs};
use crate::server::{Plan, Server};

/// The superuser of the cluster; there is no password, it listens on 127.0.0.1 only.
pub(crate) const USER: &str = "postgres";
/// The database that always exists.
pub(crate) const DATABASE: &str = "postgres";
/// Time for initdb.
const INIT_DEADLINE: Duration = Duration::from_secs(60);
/// Time for one run of psql or pgbench.
const TOOL_DEADLINE: Duration = Duration::from_secs(120);

/// A running PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    port: u16,
    dir: PathBuf,
}

impl std::ops::Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not installed, [`Error::Start`] with the end of its log.
    pub fn start(_cache: &Cache, dirs: &Dirs) -> Result<Self> {
        let (server, (port, dir)) = Server::launch("postgres", || plan(dirs))?;
        Ok(Self { server, port, dir })
    }

    /// `postgres://postgres@127.0.0.1:<port>/postgres`.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Key-value form, as `tokio_postgres::connect` takes it.
    pub fn connection_string(&self) -> String {
        format!("host=127.0.0.1 port={} user={USER} dbname={DATABASE}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements through psql and returns the rows, without headers, columns parted by `|`.
    ///
    /// # Errors
    /// [`Error::Tool`] with psql's message.
    pub fn sql(&self, statements: &str) -> Result<String> {
        Ok(psql(&self.dir, self.port, statements)?.run(TOOL_DEADLINE)?.trim_end().to_owned())
    }

    /// Runs pgbench against this server, for example with `-i` and then `-c 4 -T 10`.
    ///
    /// # Errors
    /// [`Error::Tool`] with its message.
    pub fn pgbench(&self, args: &[&str]) -> Result<String> {
        let port = self.port.to_string();
        Launch::new(packages::find("pgbench")?, &self.dir)
            .args(["-h", "127.0.0.1", "-p", &port, "-U", USER])
            .args(args)
            .args([DATABASE])
            .run(TOOL_DEADLINE)
    }
}

fn psql(dir: &Path, port: u16, statements: &str) -> Result<Launch> {
    let launch = Launch::new(packages::find("psql")?, dir)
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port.to_string()])
        .args(["-U", USER, "-d", DATABASE, "-c", statements]);
    Ok(launch.env("PGCONNECT_TIMEOUT", "2"))
}

fn plan(dirs: &Dirs) -> Result<(Plan, (u16, PathBuf))> {
    let dir = dirs.part("postgres")?;
    let data = dir.join("data");
    std::fs::create_dir(&data).map_err(Error::path("create", &data))?;
    let run_as = unprivileged()?;
    if let Some(RunAs { uid, gid }) = run_as {
        chown(&data, Some(uid), Some(gid)).map_err(Error::path("chown", &data))?;
    }
    Launch::new(packages::find("initdb")?, &data)
        .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", USER, "--pgdata"])
        .args([&data])
        .run_as(run_as)
        .run(INIT_DEADLINE)?;
    let port = free_port()?;
    // Without fsync: the data outlives kill -9 all the same, and nobody pulls the plug on it.
    let settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical", "fsync=off"];
    let launch = Launch::new(packages::find("postgres")?, &data)
        .args(["-p".into(), port.to_string(), "-D".into(), data.display().to_string()])
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .run_as(run_as);
    let probe_dir = dir.clone();
    let probe = Box::new(move || {
        let select = psql(&probe_dir, port, "SELECT 1").map_err(|e| e.to_string())?;
        select.run(Duration::from_secs(5)).map(drop).map_err(|e| e.to_string())
    });
    // SIGINT is the fast shutdown; SIGTERM would wait until the last client has gone.
    Ok((Plan { launch, probe, log: dir.join("postgres.log"), stop_signal: Signal::SIGINT }, (port, dir)))
}

/// The account for the server: none if we are not root.
fn unprivileged() -> Result<Option<RunAs>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Ok(Some(user)) = User::from_name(name) {
            return Ok(Some(RunAs { uid: user.uid.as_raw(), gid: user.gid.as_raw() }));
        }
    }
    Err(Error::Setting("PostgreSQL cannot run as root, and there is no account `postgres` or `nobody`".to_owned()))
}
