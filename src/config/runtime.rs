//! The sections that every binary has.
//!
//! One struct for all topologies, so that an operator who knows one knows them all, and so that the runtime takes its
//! whole configuration as a value. The defaults are in `runtime-defaults.toml`, beside this file.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::kafka::KafkaConfig;
use super::value::{ByteSize, Secret, Span};
use crate::error::FatalError;
use crate::telemetry::{Bearer, Health, LogLines, Metrics, Telemetry, init_log};

/// Every key of the runtime with its default.
pub const RUNTIME_DEFAULTS: &str = include_str!("runtime-defaults.toml");

/// The binary's own pages, threads, librdkafka's and tokio's memory, schemas, metrics: 27 MB when it has joined its group.
pub const PROCESS_BYTES: u64 = 48 << 20;
/// A producer's batches: 8 MiB that are not acknowledged, and 16 buffers of 256 KiB for the next ones.
pub const PRODUCER_BYTES: u64 = 12 << 20;

/// What every binary can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RuntimeConfig {
    /// Consumer group; prefix of transactional ids, changelogs and repartition topics.
    pub application_id: String,
    /// Stable across restarts, so that a restarted instance fences its own zombie at once (rule R-2); the host's name if
    /// not set. Ask [`instance`](Self::instance) for it.
    pub instance_id: Option<String>,
    /// The cluster and how to log in to it.
    pub kafka: KafkaConfig,
    /// The Confluent-compatible schema registry.
    pub schema_registry: SchemaRegistryConfig,
    /// Guarantee, commits and threads.
    pub processing: ProcessingConfig,
    /// Topics that `apply` creates.
    pub internal_topics: InternalTopicsConfig,
    /// Sinks outside Kafka.
    pub external: ExternalConfig,
    /// State stores on disk.
    pub state: StateConfig,
    /// The memory budget and the consumers' part of it (rules ).
    pub memory: MemoryConfig,
    /// Status page, health and metrics.
    pub http: HttpConfig,
    /// When a stream thread counts as stalled.
    pub health: HealthConfig,
    /// How fine the metrics are.
    pub metrics: MetricsConfig,
    /// The log on stderr.
    pub log: LogConfig,
    /// How long stopping may take.
    pub shutdown: ShutdownConfig,
    /// Bounds of dead letters.
    pub dead_letters: DeadLettersConfig,
}

impl RuntimeConfig {
    /// `instance-id`, or the host's name where it isn't set, or `"localhost"` where the host has none.
    pub fn instance(&self) -> String {
        self.instance_id.clone().unwrap_or_else(host_name)
    }

    /// Starts the log as `[log]` says. Once in a process.
    ///
    /// # Errors
    /// If there is a log already.
    pub fn init_log(&self) -> Result<(), FatalError> {
        let lines = match self.log.format {
            LogFormat::Text => LogLines::Text,
            LogFormat::Json => LogLines::Json,
        };
        init_log(lines, &self.log.filter)
    }

    /// Metrics and health as `[metrics]` and `[health]` say.
    ///
    /// # Errors
    /// As [`Metrics::new`].
    pub fn telemetry(&self) -> Result<Telemetry, FatalError> {
        let health = Health::new(self.health.stalled_after.duration());
        Ok(Telemetry::new(Metrics::new(self.metrics.partition_labels)?, health))
    }

    /// Bytes that the parts with a bound take together, whatever the number of tasks: the process itself, caches, restores,
    /// and per stream thread the consumer's queue, what is staged (twice: buffers that double have room to spare), and the
    /// producer's batches. Saturates. What each task adds the runtime counts, when it knows the partitions.
    pub fn planned_memory(&self) -> u64 {
        let staged = self.processing.max_staged.bytes().saturating_mul(2);
        let own = self.memory.consumer_queue.bytes().saturating_add(staged).saturating_add(PRODUCER_BYTES);
        let threads = u64::from(self.processing.stream_threads).saturating_mul(own);
        let state = &self.state;
        let parts = [state.block_cache, state.write_buffers, state.read_cache, self.memory.restore];
        // What the journals keep for the next transaction goes with the read cache.
        let kept = state.read_cache.bytes() / 2;
        let sum = threads.saturating_add(PROCESS_BYTES).saturating_add(kept);
        parts.into_iter().fold(sum, |sum, part| sum.saturating_add(part.bytes()))
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if name.trim().is_empty() { std::env::var("HOSTNAME").unwrap_or_default() } else { name };
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

/// Where a partition without a committed offset is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At its beginning.
    Earliest,
    /// At its end; what is there is never read.
    Latest,
}

/// `[internal-topics]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InternalTopicsConfig {
    /// Partitions while no source topic tells.
    pub partitions: u16,
    /// Replicas; −1 leaves it to the broker's default.
    pub replication: i16,
}

/// `[external]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExternalConfig {
    /// Connections per sink and stream thread.
    pub lanes: u16,
    /// Requests sent at once.
    pub batch: u32,
    /// Bound of one connection attempt or batch.
    pub timeout: Span,
}

/// `[schema-registry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SchemaRegistryConfig {
    /// Base URL; several are parted by commas.
    pub url: String,
    /// User of basic authentication.
    pub username: Option<String>,
    /// Password of basic authentication.
    pub password: Option<Secret>,
    /// Bearer token; excludes user and password.
    pub token: Option<Secret>,
    /// Bound of one request.
    pub timeout: Span,
    /// Whether a missing schema is registered at the start; else it is an error that names the subject.
    pub auto_register: bool,
}

