//! The brokers of a run: one, or three that hold each partition thrice.

use std::path::PathBuf;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use testbed::{Cache, Dirs, Kafka, KafkaBuilder};

use crate::Result;
use crate::ground::Ground;

/// Nodes of a [`Cluster`], and replicas of each of its partitions.
const NODES: u32 = 3;
/// Replicas that have to have a record before it is acknowledged: so one broker may be away.
const IN_SYNC: &str = "2";
/// For one question to the brokers.
const LOOK: Duration = Duration::from_secs(10);

/// With share groups whose locks and sessions may be short, and whose members are told at once what they are to read.
pub fn share_groups(kafka: KafkaBuilder) -> KafkaBuilder {
    let quick = [
        ("group.min.session.timeout.ms", "1000"),
        ("group.share.min.record.lock.duration.ms", "1000"),
        ("group.share.min.session.timeout.ms", "1000"),
        ("group.share.min.heartbeat.interval.ms", "500"),
        ("group.share.heartbeat.interval.ms", "500"),
        ("group.share.assignment.interval.ms", "0"),
    ];
    quick.into_iter().fold(kafka, |kafka, (name, value)| kafka.property(name, value))
}

/// Three brokers of one cluster, which end when it is dropped.
pub struct Cluster {
    nodes: Vec<Kafka>,
    /// Removed after the brokers have ended.
    _dirs: Dirs,
}

impl Cluster {
    /// Starts them.
    ///
    /// # Errors
    /// One does not start.
    pub fn start() -> Result<Cluster> {
        Cluster::start_with(Kafka::builder()?)
    }

    /// The same, for [`share_groups`].
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_for_share_groups() -> Result<Cluster> {
        // Kafka's own: who is slow to beat because all cores are busy is not to be taken for dead.
        Cluster::start_with(share_groups(Kafka::builder()?).property("broker.session.timeout.ms", "9000"))
    }

    fn start_with(builder: KafkaBuilder) -> Result<Cluster> {
        let (cache, dirs) = (Cache::open()?, Dirs::new()?);
        let names = ["min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr"];
        let builder = builder.property("group.min.session.timeout.ms", "1000");
        let builder = names.iter().fold(builder, |builder, name| builder.property(name, IN_SYNC));
        Ok(Cluster { nodes: builder.start_cluster(&cache, &dirs, NODES)?, _dirs: dirs })
    }

    /// What a run is told.
    pub fn brokers(&self) -> Brokers<'_> {
        Brokers(&self.nodes)
    }
}

/// The brokers that a run has, and may kill.
#[derive(Debug, Clone, Copy)]
pub struct Brokers<'a>(&'a [Kafka]);

impl<'a> Brokers<'a> {
    /// A single one.
    pub fn one(kafka: &'a Kafka) -> Self {
        Brokers(std::slice::from_ref(kafka))
    }

    /// Whether others can do the work of one that is away.
    pub fn are_several(self) -> bool {
        self.0.len() > 1
    }

    /// Bootstrap servers: all of them.
    pub fn servers(self) -> String {
        self.0.iter().map(Kafka::bootstrap_servers).collect::<Vec<_>>().join(",")
    }

    /// Replicas of a topic.
    pub fn replication(self) -> i32 {
        if self.are_several() { NODES.cast_signed() } else { 1 }
    }

    /// The one whose turn it is, so that after as many turns as there are brokers each has had one: whatever leader or
    /// coordinator there is has moved.
    pub fn in_turn(self, turn: usize) -> &'a Kafka {
        &self.0[turn % self.0.len()]
    }

    /// Whether all replicas of everything are, so that any broker can do without any other.
    ///
    /// # Errors
    /// One is not, or nobody says.
    pub fn in_sync(self, client: &ClientConfig) -> Result<()> {
        let client: BaseConsumer = client.create()?;
        let metadata = client.fetch_metadata(None, LOOK)?;
        for topic in metadata.topics() {
            let behind = topic.partitions().iter().find(|part| part.isr().len() < part.replicas().len());
            if let Some(part) = behind {
                return Err(format!("{}-{} is not", topic.name(), part.id()).into());
            }
        }
        Ok(())
    }

    /// Where the leader of a partition has its log.
    ///
    /// # Errors
    /// No broker knows the leader.
    pub fn log_of(self, ground: &Ground, topic: &str, partition: i32) -> Result<PathBuf> {
        let leader = match self.0 {
            [one] => one,
            several => {
                let id = leader(ground, topic, partition)?;
                let found = several.iter().find(|node| i64::from(node.node_id()) == i64::from(id));
                found.ok_or_else(|| format!("{topic}-{partition} has no leader"))?
            }
        };
        Ok(leader.log_of(topic, partition))
    }
}

fn leader(ground: &Ground, topic: &str, partition: i32) -> Result<i32> {
    let client: BaseConsumer = ground.client().create()?;
    let metadata = client.fetch_metadata(Some(topic), LOOK)?;
    let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let found = partitions.find(|known| known.id() == partition);
    Ok(found.ok_or_else(|| format!("{topic}-{partition} is not known"))?.leader())
}
