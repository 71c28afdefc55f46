//! What is known of a cluster: brokers, leaders, coordinators. Pure; [`Client`](super::Client) asks and fills it.
//!
//! A broker that lags behind may answer with a leader from before. An older leader epoch of the same topic is not believed
//! (KIP-320).

use std::collections::HashMap;
use std::fmt;

use kafka_protocol::messages::metadata_response::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};
use tokio::time::Instant;

use super::BrokerId;
use super::error::{Code, WireError};
use super::settings::Address;
use crate::position::Partition;

/// More topics than this are not kept: all are forgotten and asked for again.
const MAX_TOPICS: usize = 10_000;
/// The same for coordinators.
const MAX_COORDINATORS: usize = 10_000;
/// UNKNOWN_TOPIC_OR_PARTITION and UNKNOWN_TOPIC_ID.
pub(super) const UNKNOWN_TOPIC: [i16; 2] = [3, 100];

/// A topic's identity: one that is deleted and made again under its name has another (KIP-516). Zero if the broker has none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct TopicId(pub [u8; 16]);

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker that takes what is produced.
    pub broker: BrokerId,
    /// Grows with each change of the leader (KIP-320); -1 if it is not known.
    pub epoch: i32,
    /// The topic's identity.
    pub topic_id: TopicId,
}

/// What a coordinator coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CoordinatorKind {
    /// A consumer group, by its id.
    Group,
    /// A transactional id.
    Transaction,
    /// The state of a share group's partition, by `group:topic-id:partition`. The group itself is a [`Group`](Self::Group).
    Share,
}

impl CoordinatorKind {
    /// Its number in FindCoordinator.
    pub(super) fn number(self) -> i8 {
        match self {
            CoordinatorKind::Group => 0,
            CoordinatorKind::Transaction => 1,
            CoordinatorKind::Share => 2,
        }
    }
}

impl fmt::Display for CoordinatorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CoordinatorKind::Group => "group",
            CoordinatorKind::Transaction => "transactional id",
            CoordinatorKind::Share => "share state",
        })
    }
}

/// Everything that is known.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    brokers: HashMap<BrokerId, Address>,
    topics: HashMap<String, Topic>,
    coordinators: HashMap<(CoordinatorKind, String), BrokerId>,
}

#[derive(Debug)]
struct Topic {
    id: TopicId,
    partitions: HashMap<i32, PartitionState>,
    asked: Instant,
}

#[derive(Debug, Clone, Copy)]
struct PartitionState {
    leader: Option<BrokerId>,
    epoch: i32,
}

impl Metadata {
    /// The partition's leader as far as it is known.
    ///
    /// # Errors
    /// [`WireError::UnknownTopic`], [`WireError::UnknownPartition`], [`WireError::NoLeader`].
    pub(super) fn leader(&self, topic: &str, partition: Partition) -> Result<Leader, WireError> {
        let known = self.topic(topic)?;
        let state = known.partitions.get(&partition.0).ok_or_else(|| WireError::UnknownPartition {
            topic: topic.to_owned(),
            partition,
            count: known.partitions.len(),
        })?;
        let broker = state.leader.ok_or_else(|| WireError::NoLeader { topic: topic.to_owned(), partition })?;
        Ok(Leader { broker, epoch: state.epoch, topic_id: known.id })
    }

    /// How many partitions a topic has.
    pub(super) fn partitions(&self, topic: &str) -> Result<usize, WireError> {
        self.topic(topic).map(|topic| topic.partitions.len())
    }

    fn topic(&self, topic: &str) -> Result<&Topic, WireError> {
        self.topics.get(topic).ok_or_else(|| WireError::UnknownTopic { topic: topic.to_owned() })
    }

    /// When the topic was last asked for.
    pub(super) fn asked(&self, topic: &str) -> Option<Instant> {
        self.topics.get(topic).map(|topic| topic.asked)
    }

    /// The topics that are known; one refresh asks for all of them.
    pub(super) fn topics(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    pub(super) fn brokers(&self) -> Vec<(BrokerId, Address)> {
        self.brokers.iter().map(|(id, address)| (*id, address.clone())).collect()
    }

    pub(super) fn address(&self, broker: BrokerId) -> Option<Address> {
        self.brokers.get(&broker).cloned()
    }

    /// Takes a response in, and gives the topics that it has an error for.
    pub(super) fn take(&mut self, response: MetadataResponse, now: Instant) -> Vec<(String, WireError)> {
        if !response.brokers.is_empty() {
            self.brokers.clear();
        }
        for broker in &response.brokers {
            self.add_broker(BrokerId(broker.node_id.0), broker.host.to_string(), broker.port);
        }
        if self.topics.len() > MAX_TOPICS {
            self.topics.clear();
        }
        response.topics.into_iter().filter_map(|topic| self.take_topic(topic, now)).collect()
    }

    fn take_topic(&mut self, topic: MetadataResponseTopic, now: Instant) -> Option<(String, WireError)> {
        let name = topic.name.as_ref()?.to_string();
        if let Some(code) = Code::new(topic.error_code) {
            let error = if UNKNOWN_TOPIC.contains(&code.number()) {
                self.topics.remove(&name);
                WireError::UnknownTopic { topic: name.clone() }
            } else {
                WireError::from_code(format!("metadata of topic {name}"), code)
            };
            return Some((name, error));
        }
        let id = TopicId(*topic.topic_id.as_bytes());
        let before = self.topics.remove(&name).filter(|before| before.id == id);
        let state = |partition: &MetadataResponsePartition| {
            let number = partition.partition_index;
            let new = PartitionState {
                leader: Some(BrokerId(partition.leader_id.0)).filter(|leader| leader.0 >= 0),
                epoch: partition.leader_epoch,
            };
            let old = before.as_ref().and_then(|before| before.partitions.get(&number));
            (number, old.copied().filter(|old| old.epoch > new.epoch).unwrap_or(new))
        };
        let partitions = topic.partitions.iter().map(state).collect();
        self.topics.insert(name, Topic { id, partitions, asked: now });
        None
    }

    /// A broker that a response other than that of Metadata has named.
    pub(super) fn add_broker(&mut self, broker: BrokerId, host: String, port: i32) {
        if let Ok(port) = u16::try_from(port) {
            self.brokers.insert(broker, Address { host, port });
        }
    }

    /// A leader that was learned from a refusal (KIP-951); an older one than is known is not believed.
    pub(super) fn learn_leader(&mut self, topic: &str, partition: Partition, broker: BrokerId, epoch: i32) {
        let known = self.topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(&partition.0));
        if let Some(state) = known.filter(|state| state.epoch < epoch) {
            *state = PartitionState { leader: Some(broker), epoch };
        }
    }

