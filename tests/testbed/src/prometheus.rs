//! A Prometheus server that scrapes the given targets each second.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cache::Cache;
use crate::dirs::Dirs;
use crate::error::{Error, Result};
use crate::ports::free_port;
use crate::process::{Launch, write};
use crate::server::{Plan, Server};
use crate::{http, packages};

/// What to scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrapeTarget {
    /// The value of the label `job`.
    pub job: String,
    /// `host:port`; the path is `/metrics`.
    pub address: String,
}

impl ScrapeTarget {
    /// A target at `host:port`.
    pub fn new(job: &str, address: &str) -> Self {
        Self { job: job.to_owned(), address: address.to_owned() }
    }
}

/// A running Prometheus server.
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
    url: String,
}

impl std::ops::Deref for Prometheus {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Prometheus {
    /// Starts one that scrapes `targets` and evaluates the rules in `rule_files`.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not installed, [`Error::Start`] with the end of its log.
    pub fn start(_cache: &Cache, dirs: &Dirs, targets: &[ScrapeTarget], rule_files: &[PathBuf]) -> Result<Self> {
        let (server, port) = Server::launch("prometheus", || plan(dirs, targets, rule_files))?;
        Ok(Self { server, url: format!("http://127.0.0.1:{port}") })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Evaluates an expression now and returns the field `data.result`.
    ///
    /// # Errors
    /// [`Error::Http`] with Prometheus' message if the expression is wrong.
    pub fn query(&self, expression: &str) -> Result<Value> {
        let url = format!("{}/api/v1/query?query={}", self.url, percent_encode(expression));
        Ok(http::json("GET", &url, None)?["data"]["result"].take())
    }
}

fn plan(dirs: &Dirs, targets: &[ScrapeTarget], rule_files: &[PathBuf]) -> Result<(Plan, u16)> {
    let dir = dirs.part("prometheus")?;
    let port = free_port()?;
    let config = dir.join("prometheus.yml");
    write(&config, &render(targets, rule_files)?)?;
    let launch = Launch::new(packages::find("prometheus")?, &dir)
        .args([format!("--config.file={}", config.display())])
        .args([format!("--web.listen-address=127.0.0.1:{port}")])
        .args([storage(&dir)]);
    let ready = format!("http://127.0.0.1:{port}/-/ready");
    let probe = Box::new(move || http::is_ready(&ready));
    Ok((Plan { launch, probe, log: dir.join("prometheus.log"), stop_signal: Signal::SIGTERM }, port))
}

fn storage(dir: &Path) -> String {
    format!("--storage.tsdb.path={}", dir.join("data").display())
}

/// The configuration as JSON, which is YAML too and needs no care with quotes.
fn render(targets: &[ScrapeTarget], rule_files: &[PathBuf]) -> Result<String> {
    let jobs: Vec<Value> = targets
        .iter()
        .enumerate()
        .map(|(number, target)| {
            serde_json::json!({
                // Job names must differ; the label says what the caller asked for.
                "job_name": format!("{}-{number}", target.job),
                "static_configs": [{"targets": [target.address], "labels": {"job": target.job}}],
            })
        })
        .collect();
    let config = serde_json::json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": rule_files,
        "scrape_configs": jobs,
    });
    serde_json::to_string_pretty(&config).map_err(|e| Error::Setting(e.to_string()))
}

/// Everything but letters and digits as `%XX`.
fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
