//! A namespace: where its mutations are written, and how; its schema is the file in `schemas/`.
//!
//! ```text
//!  shop.toml ──written──▶ Namespace ──validate──▶ compacted topic ──▶ every instance, while it runs
//!                             └──explain──▶ what would happen to this mutation, in words and numbers
//! ```
//!
//! It is data, so that it can change without a restart; and because a wrong one would hit whoever writes to it, it is judged as a
//! whole before it is written ([`validate`](Namespace::validate)).

mod admission;
mod explain;
mod problems;
mod written;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use headrace::backoff::{Backoff, Jitter};
use headrace::codec::AvroSchema;
use headrace::error::{RecordError, Stage};
use serde::{Deserialize, Serialize};

pub use problems::Problem;
pub(crate) use problems::field;
pub use written::Written;

/// What is spoken at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TargetKind {
    /// Redis: keys and values under a fence.
    Redis,
    /// PostgreSQL: rows, in one transaction with their fence.
    Postgres,
    /// Requests, which carry token and number.
    Http,
    /// The same namespace in another region's log.
    Region,
    /// Records of a topic of the log's own cluster, in its own transactions.
    Topic,
}

impl TargetKind {
    /// All of them.
    pub const ALL: [TargetKind; 5] =
        [TargetKind::Redis, TargetKind::Postgres, TargetKind::Http, TargetKind::Region, TargetKind::Topic];

    /// Its name, as people have it.
    pub fn name(self) -> &'static str {
        match self {
            TargetKind::Redis => "redis",
            TargetKind::Postgres => "postgres",
            TargetKind::Http => "http",
            TargetKind::Region => "region",
            TargetKind::Topic => "topic",
        }
    }
}

/// Where a target is. It may hold a password, so it is printed without its login and without its query.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// A URL.
    pub fn new(text: impl Into<String>) -> Self {
        Address(text.into())
    }

    /// With its login, for the one who connects.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is a password in it.
    pub fn has_password(&self) -> bool {
        let login = self.login().is_some_and(|(login, _)| login.contains(':'));
        login || self.0.split_once('?').is_some_and(|(_, query)| query.contains("password"))
    }

    /// Login, and what comes after it.
    fn login(&self) -> Option<(&str, &str)> {
        let (_, rest) = self.0.split_once("://")?;
        // The last @: a password may hold one that somebody has forgotten to encode, and a slash as well.
        rest.rsplit_once('@')
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let (login, rest) = self.login().map_or(("", rest), |(_, rest)| ("***@", rest));
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let colon = if scheme.is_empty() { "" } else { "://" };
        write!(f, "{scheme}{colon}{login}{rest}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One place that mutations are written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Target")]
pub struct TargetSpec {
    /// Its name within the namespace; fences go by it.
    pub name: String,
    /// What is spoken there.
    pub kind: TargetKind,
    /// Where it is.
    pub address: Address,
    /// What else its kind wants to know.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

impl TargetSpec {
    /// One whose settings are all by default.
    pub fn new(name: &str, kind: TargetKind, address: impl Into<String>) -> Self {
        TargetSpec { name: name.to_owned(), kind, address: Address::new(address), settings: BTreeMap::new() }
    }
}

/// How often, and when, something is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// The first one included.
    pub max_attempts: i32,
    /// Before the second attempt at most.
    pub backoff_ms: i64,
    /// Before any attempt at most.
    pub longest_backoff_ms: i64,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { max_attempts: 10, backoff_ms: 1_000, longest_backoff_ms: 5 * 60 * 1_000 }
    }
}

impl Retry {
    /// Times between attempts: twice as long each time, spread over the whole of it (rule W9).
    pub fn backoff(&self) -> Backoff {
        let millis = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let (initial, max) = (millis(self.backoff_ms), millis(self.longest_backoff_ms));
        Backoff { initial, max, multiplier: 2.0, jitter: Jitter::Full }
    }

    /// The longest time before each attempt but the first.
    fn longest_waits(&self) -> impl Iterator<Item = Duration> {
        let backoff = self.backoff();
        (0..self.max_attempts.saturating_sub(1).unsigned_abs()).map(move |retry| backoff.delay(retry, 1.0))
    }

    /// From the first attempt until it is given up, at most, where each attempt may take this long and nothing else holds it up.
    pub fn horizon(&self, timeout: Duration) -> Duration {
        let waits = self.longest_waits().fold(Duration::ZERO, Duration::saturating_add);
        timeout.saturating_mul(self.max_attempts.max(0).unsigned_abs()).saturating_add(waits)
    }
}

/// What happens after the last attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum OnExhausted {
    /// It is given up; its ordering key goes on.
    #[default]
    Skip,
    /// It and its ordering key wait until somebody decides.
    Halt,
}

/// When a target is left in peace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// So many calls have failed one after the other.
    pub failures: i32,
    /// Then nothing is sent for so long.
    pub open_ms: i64,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker { failures: 20, open_ms: 10_000 }
    }
}

/// How mutations are applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    /// Rises by one each time it is set.
    pub version: i64,
    /// Where mutations are written.
    pub targets: Vec<TargetSpec>,
    /// After `created_at`, where a mutation does not say otherwise.
    pub delay_ms: i64,
    /// And up to so much later, by chance.
    pub jitter_ms: i64,
    /// After an attempt that failed.
    pub retry: Retry,
    /// After the last attempt.
    pub on_exhausted: OnExhausted,
    /// When a target is left in peace.
    pub breaker: Breaker,
    /// So long a token is remembered.
    pub dedup_window_ms: i64,
    /// So far `created_at` may be from the log's clock.
    pub drift_limit_ms: i64,
    /// So long it is remembered when a key was written last, where several regions write.
    pub version_window_ms: i64,
    /// The largest mutation.
    pub max_bytes: i64,
    /// Whether nothing is applied.
    pub paused: bool,
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace {
            version: 1,
            targets: Vec::new(),
            delay_ms: 0,
            jitter_ms: 0,
            retry: Retry::default(),
            on_exhausted: OnExhausted::default(),
            breaker: Breaker::default(),
            dedup_window_ms: 24 * 60 * 60 * 1_000,
            drift_limit_ms: 60 * 60 * 1_000,
            version_window_ms: 7 * 24 * 60 * 60 * 1_000,
            // A record of Kafka's default limit still has room for the rest.
            max_bytes: 768 << 10,
            paused: false,
        }
    }
}

impl AvroSchema for Namespace {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log.namespaces-value.avsc");
}

impl Namespace {
    /// What is said of one that nobody has made.
    pub fn unknown(name: &str) -> RecordError {
        let reason = format!("namespace {name} is not known; make it with `namespaces set {name}`");
        RecordError::new(Stage::Process, "unknown-namespace", reason)
    }

    /// The names of its targets, for people.
    pub fn target_names(&self) -> String {
        self.targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether other regions are told of what is written here.
    pub fn is_replicated(&self) -> bool {
        self.targets.iter().any(|target| target.kind == TargetKind::Region)
    }

    /// A target by its name.
    pub fn target(&self, name: &str) -> Option<&TargetSpec> {
        self.targets.iter().find(|target| target.name == name)
    }
}

#[cfg(test)]
mod tests;