    /// The leader turned out to be wrong.
    pub(super) fn forget_leader(&mut self, topic: &str, partition: Partition) {
        let known = self.topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(&partition.0));
        if let Some(state) = known {
            state.leader = None;
        }
    }

    pub(super) fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Option<BrokerId> {
        self.coordinators.get(&(kind, key.to_owned())).copied()
    }

    pub(super) fn learn_coordinator(&mut self, kind: CoordinatorKind, key: &str, broker: BrokerId) {
        if self.coordinators.len() >= MAX_COORDINATORS {
            self.coordinators.clear();
        }
        self.coordinators.insert((kind, key.to_owned()), broker);
    }

    pub(super) fn forget_coordinator(&mut self, kind: CoordinatorKind, key: &str) {
        self.coordinators.remove(&(kind, key.to_owned()));
    }

    /// A broker can't be reached: what it led or coordinated is asked for again, since it may have moved.
    pub(super) fn doubt(&mut self, broker: BrokerId) {
        let states = self.topics.values_mut().flat_map(|topic| topic.partitions.values_mut());
        states.filter(|state| state.leader == Some(broker)).for_each(|state| state.leader = None);
        self.coordinators.retain(|_, coordinator| *coordinator != broker);
    }

    /// The brokers want us to begin at the bootstrap servers (KIP-1102).
    pub(super) fn forget_brokers(&mut self) {
        self.brokers.clear();
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn response(leaders: &[(i32, i32)]) -> MetadataResponse {
        let partition = |(number, (leader, epoch)): (usize, &(i32, i32))| {
            MetadataResponsePartition::default()
                .with_partition_index(number as i32)
                .with_leader_id((*leader).into())
                .with_leader_epoch(*epoch)
        };
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
            .with_partitions(leaders.iter().enumerate().map(partition).collect());
        let broker = MetadataResponseBroker::default().with_node_id(1.into()).with_port(9);
        MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic])
    }

    fn leader(metadata: &Metadata, partition: i32) -> Result<i32, String> {
        metadata.leader("t", Partition(partition)).map(|leader| leader.broker.0).map_err(|error| error.to_string())
    }

    #[test]
    fn says_what_is_missing() {
        let mut metadata = Metadata::default();
        assert_eq!(leader(&metadata, 0).unwrap_err(), "topic t does not exist");
        assert!(metadata.take(response(&[(1, 0), (-1, 0)]), Instant::now()).is_empty());
        assert_eq!((leader(&metadata, 0), metadata.partitions("t").unwrap()), (Ok(1), 2));
        assert_eq!(leader(&metadata, 1).unwrap_err(), "t-1 has no leader");
        assert_eq!(leader(&metadata, 2).unwrap_err(), "topic t has 2 partitions, there is no 2");
    }

    #[test]
    fn an_older_leader_epoch_is_not_believed() {
        let mut metadata = Metadata::default();
        metadata.take(response(&[(2, 7)]), Instant::now());
        metadata.take(response(&[(1, 6)]), Instant::now());
        assert_eq!(leader(&metadata, 0), Ok(2));
        metadata.take(response(&[(3, 8)]), Instant::now());
        assert_eq!(leader(&metadata, 0), Ok(3));
        metadata.learn_leader("t", Partition(0), BrokerId(4), 8);
        assert_eq!(leader(&metadata, 0), Ok(3));
        metadata.learn_leader("t", Partition(0), BrokerId(4), 9);
        assert_eq!(leader(&metadata, 0), Ok(4));
    }

    #[test]
    fn a_doubted_broker_leads_and_coordinates_nothing() {
        let mut metadata = Metadata::default();
        metadata.take(response(&[(1, 0), (2, 0)]), Instant::now());
        metadata.learn_coordinator(CoordinatorKind::Group, "g", BrokerId(1));
        metadata.doubt(BrokerId(1));
        assert!(leader(&metadata, 0).is_err() && leader(&metadata, 1) == Ok(2));
        assert_eq!(metadata.coordinator(CoordinatorKind::Group, "g"), None);
    }

    #[test]
    fn a_topic_with_an_error_is_reported_with_its_code() {
        let mut metadata = Metadata::default();
        metadata.take(response(&[(1, 0)]), Instant::now());
        let mut unknown = response(&[]);
        unknown.topics[0].error_code = 3;
        let errors = metadata.take(unknown, Instant::now());
        assert!(matches!(errors[0].1, WireError::UnknownTopic { .. }) && leader(&metadata, 0).is_err());
        let mut forbidden = response(&[]);
        forbidden.topics[0].error_code = 29;
        let errors = metadata.take(forbidden, Instant::now());
        assert!(matches!(errors[0].1, WireError::NotAuthorised { .. }));
    }
}
