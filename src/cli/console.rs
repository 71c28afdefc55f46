//! What a topology's own command is given: its configuration, and the ways to brokers and registry that the configuration names.
//!
//! A command asks something, or writes some records, and ends. So it has no threads of its own, joins no group, and each of its
//! clients connects when it is first used; a broker that is away is an error at once, and not something to wait for.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::codec::AvroSchema;
use crate::config::RuntimeConfig;
use crate::error::FatalError;
use crate::kafka::{KafkaFailure, Settings, Submitter, TopicFollower};
use crate::topology::Topology;
use crate::wire::{Client, Connection, CoordinatorKind, WireError};

use super::values::Values;
use super::{options, run};

/// How long a command waits for a record's acknowledgement.
const PATIENCE: Duration = Duration::from_secs(15);

/// The place of a topology's own command.
pub struct Console<C> {
    /// The binary's name.
    pub name: &'static str,
    /// The topology's own configuration.
    pub config: C,
    /// That of every binary.
    pub runtime: RuntimeConfig,
    topology: Topology,
    tokio: Runtime,
}

impl<C> Console<C> {
    pub(super) fn new(
        name: &'static str,
        config: C,
        runtime: RuntimeConfig,
        topology: Topology,
    ) -> Result<Self, FatalError> {
        Ok(Console { name, config, runtime, topology, tokio: run::tokio()? })
    }

    /// Waits for what is asynchronous.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.tokio.block_on(work)
    }

    /// How to reach the cluster.
    pub fn kafka(&self) -> Settings {
        options::kafka(&self.runtime, &self.topology)
    }

    /// The Kafka protocol, for questions that librdkafka does not ask. To be used within [`block_on`](Self::block_on).
    ///
    /// # Errors
    /// A property can't be honoured.
    pub fn client(&self) -> Result<Client, FatalError> {
        Ok(Client::new(self.kafka().wire("command").map_err(|error| self.refused(error))?))
    }

    /// A connection to a group's coordinator.
    ///
    /// # Errors
    /// The cluster is away, or refuses.
    pub async fn coordinator(&self, client: &Client, group: &str) -> Result<Connection, FatalError> {
        client.coordinating(CoordinatorKind::Group, group).await.map_err(|error| self.refused(error))
    }

    /// How many partitions a topic has. A cluster that is away is known of at once, where a producer would wait for it.
    ///
    /// # Errors
    /// There is no such topic, with the command that makes it; the cluster is away, or refuses.
    pub fn partitions(&self, topic: &str) -> Result<usize, FatalError> {
        let client = self.client()?;
        self.block_on(client.partitions(topic)).map_err(|error| self.refused(error))
    }

    /// Whether a topic is one of the application's own, that nothing else is to be written to.
    pub fn is_own_topic(&self, topic: &str) -> bool {
        self.topology.has_topic(&self.runtime.application_id, topic)
    }

    /// Writes records to topics that are there, each acknowledged within some seconds or failed.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn submitter(&self) -> Result<Submitter, FatalError> {
        let submitter = Submitter::new(&self.kafka(), PATIENCE);
        submitter.map_err(|error| FatalError::Config(format!("kafka.properties: {error}")))
    }

    /// Writes one record to a topic.
    ///
    /// # Errors
    /// The topic is not there, or the cluster is away or refuses.
    pub fn submit(&self, topic: &str, key: &str, value: Vec<u8>) -> Result<(), FatalError> {
        self.partitions(topic)?;
        let outcomes = self.submitter()?.submit(topic, &[(key.as_bytes().to_vec(), value)]);
        outcomes.into_iter().collect::<Result<(), KafkaFailure>>().map_err(|error| self.failed(topic, &error))
    }

    /// Reads a topic that is there, in no group.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn follower(&self, topic: &str) -> Result<TopicFollower, FatalError> {
        TopicFollower::new(&self.kafka(), topic)
    }

    /// A topic's values, to be read.
    ///
    /// # Errors
    /// `schema-registry.url` is none.
    pub fn values<T: AvroSchema>(&self, topic: &str) -> Result<Values<T>, FatalError> {
        let missing =
            || FatalError::Config("schema-registry.url: is not set, but the topic has Avro values".to_owned());
        let registry = options::registry(&self.runtime, &self.topology)?.ok_or_else(missing)?;
        Ok(Values::new(topic, registry))
    }

    /// What a refusal of the brokers means for a command, in words.
    pub fn refused(&self, error: WireError) -> FatalError {
        match error {
            WireError::Property { .. } => FatalError::Config(format!("kafka.properties: {error}")),
            WireError::Authentication { .. } | WireError::NotAuthorised { .. } => {
                FatalError::Authorisation(error.to_string())
            }
            WireError::UnknownTopic { .. } => FatalError::Environment(format!("{error}; run: {} apply", self.name)),
            error if error.is_retriable() => FatalError::Environment(format!("kafka is away: {error}")),
            error => FatalError::Environment(format!("kafka: {error}")),
        }
    }

    /// The same of librdkafka's.
    pub fn failed(&self, topic: &str, error: &KafkaFailure) -> FatalError {
        FatalError::Environment(format!("topic {topic}: {error}"))
    }
}
