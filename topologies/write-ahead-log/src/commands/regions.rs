//! `regions`: whether they agree.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use headrace::config::{Secret, Span};
use headrace::error::FatalError;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::Console;
use crate::audit::{Audit, Seen};
use crate::version::Kept;

/// How long one page may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Entries of a page: as many as there may be.
const PAGE: usize = 1_000;
/// Divergent keys that are shown.
const SHOWN: usize = 20;

/// See [`Command::Regions`](super::Command::Regions).
#[derive(Debug, Subcommand)]
pub enum RegionsCommand {
    /// Compare the last version of each key of a namespace in all regions. Exit code 0 if they agree.
    Audit(AuditCommand),
}

/// See [`RegionsCommand::Audit`].
#[derive(Debug, Args)]
pub struct AuditCommand {
    /// The namespace.
    name: String,
    /// The HTTP address of any instance of a region, such as http://eu:8080; twice or more.
    #[arg(long = "at", required = true, num_args = 1)]
    at: Vec<String>,
    /// A variable of the environment with the regions' http.state-token.
    #[arg(long)]
    token_env: Option<String>,
    /// Look again until they agree, for so long at most.
    #[arg(long, default_value = "0s")]
    wait: Span,
}

impl RegionsCommand {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode, FatalError> {
        match self {
            RegionsCommand::Audit(command) => console.block_on(command.run()),
        }
    }
}

impl AuditCommand {
    async fn run(self) -> Result<ExitCode, FatalError> {
        if self.at.len() < 2 {
            return Err(FatalError::Config("--at: one region agrees with itself; name two or more".to_owned()));
        }
        let token = self.token_env.as_ref().map(|name| {
            let value = std::env::var(name).map(Secret::new);
            value.map_err(|_| FatalError::Config(format!("--token-env: the environment has no {name}")))
        });
        let token = token.transpose()?;
        let client = Client::builder().timeout(PATIENCE).build();
        let client = client.map_err(|error| FatalError::Other { context: "HTTP".to_owned(), source: error.into() })?;
        let started = Instant::now();
        loop {
            let mut seen = Seen::new();
            for address in &self.at {
                seen.push(versions(&client, address, &self.name, token.as_ref()).await?);
            }
            let now = jiff::Timestamp::now().as_millisecond();
            let audit = Audit::of(&seen, now);
            if audit.divergent.is_empty() || started.elapsed() >= self.wait.duration() {
                self.show(&audit, now, started.elapsed());
                return Ok(if audit.divergent.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn show(&self, audit: &Audit, now: i64, after: Duration) {
        for (key, kept) in audit.divergent.iter().take(SHOWN) {
            let shown = self.at.iter().zip(kept).map(|(address, kept)| match kept {
                Some(kept) => format!("{address} has {}", kept.version),
                None => format!("{address} has none"),
            });
            println!("{key}: {}", shown.collect::<Vec<_>>().join(", "));
        }
        println!("{} waited_ms={}", audit.line(now), after.as_millis());
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    entries: Vec<Row>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Row {
    key: String,
    value: String,
}

/// All versions of a namespace in a region, by target and key.
async fn versions(
    client: &Client,
    address: &str,
    namespace: &str,
    token: Option<&Secret>,
) -> Result<BTreeMap<String, Kept>, FatalError> {
    let failed = |reason: String| FatalError::Environment(format!("{address}: {reason}"));
    let prefix = format!("{namespace}/");
    let (mut versions, mut next) = (BTreeMap::new(), None::<String>);
    loop {
        let mut url = Url::parse(&format!("{}/state/versions", address.trim_end_matches('/')))
            .map_err(|_| FatalError::Config(format!("--at: {address} is no URL; write it like http://eu:8080")))?;
        url.query_pairs_mut().append_pair("prefix", &prefix).append_pair("limit", &PAGE.to_string());
        if let Some(next) = &next {
            url.query_pairs_mut().append_pair("next", next);
        }
        let mut request = client.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token.reveal());
        }
        let answer = request.send().await.map_err(|error| failed(error.without_url().to_string()))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let body = answer.text().await.unwrap_or_default();
            return Err(failed(format!("answered {status}: {}", body.chars().take(300).collect::<String>())));
        }
        let page: Page = answer.json().await.map_err(|error| failed(error.without_url().to_string()))?;
        let rows = page.entries.into_iter();
        versions.extend(
            rows.filter_map(|Row { key, value }| Some((key.strip_prefix(&prefix)?.to_owned(), Kept::decode(&value)?))),
        );
        next = page.next;
        if next.is_none() {
            return Ok(versions);
        }
    }
}
