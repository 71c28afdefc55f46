//! From the configuration to what the runtime wants.

use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::codec::Schemas;
use crate::codec::registry::{Auth, Registry};
use crate::config::{self, ClientKind, RuntimeConfig, Start};
use crate::error::FatalError;
use crate::external::LaneOptions;
use crate::kafka::Settings;
use crate::runtime::{Guarantee, Implementation, Implementations, MemoryPlan, Options};
use crate::store::{StoreOptions, StoreResources};
use crate::telemetry::Telemetry;
use crate::topology::Topology;

/// Headers and keys of a produced record beside its `max-record` payload.
const RECORD_OVERHEAD: u64 = 64 * 1024;
/// How often a member asks whether the group rebalances. What moves has no owner until the last member has heard of it, so
/// librdkafka's default, three seconds, is what everybody who waits for it would notice.
const HEARTBEAT: Duration = Duration::from_millis(500);

pub(super) fn from_config(
    config: &RuntimeConfig,
    topology: &Topology,
    telemetry: Telemetry,
) -> Result<Options, FatalError> {
    let processing = &config.processing;
    let store = StoreOptions {
        block_cache_bytes: size(config.state.block_cache),
        write_buffer_bytes: size(config.state.write_buffers),
        read_cache_bytes: size(config.state.read_cache),
        ..StoreOptions::default()
    };
    Ok(Options {
        kafka: kafka(config, topology),
        guarantee: match processing.guarantee {
            config::Guarantee::ExactlyOnce => Guarantee::ExactlyOnce,
            config::Guarantee::AtLeastOnce => Guarantee::AtLeastOnce,
        },
        clients: Implementations {
            producer: implementation(config.processing.producer),
            fetcher: implementation(config.processing.fetcher),
        },
        commit_interval: processing.commit_interval.duration(),
        purge_interval: processing.purge_interval.duration(),
        stream_threads: usize::from(processing.stream_threads),
        max_staged_bytes: size(processing.max_staged),
        state_directory: config.state.directory.clone(),
        stores: StoreResources::new(store),
        restore_bytes: size(config.memory.restore),
        memory: MemoryPlan { budget: config.memory.budget.bytes(), planned: config.planned_memory() },
        standbys: usize::from(processing.standbys),
        lanes: LaneOptions {
            lanes: usize::from(config.external.lanes.max(1)),
            batch_requests: config.external.batch.max(1) as usize,
            backoff: Backoff::DEPENDENCY,
            timeout: config.external.timeout.duration(),
        },
        shutdown_deadline: config.shutdown.deadline.duration(),
        registry: registry(config, topology)?,
        register_schemas: config.schema_registry.auto_register,
        topic_partitions: i32::from(config.internal_topics.partitions),
        topic_replication: i32::from(config.internal_topics.replication),
        schemas: Arc::new(Schemas::default()),
        telemetry,
        globals: Arc::default(),
        queries: None,
        dead_letters_by_brokers: config.dead_letters.by_brokers,
        simulated: None,
    })
}

pub(super) fn kafka(config: &RuntimeConfig, topology: &Topology) -> Settings {
    let kafka = &config.kafka;
    let mut properties: Vec<(String, String)> = kafka.connection_properties().into_iter().collect();
    properties.extend(kafka.properties.0.clone());
    let millis = |span: config::Span| span.millis().to_string();
    let mut member_properties = vec![
        ("session.timeout.ms".to_owned(), millis(kafka.session_timeout)),
        ("max.poll.interval.ms".to_owned(), millis(kafka.max_poll_interval)),
    ];
    if !properties.iter().any(|(name, _)| name == "heartbeat.interval.ms") {
        let heartbeat = HEARTBEAT.min(kafka.session_timeout.duration() / 3).as_millis().max(1);
        member_properties.push(("heartbeat.interval.ms".to_owned(), heartbeat.to_string()));
    }
    Settings {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        properties,
        member_properties,
        compression: config.processing.compression.name().to_owned(),
        application_id: config.application_id.clone(),
        instance_id: config.instance(),
        transaction_timeout: config.processing.transaction_timeout.duration(),
        fetch_queue_bytes: size(config.memory.consumer_queue),
        fetch_max_bytes: size(config.memory.fetch_max),
        partition_fetch_bytes: size(config.memory.partition_fetch),
        max_record_bytes: usize::try_from(config.dead_letters.max_record.bytes() + RECORD_OVERHEAD)
            .unwrap_or(usize::MAX),
        max_batch_bytes: None,
        co_partitioned: topology.is_co_partitioned(),
        from_beginning: config.processing.start == Start::Earliest,
        read_whole: Vec::new(),
        observer: Default::default(),
        calls: Default::default(),
        avoided: Default::default(),
    }
}

pub(super) fn registry(config: &RuntimeConfig, topology: &Topology) -> Result<Option<Arc<Registry>>, FatalError> {
    let registry = &config.schema_registry;
    if registry.url.is_empty() && topology.codecs().iter().all(|codec| codec.schema.is_none()) {
        return Ok(None);
    }
    let auth = match (&registry.token, &registry.username, &registry.password) {
        (Some(token), _, _) => Some(Auth::Bearer(token.reveal().to_owned())),
        (None, Some(user), password) => {
            let password = password.as_ref().map_or_else(String::new, |password| password.reveal().to_owned());
            Some(Auth::Basic { user: user.clone(), password })
        }
        _ => None,
    };
    let client = Registry::new(&registry.url, auth, registry.timeout.duration());
    let client = client.map_err(|error| FatalError::Config(format!("schema-registry.url: {error}")))?;
    Ok(Some(Arc::new(client)))
}

fn size(bytes: config::ByteSize) -> usize {
    usize::try_from(bytes.bytes()).unwrap_or(usize::MAX)
}

fn implementation(kind: ClientKind) -> Implementation {
    match kind {
        ClientKind::Auto => Implementation::Auto,
        ClientKind::Native => Implementation::Native,
        ClientKind::Rdkafka => Implementation::Librdkafka,
    }
}
