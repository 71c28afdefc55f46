//! A Redis server with an append-only file, so that a restart keeps the data.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cache::Cache;
use crate::dirs::Dirs;
use crate::error::{Error, Result};
use crate::packages;
use crate::ports::free_port;
use crate::process::Launch;
use crate::server::{Plan, Server};

/// Time for connecting and for each answer to the probe.
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// A running Redis server.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    url: String,
    port: u16,
    data: PathBuf,
}

impl std::ops::Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Redis {
    /// Starts an empty one.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not installed, [`Error::Start`] with the end of its log.
    pub fn start(_cache: &Cache, dirs: &Dirs) -> Result<Self> {
        let (server, (port, data)) = Server::launch("redis", || plan(dirs))?;
        Ok(Self { server, url: format!("redis://127.0.0.1:{port}"), port, data })
    }

    /// `redis://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it, removes its data and starts it again at the same port: a replica that was promoted too early, or a
    /// cache that was lost.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn restart_empty(&self) -> Result<()> {
        self.kill();
        std::fs::remove_dir_all(&self.data).map_err(Error::path("remove", &self.data))?;
        std::fs::create_dir(&self.data).map_err(Error::path("create", &self.data))?;
        self.server.start()
    }

    /// Sends one command and returns the answer as RESP text without its line end; for tests without a client.
    ///
    /// # Errors
    /// [`Error::Io`] if the server does not answer.
    pub fn command(&self, args: &[&str]) -> Result<String> {
        ask(self.port, args).map_err(Error::io(format!("redis {}", args.join(" "))))
    }
}

fn plan(dirs: &Dirs) -> Result<(Plan, (u16, PathBuf))> {
    plan_at(dirs, free_port()?)
}

/// A plan with this port; apart so that a test can hand out one that is taken.
pub(crate) fn plan_at(dirs: &Dirs, port: u16) -> Result<(Plan, (u16, PathBuf))> {
    let dir = dirs.part("redis")?;
    let data = dir.join("data");
    std::fs::create_dir(&data).map_err(Error::path("create", &data))?;
    // Written at each command, synced each second: kill -9 loses nothing, only a power cut would.
    let launch = Launch::new(packages::find("redis-server")?, &dir)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--appendonly", "yes", "--save", "", "--dir"])
        .args([&data]);
    let probe = Box::new(move || match ask(port, &["PING"]) {
        Ok(answer) if answer == "+PONG" => Ok(()),
        Ok(other) => Err(format!("answered PING with {other}")),
        Err(error) => Err(error.to_string()),
    });
    Ok((Plan { launch, probe, log: dir.join("redis.log"), stop_signal: Signal::SIGTERM }, (port, data)))
}

/// One command, one answer: a line, or the content of a bulk string.
fn ask(port: u16, args: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PROBE_DEADLINE)?;
    stream.set_read_timeout(Some(PROBE_DEADLINE))?;
    let mut request = format!("*{}\r\n", args.len());
    for arg in args {
        request += &format!("${}\r\n{arg}\r\n", arg.len());
    }
    stream.write_all(request.as_bytes())?;
    let mut lines = BufReader::new(stream).lines();
    let mut line = || lines.next().unwrap_or_else(|| Err(std::io::ErrorKind::UnexpectedEof.into()));
    let first = line()?;
    if first.starts_with('$') && first != "$-1" { line() } else { Ok(first) }
}
