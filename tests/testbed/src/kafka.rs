//! Kafka brokers in KRaft mode, broker and controller in one process: one alone, or several as a cluster.
//!
//! ```text
//! format (once, about 1 s) --> server.properties + data/ --> kafka.Kafka --> Metadata names one unfenced broker
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::artifacts::{Artifacts, KafkaVersion};
use crate::broker_probe;
use crate::cache::Cache;
use crate::dirs::Dirs;
use crate::error::Result;
use crate::java::{Jit, class_path, java, log_level};
use crate::ports::free_port;
use crate::process::write;
use crate::secured::Secured;
use crate::server::{Plan, Server};

/// The broker's heap.
const HEAP_MB: u32 = 384;
/// Heap of a command-line tool.
const TOOL_HEAP_MB: u32 = 256;
/// Time for one run of a command-line tool.
const TOOL_DEADLINE: Duration = Duration::from_secs(60);
/// Base64 of a UUID; all clusters may share it, for they never meet.
const CLUSTER_ID: &str = "aGVhZHJhY2UtdGVzdGJlZA";

/// What a broker is started with.
#[derive(Debug, Clone)]
pub struct KafkaBuilder {
    version: KafkaVersion,
    node_id: u32,
    secured: bool,
    properties: BTreeMap<String, String>,
}

/// Where one node listens, and who decides.
#[derive(Debug, Clone)]
struct Place {
    port: u16,
    controller_port: u16,
    /// All controllers of a cluster, as `id@host:port`; nothing if there is only this one.
    voters: Option<String>,
}

/// What a broker knows of the plan that worked.
#[derive(Debug)]
struct Planned {
    port: u16,
    dir: PathBuf,
    secured: Option<Secured>,
}

impl Place {
    fn free() -> Result<Self> {
        Ok(Place { port: free_port()?, controller_port: free_port()?, voters: None })
    }
}

impl KafkaBuilder {
    /// Another version than `KAFKA_VERSION` or the default.
    #[must_use]
    pub fn version(mut self, version: KafkaVersion) -> Self {
        self.version = version;
        self
    }

    /// Another node id than 1.
    #[must_use]
    pub fn node_id(mut self, node_id: u32) -> Self {
        self.node_id = node_id;
        self
    }

    /// A line of `server.properties`; it wins over the testbed's own.
    #[must_use]
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With further listeners for TLS and SASL: see [`Kafka::secured`].
    #[must_use]
    pub fn secured(mut self) -> Self {
        self.secured = true;
        self
    }

    /// Formats the storage, starts the broker and waits until it serves.
    ///
    /// # Errors
    /// [`crate::Error::Start`] with the end of the broker's log.
    pub fn start(&self, cache: &Cache, dirs: &Dirs) -> Result<Kafka> {
        self.start_at(cache, dirs, Place::free)
    }

    /// Starts a cluster of so many nodes, each broker and controller, with the ids 1, 2, …. What has several replicas has
    /// as many as there are nodes, three at most.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_cluster(&self, cache: &Cache, dirs: &Dirs, nodes: u32) -> Result<Vec<Kafka>> {
        let mut places = (0..nodes).map(|_| Place::free()).collect::<Result<Vec<Place>>>()?;
        let voter = |(id, place): (u32, &Place)| format!("{id}@127.0.0.1:{}", place.controller_port);
        let voters: Vec<String> = (1..).zip(&places).map(voter).collect();
        places.iter_mut().for_each(|place| place.voters = Some(voters.join(",")));
        let replicas = nodes.min(3).to_string();
        let names = ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"];
        let names = names.map(|name| format!("{name}.replication.factor"));
        let all = names.iter().fold(self.clone(), |builder, name| builder.property(name, &replicas));
        // At once: none serves before most of them are there.
        std::thread::scope(|scope| {
            let started: Vec<_> = (1..)
                .zip(places)
                .map(|(id, place)| (all.clone().node_id(id), place))
                .map(|(node, place)| scope.spawn(move || node.start_at(cache, dirs, || Ok(place.clone()))))
                .collect();
            let joined =
                started.into_iter().map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
            joined.collect()
        })
    }

    fn start_at(&self, cache: &Cache, dirs: &Dirs, place: impl Fn() -> Result<Place>) -> Result<Kafka> {
        let lib = cache.ensure(Artifacts::Kafka(self.version))?;
        let (server, planned) = Server::launch("kafka", || self.plan(&lib, dirs, &place()?))?;
        let bootstrap_servers = format!("127.0.0.1:{}", planned.port);
        let (version, node_id, cache) = (self.version, self.node_id, cache.clone());
        Ok(Kafka { server, version, node_id, bootstrap_servers, planned, cache })
    }

    fn plan(&self, lib: &Path, dirs: &Dirs, place: &Place) -> Result<(Plan, Planned)> {
        let dir = dirs.part("kafka")?;
        let secured = if self.secured { Some(Secured::new(&dir)?) } else { None };
        let properties = dir.join("server.properties");
        write(&properties, &self.render(place, &dir, secured.as_ref()))?;
        let mut format = java(&dir, TOOL_HEAP_MB, Jit::Quick)?.args(log_level("warn")).args(class_path(lib)).args([
            "kafka.tools.StorageTool",
            "format",
            "-t",
            CLUSTER_ID,
        ]);
        if place.voters.is_none() {
            format = format.args(["--standalone"]);
        }
        if secured.is_some() {
            format = format.args(Secured::format_arguments());
        }
        format.args(["-c"]).args([&properties]).run(TOOL_DEADLINE)?;
        let system_properties = secured.as_ref().map(Secured::system_properties).unwrap_or_default();
        let launch = java(&dir, HEAP_MB, Jit::Full)?
            .args(system_properties)
            .args(log_level("info"))
            // The dump of all configuration keys at each client start would drown the rest.
            .args(["-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn"])
            .args(class_path(lib))
            .args(["kafka.Kafka"])
            .args([properties]);
        let port = place.port;
        let probe = Box::new(move || broker_probe::serves(port));
        let plan = Plan { launch, probe, log: dir.join("kafka.log"), stop_signal: Signal::SIGTERM };
        Ok((plan, Planned { port, dir, secured }))
    }

    fn render(&self, place: &Place, dir: &Path, secured: Option<&Secured>) -> String {
        let Place { port, controller_port, voters } = place;
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
        set("process.roles", "broker,controller".into());
        set("node.id", self.node_id.to_string());
        match voters {
            None => set("controller.quorum.bootstrap.servers", format!("127.0.0.1:{controller_port}")),
            Some(voters) => set("controller.quorum.voters", voters.clone()),
        };
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{port}");
        for (name, value) in secured.map(|secured| secured.properties(dir)).into_iter().flatten() {
            set(&name, value);
        }
        if let Some(secured) = secured {
            listeners = format!("{listeners},{}", secured.listeners());
        }
        set("listeners", format!("{listeners},CONTROLLER://127.0.0.1:{controller_port}"));
        set("advertised.listeners", listeners);
        set("controller.listener.names", "CONTROLLER".into());
        set("log.dirs", dir.join("data").display().to_string());
        for (name, value) in SMALL {
            set(name, (*value).to_owned());
        }
        all.extend(self.properties.clone());
        all.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }
}