/// What is promised about each record's effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Input positions, outputs and state changes are one transaction.
    ExactlyOnce,
    /// The same loop without a transaction: after a crash records may be processed again (rule R-29).
    AtLeastOnce,
}

/// Whose code speaks to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientKind {
    /// Native where the cluster and the properties allow it, rdkafka's elsewhere.
    Auto,
    /// Our own, or refuse to start.
    Native,
    /// librdkafka's.
    Rdkafka,
}

/// Compression of produced batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// As they are.
    None,
    /// Cheap, halves most.
    Lz4,
    /// Smaller, at more CPU.
    Zstd,
    /// For old readers.
    Gzip,
    /// For old readers.
    Snappy,
}

impl Compression {
    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
        }
    }
}

/// `[processing]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProcessingConfig {
    /// Exactly-once or at-least-once.
    pub guarantee: Guarantee,
    /// How long a transaction is filled before it is committed; the floor of end-to-end latency.
    pub commit_interval: Span,
    /// How often what is processed of repartition topics is deleted.
    pub purge_interval: Span,
    /// Stream threads in this process; each owns a consumer, its tasks and their stores.
    pub stream_threads: u16,
    /// Copies of each task's stores that other instances keep warm, to be there when it moves (rule R-24).
    pub standbys: u16,
    /// Staged writes of a thread at most (rule R-8). At a sixteenth of it a transaction is committed before its time, if
    /// the one before has its outcome.
    pub max_staged: ByteSize,
    /// After this the broker aborts an open transaction; readers of committed records wait so long for a dead owner.
    pub transaction_timeout: Span,
    /// Who commits: natively in transactions v2 (KIP-890), through librdkafka in v1.
    pub producer: ClientKind,
    /// Who fetches.
    pub fetcher: ClientKind,
    /// Compression of produced batches.
    pub compression: Compression,
    /// Where a partition without a committed offset is read from.
    pub start: Start,
}

/// `[state]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StateConfig {
    /// Directory of the state stores; a relative one is below the working directory. Made with mode 0700.
    pub directory: PathBuf,
    /// RocksDB's block cache for all stores of the process together, index and filters included.
    pub block_cache: ByteSize,
    /// RocksDB's memtables for all stores of the process together.
    pub write_buffers: ByteSize,
    /// Recently read or written values of all tasks of the process together, above RocksDB.
    pub read_cache: ByteSize,
}

/// `[memory]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MemoryConfig {
    /// What all bounded parts may take together; the start is refused if they add up to more.
    pub budget: ByteSize,
    /// Fetched but not yet processed bytes per consumer (`queued.max.messages.kbytes`, rule R-4).
    pub consumer_queue: ByteSize,
    /// Restores of all stream threads together: changelog records that are fetched, and what is collected for one write.
    pub restore: ByteSize,
    /// Largest answer to one fetch (`fetch.max.bytes`).
    pub fetch_max: ByteSize,
    /// Largest part of an answer that is of one partition (`fetch.message.max.bytes`); a larger record still passes.
    pub partition_fetch: ByteSize,
}

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; port 0 takes a free one, which the log names.
    pub listen: SocketAddr,
    /// `host:port` at which other instances reach this one; from `listen` if not set. Ask
    /// [`advertised`](Self::advertised) for it.
    pub advertised: Option<String>,
    /// Bearer token for requests that change something; without one these are refused.
    pub token: Option<Secret>,
    /// Bearer token for `/state`, which shows what the stores hold; without one whoever reaches the port may read.
    pub state_token: Option<Secret>,
}

impl HttpConfig {
    /// The token as the server wants it.
    pub fn bearer(&self) -> Option<Bearer> {
        self.token.as_ref().map(|token| Bearer::new(token.reveal()))
    }

    /// The token for `/state`, the same way.
    pub fn state_bearer(&self) -> Option<Bearer> {
        self.state_token.as_ref().map(|token| Bearer::new(token.reveal()))
    }

    /// Where other instances reach a server that listens at this address: `advertised`, or the address itself, or the
    /// host's name where it listens everywhere.
    pub fn advertised(&self, listens: SocketAddr) -> String {
        let own = || match listens.ip().is_unspecified() {
            true => format!("{}:{}", host_name(), listens.port()),
            false => listens.to_string(),
        };
        self.advertised.clone().unwrap_or_else(own)
    }
}

/// `[health]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HealthConfig {
    /// A stream thread that hasn't come round for so long makes `/healthz` answer 503.
    pub stalled_after: Span,
}

/// `[metrics]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MetricsConfig {
    /// Whether lag has a series for each partition; else one for each topic, with the sum.
    pub partition_labels: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LogConfig {
    /// Text or JSON.
    pub format: LogFormat,
    /// Level, or directives such as `info,headrace::store=debug`.
    pub filter: String,
}

/// `[shutdown]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ShutdownConfig {
    /// From SIGTERM to exit; keep it below the supervisor's own (Kubernetes: 30 s).
    pub deadline: Span,
}

/// `[dead-letters]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeadLettersConfig {
    /// Largest key and value together that a dead letter carries; of a larger record it carries hash and position.
    pub max_record: ByteSize,
    /// Whether dead letters of workers are the brokers' to write (KIP-1191, Kafka 4.4), and not this process's.
    pub by_brokers: bool,
}
