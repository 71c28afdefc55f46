//! One Kafka Connect worker (standalone) with Debezium's PostgreSQL connector, ruled over its REST API.
//!
//! A standalone worker forgets its connectors when it ends (its offsets are in a file and stay). This one is given
//! them again at each start, so that a restart means what it means for a distributed worker.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::artifacts::Artifacts;
use crate::cache::Cache;
use crate::dirs::Dirs;
use crate::error::{Error, Result};
use crate::http;
use crate::java::{Jit, class_path, java, log_level};
use crate::ports::free_port;
use crate::process::write;
use crate::server::{Plan, Server};
use crate::wait;

/// Connect and the connector's buffers.
const HEAP_MB: u32 = 512;
/// How often source offsets are written; what came after the last write is delivered again after a kill.
const OFFSET_FLUSH: Duration = Duration::from_millis(500);
/// Time for the worker to take a connector: it answers 409 while it is busy with another.
const CREATE_DEADLINE: Duration = Duration::from_secs(30);

/// A running Connect worker.
#[derive(Debug)]
pub struct Connect {
    server: Server,
    rest_url: String,
    /// By name, to create them again after a restart.
    connectors: Mutex<BTreeMap<String, Value>>,
}

impl std::ops::Deref for Connect {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Connect {
    /// Starts a worker without connectors for the brokers at `bootstrap_servers`.
    ///
    /// # Errors
    /// [`Error::Start`] with the end of its log.
    pub fn start_worker(cache: &Cache, dirs: &Dirs, bootstrap_servers: &str) -> Result<Self> {
        let lib = cache.ensure(Artifacts::Connect)?;
        let (server, port) = Server::launch("connect", || plan(&lib, dirs, bootstrap_servers))?;
        Ok(Self { server, rest_url: format!("http://127.0.0.1:{port}"), connectors: Mutex::default() })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn rest_url(&self) -> &str {
        &self.rest_url
    }

    /// Adds a connector, or gives it another configuration.
    ///
    /// # Errors
    /// [`Error::Http`] with Connect's message if the configuration is wrong.
    pub fn create_connector(&self, name: &str, config: &Value) -> Result<()> {
        self.put(name, config)?;
        self.connectors().insert(name.to_owned(), config.clone());
        Ok(())
    }

    /// Removes a connector; its replication slot and its offsets stay.
    ///
    /// # Errors
    /// [`Error::Http`] if there is none of that name.
    pub fn delete_connector(&self, name: &str) -> Result<()> {
        self.connectors().remove(name);
        self.call("DELETE", name, "").map(drop)
    }

    /// Restarts a connector and its tasks.
    ///
    /// # Errors
    /// [`Error::Http`] if there is none of that name.
    pub fn restart_connector(&self, name: &str) -> Result<()> {
        self.call("POST", name, "/restart?includeTasks=true").map(drop)
    }

    /// Pauses a connector: it keeps its slot and delivers nothing.
    ///
    /// # Errors
    /// [`Error::Http`] if there is none of that name.
    pub fn pause_connector(&self, name: &str) -> Result<()> {
        self.call("PUT", name, "/pause").map(drop)
    }

    /// Goes on after [`pause_connector`](Self::pause_connector).
    ///
    /// # Errors
    /// [`Error::Http`] if there is none of that name.
    pub fn resume_connector(&self, name: &str) -> Result<()> {
        self.call("PUT", name, "/resume").map(drop)
    }

    /// Connect's answer to GET `/connectors/<name>/status`.
    ///
    /// # Errors
    /// [`Error::Http`] if there is none of that name.
    pub fn status(&self, name: &str) -> Result<Value> {
        self.call("GET", name, "/status")
    }

    /// Waits until the connector and all its tasks (at least one) are RUNNING.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the last status, which has the stack trace of a failed task.
    pub fn wait_running(&self, name: &str, deadline: Duration) -> Result<()> {
        self.wait_state(name, "RUNNING", deadline)
    }

    /// Waits until the connector and all its tasks (at least one) are in `state`, for example `PAUSED`.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the last status.
    pub fn wait_state(&self, name: &str, state: &str, deadline: Duration) -> Result<()> {
        wait::until(&format!("connector {name} to be {state}"), deadline, || {
            let status = self.status(name).map_err(|e| e.to_string())?;
            let tasks = status["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
            let all = std::iter::once(&status["connector"]).chain(tasks).all(|part| part["state"] == state);
            if all && !tasks.is_empty() { Ok(()) } else { Err(status.to_string()) }
        })
    }

    /// Starts the worker again, with the connectors that it had, after a kill or stop.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start(&self) -> Result<()> {
        let connectors = self.connectors();
        self.server.start()?;
        connectors.iter().try_for_each(|(name, config)| self.put(name, config))
    }

    /// [`Server::stop`], then [`start`](Self::start).
    ///
    /// # Errors
    /// As `start`.
    pub fn restart(&self) -> Result<()> {
        self.server.stop();
        self.start()
    }

    fn put(&self, name: &str, config: &Value) -> Result<()> {
        let url = format!("{}/connectors/{name}/config", self.rest_url);
        let answer = wait::until(&format!("connect to take {name}"), CREATE_DEADLINE, || {
            let answer = http::request("PUT", &url, Some(config)).map_err(|e| e.to_string())?;
            if answer.status == 409 { Err(answer.body) } else { Ok(answer) }
        })?;
        match answer.status {
            200..300 => Ok(()),
            status => Err(Error::Http { request: format!("PUT {url}"), reason: format!("{status}: {}", answer.body) }),
        }
    }

    fn call(&self, method: &str, name: &str, rest: &str) -> Result<Value> {
        http::json(method, &format!("{}/connectors/{name}{rest}", self.rest_url), None)
    }

    fn connectors(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.connectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plan(lib: &Path, dirs: &Dirs, bootstrap_servers: &str) -> Result<(Plan, u16)> {
    let dir = dirs.part("connect")?;
    let port = free_port()?;
    let offsets = dir.join("offsets").display().to_string();
    let properties = dir.join("connect.properties");
    let lines = [
        ("bootstrap.servers", bootstrap_servers),
        ("listeners", &format!("http://127.0.0.1:{port}")),
        ("offset.storage.file.filename", &offsets),
        ("offset.flush.interval.ms", &OFFSET_FLUSH.as_millis().to_string()),
        // The defaults for connectors that name no converter of their own.
        ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
        ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
        // Plugins from the manifests in their jars: a scan of the class path takes seconds.
        ("plugin.discovery", "service_load"),
        // Debezium creates its topics itself; the broker does not.
        ("topic.creation.enable", "true"),
    ];
    write(&properties, &lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>())?;
    let launch = java(&dir, HEAP_MB, Jit::Quick)?
        .args(log_level("info"))
        .args(QUIET.map(|logger| format!("-Dorg.slf4j.simpleLogger.log.{logger}=warn")))
        // It warns twelve times about PostgreSQL's own types at each start of a connector.
        .args(["-Dorg.slf4j.simpleLogger.log.io.debezium.connector.postgresql.TypeRegistry=error"])
        .args(class_path(lib))
        .args(["org.apache.kafka.connect.cli.ConnectStandalone"])
        .args([properties]);
    let ready = format!("http://127.0.0.1:{port}/connectors");
    let probe = Box::new(move || http::is_ready(&ready));
    Ok((Plan { launch, probe, log: dir.join("connect.log"), stop_signal: Signal::SIGTERM }, port))
}

/// Loggers that dump their whole configuration at each start of a client.
const QUIET: [&str; 2] = ["org.apache.kafka.common.config", "org.apache.kafka.connect.runtime.rest.RestServer"];
