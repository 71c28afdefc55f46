//! The Apicurio schema registry, which speaks the Confluent API v7 at `/apis/ccompat/v7`.
//!
//! Its default storage is memory, and a restarted registry that has forgotten its schemas (and gives their ids to
//! others) is no test of anything. Here it stores into an H2 file and writes each commit through.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::artifacts::{Artifacts, REGISTRY_VERSION};
use crate::cache::Cache;
use crate::dirs::Dirs;
use crate::error::Result;
use crate::http;
use crate::java::{Jit, java};
use crate::ports::free_port;
use crate::server::{Plan, Server};

const HEAP_MB: u32 = 256;

/// A running schema registry.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    url: String,
    port: u16,
}

impl std::ops::Deref for Registry {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Registry {
    /// Starts one with an empty storage.
    ///
    /// # Errors
    /// [`crate::Error::Start`] with the end of its log.
    pub fn start(cache: &Cache, dirs: &Dirs) -> Result<Self> {
        let lib = cache.ensure(Artifacts::Registry)?;
        let (server, port) = Server::launch("registry", || plan(&lib, dirs))?;
        Ok(Self { server, url: format!("http://127.0.0.1:{port}/apis/ccompat/v7"), port })
    }

    /// The base URL for clients of the Confluent API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The base URL of Apicurio's own API, which its Connect converter wants.
    pub fn native_url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/registry/v3", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn plan(lib: &Path, dirs: &Dirs) -> Result<(Plan, u16)> {
    let dir = dirs.part("registry")?;
    let port = free_port()?;
    // WRITE_DELAY=0: by default H2 writes up to half a second later, and kill -9 would lose schemas.
    let storage = format!("jdbc:h2:file:{};WRITE_DELAY=0", dir.join("registry").display());
    let launch = java(&dir, HEAP_MB, Jit::Quick)?
        .args(["-jar".into(), lib.join(format!("apicurio-registry-app-{REGISTRY_VERSION}-runner.jar"))])
        .env("QUARKUS_HTTP_HOST", "127.0.0.1")
        .env("QUARKUS_HTTP_PORT", port.to_string())
        .env("APICURIO_STORAGE_KIND", "sql")
        .env("APICURIO_STORAGE_SQL_KIND", "h2")
        .env("APICURIO_DATASOURCE_URL", storage);
    let ready = format!("http://127.0.0.1:{port}/health/ready");
    let probe = Box::new(move || http::is_ready(&ready));
    Ok((Plan { launch, probe, log: dir.join("registry.log"), stop_signal: Signal::SIGTERM }, port))
}
