//! How a test's applications are set up: short sessions and transactions, small buffers, so that a fault's consequences
//! come within seconds.

use std::path::Path;
use std::time::Duration;

use headrace::backoff::Backoff;
use headrace::external::LaneOptions;
use headrace::kafka::Settings;
use headrace::runtime::{Guarantee, Implementation, Implementations, MemoryPlan, Options};
use headrace::store::{StoreOptions, StoreResources};
use headrace::telemetry::{Health, Metrics, Telemetry};

/// Bound of whatever is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A killed member is given up after it. The broker's `group.min.session.timeout.ms` has to allow it.
pub const SESSION: Duration = Duration::from_millis(1500);
/// How long a transaction may be open.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(6);

/// Settings of one instance of an application.
pub fn settings(servers: &str, application: &str, instance: &str) -> Settings {
    Settings {
        bootstrap_servers: servers.to_owned(),
        properties: Vec::new(),
        member_properties: vec![
            ("session.timeout.ms".into(), SESSION.as_millis().to_string()),
            ("heartbeat.interval.ms".into(), "300".into()),
        ],
        compression: "none".into(),
        application_id: application.to_owned(),
        instance_id: instance.to_owned(),
        transaction_timeout: TRANSACTION_TIMEOUT,
        fetch_queue_bytes: 8 << 20,
        fetch_max_bytes: 4 << 20,
        partition_fetch_bytes: 1 << 20,
        max_record_bytes: 900 << 10,
        max_batch_bytes: None,
        co_partitioned: false,
        from_beginning: true,
        read_whole: Vec::new(),
        observer: Default::default(),
        calls: Default::default(),
        avoided: Default::default(),
    }
}

/// Options of one instance: exactly-once, one stream thread, a commit every 50 ms.
///
/// # Panics
/// Metrics can't be registered, which does not happen.
pub fn options(settings: Settings, partitions: i32, directory: &Path) -> Options {
    let store = StoreOptions { block_cache_bytes: 8 << 20, write_buffer_bytes: 8 << 20, ..StoreOptions::default() };
    Options {
        kafka: settings,
        guarantee: Guarantee::ExactlyOnce,
        clients: clients(),
        commit_interval: Duration::from_millis(50),
        purge_interval: Duration::from_secs(30),
        stream_threads: 1,
        max_staged_bytes: 16 << 20,
        state_directory: directory.to_owned(),
        stores: StoreResources::new(store),
        restore_bytes: 16 << 20,
        memory: MemoryPlan::UNBOUNDED,
        standbys: 0,
        lanes: LaneOptions {
            lanes: 1,
            batch_requests: 100,
            backoff: Backoff::DEPENDENCY,
            timeout: Duration::from_secs(2),
        },
        shutdown_deadline: Duration::from_secs(10),
        registry: None,
        register_schemas: false,
        topic_partitions: partitions,
        topic_replication: 1,
        schemas: Default::default(),
        telemetry: telemetry(),
        globals: Default::default(),
        queries: None,
        dead_letters_by_brokers: false,
        simulated: None,
    }
}

/// Of one application.
///
/// # Panics
/// Metrics can't be registered, which does not happen.
pub fn telemetry() -> Telemetry {
    Telemetry::new(Metrics::new(true).expect("metrics"), Health::new(PATIENCE))
}

/// Native, as by default with these brokers; `make test` runs the same tests on librdkafka's once more.
fn clients() -> Implementations {
    Implementations { producer: client("HEADRACE_E2E_PRODUCER"), fetcher: client("HEADRACE_E2E_FETCHER") }
}

fn client(variable: &str) -> Implementation {
    match std::env::var(variable).as_deref() {
        Ok("librdkafka") => Implementation::Librdkafka,
        _ => Implementation::Native,
    }
}

/// Where tests' applications have their asynchronous side.
///
/// # Panics
/// The machine has no thread left.
pub fn tokio() -> &'static tokio::runtime::Runtime {
    static TOKIO: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    TOKIO.get_or_init(|| tokio::runtime::Runtime::new().expect("tokio"))
}
