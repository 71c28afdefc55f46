//! The form that people write, in TOML or JSON: kebab-case, times and sizes with their units, all but the targets by default.
//!
//! ```toml
//! delay = "30s"
//! jitter = "10s"
//!
//! [[targets]]
//! name = "cache"
//! kind = "redis"
//! address = "redis://cache:6379"
//! settings = { prefix = "shop:", ttl = "7d" }
//! ```

use std::collections::BTreeMap;

use headrace::config::{ByteSize, Span};
use serde::{Deserialize, Serialize, Serializer};

use super::admission::span;
use super::{Address, Breaker, Namespace, OnExhausted, Retry, TargetKind, TargetSpec};

/// A namespace as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Written {
    delay: Text<Span>,
    jitter: Text<Span>,
    on_exhausted: Exhausted,
    dedup_window: Text<Span>,
    drift_limit: Text<Span>,
    version_window: Text<Span>,
    max_bytes: Text<ByteSize>,
    paused: bool,
    retry: WrittenRetry,
    breaker: WrittenBreaker,
    targets: Vec<WrittenTarget>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct WrittenRetry {
    max_attempts: i32,
    backoff: Text<Span>,
    longest_backoff: Text<Span>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct WrittenBreaker {
    failures: i32,
    open: Text<Span>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WrittenTarget {
    name: String,
    kind: Kind,
    address: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Redis,
    Postgres,
    Http,
    Region,
    Topic,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Exhausted {
    Skip,
    Halt,
}

/// A value with its unit, which is written as it is read.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Written {
    /// From TOML.
    ///
    /// # Errors
    /// The line, what is wrong with it, and what can be there.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// From JSON.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml).
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// As TOML, to be changed and set again. Addresses are whole.
    ///
    /// # Errors
    /// A value that TOML does not have.
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|error| error.to_string())
    }

    /// The namespace, which is still to be validated.
    pub fn namespace(self, version: i64) -> Namespace {
        let ms = |span: Text<Span>| i64::try_from(span.0.millis()).unwrap_or(i64::MAX);
        Namespace {
            version,
            targets: self.targets.into_iter().map(WrittenTarget::spec).collect(),
            delay_ms: ms(self.delay),
            jitter_ms: ms(self.jitter),
            retry: Retry {
                max_attempts: self.retry.max_attempts,
                backoff_ms: ms(self.retry.backoff),
                longest_backoff_ms: ms(self.retry.longest_backoff),
            },
            on_exhausted: match self.on_exhausted {
                Exhausted::Skip => OnExhausted::Skip,
                Exhausted::Halt => OnExhausted::Halt,
            },
            breaker: Breaker { failures: self.breaker.failures, open_ms: ms(self.breaker.open) },
            dedup_window_ms: ms(self.dedup_window),
            drift_limit_ms: ms(self.drift_limit),
            version_window_ms: ms(self.version_window),
            max_bytes: i64::try_from(self.max_bytes.0.bytes()).unwrap_or(i64::MAX),
            paused: self.paused,
        }
    }
}

impl From<&Namespace> for Written {
    fn from(own: &Namespace) -> Self {
        let ms = |ms: i64| Text(span(ms));
        Written {
            delay: ms(own.delay_ms),
            jitter: ms(own.jitter_ms),
            on_exhausted: match own.on_exhausted {
                OnExhausted::Skip => Exhausted::Skip,
                OnExhausted::Halt => Exhausted::Halt,
            },
            dedup_window: ms(own.dedup_window_ms),
            drift_limit: ms(own.drift_limit_ms),
            version_window: ms(own.version_window_ms),
            max_bytes: Text(ByteSize::new(own.max_bytes.unsigned_abs())),
            paused: own.paused,
            retry: WrittenRetry {
                max_attempts: own.retry.max_attempts,
                backoff: ms(own.retry.backoff_ms),
                longest_backoff: ms(own.retry.longest_backoff_ms),
            },
            breaker: WrittenBreaker { failures: own.breaker.failures, open: ms(own.breaker.open_ms) },
            targets: own.targets.iter().map(WrittenTarget::of).collect(),
        }
    }
}

impl Default for Written {
    fn default() -> Self {
        Written::from(&Namespace::default())
    }
}

impl Default for WrittenRetry {
    fn default() -> Self {
        Written::default().retry
    }
}

impl Default for WrittenBreaker {
    fn default() -> Self {
        Written::default().breaker
    }
}

impl WrittenTarget {
    fn spec(self) -> TargetSpec {
        let kind = match self.kind {
            Kind::Redis => TargetKind::Redis,
            Kind::Postgres => TargetKind::Postgres,
            Kind::Http => TargetKind::Http,
            Kind::Region => TargetKind::Region,
            Kind::Topic => TargetKind::Topic,
        };
        TargetSpec { name: self.name, kind, address: Address::new(self.address), settings: self.settings }
    }

    fn of(spec: &TargetSpec) -> Self {
        let kind = match spec.kind {
            TargetKind::Redis => Kind::Redis,
            TargetKind::Postgres => Kind::Postgres,
            TargetKind::Http => Kind::Http,
            TargetKind::Region => Kind::Region,
            TargetKind::Topic => Kind::Topic,
        };
        let address = spec.address.reveal().to_owned();
        WrittenTarget { name: spec.name.clone(), kind, address, settings: spec.settings.clone() }
    }
}