/// One broker, few partitions of the internal topics (each costs files and start-up time), no waiting for more
/// members, and no topic that appears because of a typing error.
const SMALL: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    // After kill -9 a broker may register again only once its old session has ended: 3 s, not 9 s.
    ("broker.heartbeat.interval.ms", "500"),
    ("broker.session.timeout.ms", "3000"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "4"),
    ("offsets.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("share.coordinator.state.topic.num.partitions", "4"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "4"),
    ("transaction.state.log.replication.factor", "1"),
];

/// A running broker.
#[derive(Debug)]
pub struct Kafka {
    server: Server,
    version: KafkaVersion,
    node_id: u32,
    bootstrap_servers: String,
    planned: Planned,
    cache: Cache,
}

impl std::ops::Deref for Kafka {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Kafka {
    /// A builder with the version that `KAFKA_VERSION` names.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] if nobody has tried that version.
    pub fn builder() -> Result<KafkaBuilder> {
        Ok(KafkaBuilder { version: KafkaVersion::from_env()?, node_id: 1, secured: false, properties: BTreeMap::new() })
    }

    /// Starts one with the defaults.
    ///
    /// # Errors
    /// As [`KafkaBuilder::start`].
    pub fn start(cache: &Cache, dirs: &Dirs) -> Result<Self> {
        Self::builder()?.start(cache, dirs)
    }

    /// `host:port`, for clients.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// The port of the clients' listener.
    pub fn port(&self) -> u16 {
        self.planned.port
    }

    /// The node's id, which is the broker's.
    pub fn node_id(&self) -> u32 {
        self.node_id
    }

    /// Where a partition's log segments are.
    pub fn log_of(&self, topic: &str, partition: i32) -> PathBuf {
        self.planned.dir.join("data").join(format!("{topic}-{partition}"))
    }

    /// Its listeners for TLS and SASL.
    ///
    /// # Errors
    /// [`crate::Error::NotStarted`] if the builder was not asked for them.
    pub fn secured(&self) -> Result<&Secured> {
        self.planned.secured.as_ref().ok_or(crate::Error::NotStarted("secured listeners"))
    }

    /// The version that runs.
    pub fn version(&self) -> KafkaVersion {
        self.version
    }

    /// Runs a class of Kafka's jars, for example `org.apache.kafka.tools.TopicCommand`, and returns what it prints.
    ///
    /// # Errors
    /// [`crate::Error::Tool`] with its output if it fails.
    pub fn java_tool(&self, class: &str, args: &[&str]) -> Result<String> {
        let lib = self.cache.ensure(Artifacts::Kafka(self.version.tools()))?;
        java(&self.planned.dir, TOOL_HEAP_MB, Jit::Quick)?
            .args(log_level("warn"))
            .args(class_path(&lib))
            .args([class])
            .args(args)
            .run(TOOL_DEADLINE)
    }
}
