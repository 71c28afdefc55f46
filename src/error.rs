//! Errors, named by their consequence: what the runtime does next, not where they came from.
//!
//! | class | the runtime |
//! |---|---|
//! | [`RecordError`] | sets the record aside by policy; the offset advances only with the dead letter, in one transaction |
//! | [`Retriable`] | pauses the input, keeps the membership, tries again with bounded back-off |
//! | [`TaskError`] | aborts, closes the task, reconciles from the changelog, rejoins |
//! | [`FatalError`] | stops every task cleanly and exits |
//!
//! No error text holds a payload (rule O5): only schema paths, types, sizes and positions.

use std::error::Error as StdError;
use std::fmt;

/// A boxed cause.
pub type Source = Box<dyn StdError + Send + Sync + 'static>;

/// Which step of a record's life refused it; a label of the dead-letter metric and header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Bytes to values.
    Deserialize,
    /// In a processor.
    Process,
    /// Values to bytes.
    Serialize,
    /// The broker or the client refused the produced record, for instance as too large.
    Produce,
    /// An external target refused the request for good.
    External,
}

impl Stage {
    /// The name used in metrics and headers.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Deserialize => "deserialize",
            Stage::Process => "process",
            Stage::Serialize => "serialize",
            Stage::Produce => "produce",
            Stage::External => "external",
        }
    }
}

/// This one record can't be processed; the next one can.
#[derive(Debug, thiserror::Error)]
#[error("{stage}: {reason}", stage = stage.name())]
pub struct RecordError {
    /// Where it was refused.
    pub stage: Stage,
    /// A short stable class, such as `unknown-schema-id`; dead letters are grouped by it.
    pub class: &'static str,
    /// Why, without payload.
    pub reason: String,
    /// What caused it.
    #[source]
    pub source: Option<Source>,
}

impl RecordError {
    /// A record error without a cause.
    pub fn new(stage: Stage, class: &'static str, reason: impl Into<String>) -> Self {
        RecordError { stage, class, reason: reason.into(), source: None }
    }
}

/// Something that the runtime depends on; named in logs, `/readyz` and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// The Kafka cluster.
    Kafka,
    /// The schema registry.
    SchemaRegistry,
    /// An external sink, by its node's name.
    External(String),
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dependency::Kafka => f.write_str("kafka"),
            Dependency::SchemaRegistry => f.write_str("schema-registry"),
            Dependency::External(name) => f.write_str(name),
        }
    }
}

/// A dependency is away; the same step is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{dependency} is away: {reason}")]
pub struct Retriable {
    /// Which.
    pub dependency: Dependency,
    /// Why.
    pub reason: String,
}

/// The task can't go on, but another try from committed state can.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Another producer with the same transactional id, or a newer generation, has taken over.
    #[error("fenced: {0}")]
    Fenced(String),
    /// The partition belongs to another member now.
    #[error("migrated: {0}")]
    Migrated(String),
    /// The transaction was aborted; the input is read again from the committed position.
    #[error("transaction aborted: {0}")]
    Aborted(String),
    /// The local store can't be used.
    #[error("state store: {0}")]
    Store(#[source] Source),
    /// The step outlived its deadline.
    #[error("gave up after its deadline: {0}")]
    Deadline(String),
}

/// Nothing can go on; a human has to change something.
#[derive(Debug, thiserror::Error)]
pub enum FatalError {
    /// The configuration is wrong: file, key and reason are in the text. Exit 64.
    #[error("{0}")]
    Config(String),
    /// The topology is wrong. Exit 64.
    #[error("{0}")]
    Topology(String),
    /// Not allowed to do it. Exit 1.
    #[error("not authorised: {0}")]
    Authorisation(String),
    /// The topics, schemas or partitions that the topology needs are missing or don't fit. Exit 1.
    #[error("{0}")]
    Environment(String),
    /// A call of the Kafka client did not return (rule R-12); to be started again. Exit 70.
    #[error(
        "{call} of the Kafka client has not returned for {after:.0?}: the process ends, so that it is started again"
    )]
    Stuck {
        /// Which call.
        call: &'static str,
        /// How long it has been under way.
        after: std::time::Duration,
    },
    /// Anything else that can't be mended by trying again. Exit 1.
    #[error("{context}: {source}")]
    Other {
        /// What was being done.
        context: String,
        /// What went wrong.
        source: Source,
    },
}

impl FatalError {
    /// The process's exit code: 64 for usage and configuration, 70 for a call that never returns, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            FatalError::Config(_) | FatalError::Topology(_) => 64,
            FatalError::Stuck { .. } => 70,
            _ => 1,
        }
    }
}
