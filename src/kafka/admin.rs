//! Topics: what is there, and making what is wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::consumer::KafkaFailure;
use super::settings::Settings;

/// Patience with one request.
const PATIENCE: Duration = Duration::from_secs(15);
/// Patience with the first request, which finds out whether the cluster is there: it is repeated.
const FIRST: Duration = Duration::from_secs(4);

/// A topic that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicState {
    /// Number of partitions.
    pub partitions: i32,
    /// Copies of the partition that has fewest; none if the topic is only planned.
    pub replicas: Option<usize>,
}

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicWanted {
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas; −1 leaves it to the broker's default.
    pub replication: i32,
    /// Topic configuration, such as `cleanup.policy`.
    pub config: Vec<(String, String)>,
}

/// Looks up and creates topics. Blocks; used at start and by the commands.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
}

impl Admin {
    /// A client of its own; connects lazily.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(settings: &Settings) -> Result<Self, KafkaFailure> {
        Ok(Admin { client: settings.admin().create()? })
    }

    /// All topics of the cluster.
    ///
    /// # Errors
    /// The cluster is away.
    pub fn topics(&self) -> Result<BTreeMap<String, TopicState>, KafkaFailure> {
        let metadata = self.client.inner().fetch_metadata(None, FIRST)?;
        let topic = |topic: &rdkafka::metadata::MetadataTopic| {
            let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
            (topic.name().to_owned(), TopicState { partitions: topic.partitions().len() as i32, replicas })
        };
        Ok(metadata.topics().iter().map(topic).collect())
    }

    /// The largest record batch that a topic takes, in bytes (`max.message.bytes`).
    ///
    /// # Errors
    /// The cluster is away, or describing is not allowed.
    pub fn max_record_bytes(&self, topic: &str) -> Result<Option<usize>, KafkaFailure> {
        Ok(self.settings(topic)?.get("max.message.bytes").and_then(|value| value.parse().ok()))
    }

    /// A topic's configuration, defaults included; empty if the cluster does not tell.
    ///
    /// # Errors
    /// The cluster is away, or describing is not allowed.
    pub fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, KafkaFailure> {
        self.described(ResourceSpecifier::Topic(topic))
    }

    /// The configuration of one of the brokers, as [`settings`](Self::settings).
    ///
    /// # Errors
    /// As there.
    pub fn broker_settings(&self) -> Result<BTreeMap<String, String>, KafkaFailure> {
        let metadata = self.client.inner().fetch_metadata(None, PATIENCE)?;
        let broker = metadata.brokers().first().map(rdkafka::metadata::MetadataBroker::id);
        broker.map_or_else(|| Ok(BTreeMap::new()), |id| self.described(ResourceSpecifier::Broker(id)))
    }

    fn described(&self, resource: ResourceSpecifier<'_>) -> Result<BTreeMap<String, String>, KafkaFailure> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let described = block_on(self.client.describe_configs([&resource], &options))?;
        let entries = described.into_iter().next().and_then(Result::ok).map_or_else(Vec::new, |config| config.entries);
        Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }

    /// Whether anything stands in a partition.
    ///
    /// # Errors
    /// The cluster is away.
    pub fn has_records(&self, topic: &str, partition: i32) -> Result<bool, KafkaFailure> {
        let (first, next) = self.client.inner().fetch_watermarks(topic, partition, PATIENCE)?;
        Ok(first < next)
    }

    /// Creates a topic; true when it was not there before.
    ///
    /// # Errors
    /// The cluster is away or refuses it.
    pub fn create(&self, wanted: &TopicWanted) -> Result<bool, KafkaFailure> {
        let mut topic = NewTopic::new(&wanted.name, wanted.partitions, TopicReplication::Fixed(wanted.replication));
        for (key, value) in &wanted.config {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let results = block_on(self.client.create_topics([&topic], &options))?;
        match results.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((name, code))) => Err(KafkaFailure(format!("{name}: {code}"))),
            _ => Ok(true),
        }
    }
}
