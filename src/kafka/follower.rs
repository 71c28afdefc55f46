//! Reads all partitions of a topic, and goes on reading: no member of a group, no committed positions.
//!
//! One client per topic, because rdkafka's event of a partition's end names its number and not its topic.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::changelog::Bounds;
use super::consumer::KafkaFailure;
use super::librdkafka_changelogs::{Quiet, is_final};
use super::settings::Settings;
use crate::error::FatalError;
use crate::position::{Offset, Partition, TopicPartition};
use crate::record::Timestamp;

/// Patience with one look-up.
const LOOKUP: Duration = Duration::from_secs(5);
/// Fetched records that wait in the client.
const QUEUE_KBYTES: usize = 4096;
/// The largest answer to one fetch, which comes on top of what waits (rule R-25).
const ANSWER_BYTES: usize = 1 << 20;

/// Follows one topic.
pub struct TopicFollower {
    topic: String,
    client: BaseConsumer<Quiet>,
}

/// A record of a followed topic.
#[derive(Debug)]
pub struct FollowedRecord {
    /// Where it was.
    pub at: TopicPartition,
    /// Its offset.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key; none of those that are of no table.
    pub key: Option<Vec<u8>>,
    /// Its value; none deletes.
    pub value: Option<Vec<u8>>,
}

/// What a look at a followed topic finds.
#[derive(Debug)]
pub enum Followed {
    /// A record.
    Record(FollowedRecord),
    /// All that a committed reader can see of this partition now was read.
    End(Partition),
    /// A broker is away; it is tried again.
    Away(String),
    /// Trying again won't help.
    Failed(String),
    /// Nothing within the wait.
    Idle,
}

impl TopicFollower {
    /// Connects lazily.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(settings: &Settings, topic: &str) -> Result<Self, FatalError> {
        let mut config = settings.reader("global");
        config.set("queued.max.messages.kbytes", QUEUE_KBYTES.to_string());
        config.set("fetch.max.bytes", ANSWER_BYTES.to_string());
        let client = config.create_with_context(Quiet);
        let client = client.map_err(|error| FatalError::Config(format!("kafka.properties: global tables: {error}")))?;
        Ok(TopicFollower { topic: topic.to_owned(), client })
    }

    /// The topic's partitions.
    ///
    /// # Errors
    /// The cluster is away; none if the topic is not there.
    pub fn partitions(&self) -> Result<Vec<TopicPartition>, KafkaFailure> {
        let metadata = self.client.fetch_metadata(Some(&self.topic), LOOKUP)?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len() as i32);
        let at = |number| TopicPartition { topic: self.topic.as_str().into(), partition: Partition(number) };
        Ok((0..count).map(at).collect())
    }

    /// What a committed reader can see of a partition.
    ///
    /// # Errors
    /// The cluster is away.
    pub fn bounds(&self, at: &TopicPartition) -> Result<Bounds, KafkaFailure> {
        let (start, end) = self.client.fetch_watermarks(&at.topic, at.partition.0, LOOKUP)?;
        Ok(Bounds { start: Offset(start), end: Offset(end) })
    }

    /// Reads on from here, all partitions.
    ///
    /// # Errors
    /// librdkafka's.
    pub fn read(&self, positions: &[(TopicPartition, Offset)]) -> Result<(), KafkaFailure> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (at, next) in positions {
            list.add_partition_offset(&at.topic, at.partition.0, KafkaOffset::Offset(next.0))?;
        }
        Ok(self.client.assign(&list)?)
    }

    /// Where a committed reader can begin and end in each partition.
    ///
    /// # Errors
    /// The cluster is away.
    pub fn all_bounds(&self) -> Result<Vec<(TopicPartition, Bounds)>, KafkaFailure> {
        let partitions = self.partitions()?;
        partitions.into_iter().map(|at| self.bounds(&at).map(|bounds| (at, bounds))).collect()
    }

    /// Shows all keys and values that a committed reader can see now, partition by partition in their order; what has no key is of no
    /// table. `patience`: how long nothing may come.
    ///
    /// # Errors
    /// The cluster is away for longer, or refuses.
    pub fn read_whole(
        &self,
        patience: Duration,
        mut show: impl FnMut(&[u8], Option<&[u8]>),
    ) -> Result<(), KafkaFailure> {
        self.read_to_end(patience, |FollowedRecord { key, value, .. }| {
            if let Some(key) = key {
                show(&key, value.as_deref());
            }
        })
    }

    /// Shows all records that a committed reader can see now, partition by partition in their order. `patience`: how long nothing may
    /// come.
    ///
    /// # Errors
    /// The cluster is away for longer, or refuses.
    pub fn read_to_end(&self, patience: Duration, mut show: impl FnMut(FollowedRecord)) -> Result<(), KafkaFailure> {
        let bounds = self.all_bounds()?;
        let mut deadline = Instant::now() + patience;
        let mut open: BTreeSet<Partition> = bounds.iter().map(|(at, _)| at.partition).collect();
        let starts: Vec<_> = bounds.into_iter().map(|(at, bounds)| (at, bounds.start)).collect();
        self.read(&starts)?;
        let mut away = None;
        while !open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let reason = away.unwrap_or_else(|| format!("not read to its end, and nothing came for {patience:?}"));
                return Err(KafkaFailure(format!("{}: {reason}", self.topic)));
            }
            match self.poll(left) {
                Followed::Record(found) => {
                    deadline = Instant::now() + patience;
                    show(found);
                }
                Followed::End(partition) => {
                    deadline = Instant::now() + patience;
                    open.remove(&partition);
                }
                Followed::Away(reason) => away = Some(reason),
                Followed::Failed(reason) => return Err(KafkaFailure(format!("{}: {reason}", self.topic))),
                Followed::Idle => {}
            }
        }
        Ok(())
    }

    /// The next find, waiting at most `wait`.
    pub fn poll(&self, wait: Duration) -> Followed {
        match self.client.poll(wait) {
            Some(Ok(message)) => {
                let at = TopicPartition { topic: message.topic().into(), partition: Partition(message.partition()) };
                Followed::Record(FollowedRecord {
                    at,
                    offset: Offset(message.offset()),
                    timestamp: message.timestamp().to_millis().map_or(Timestamp::NONE, Timestamp),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                })
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => Followed::End(Partition(partition)),
            Some(Err(error)) if is_final(&error) => Followed::Failed(error.to_string()),
            Some(Err(error)) => Followed::Away(error.to_string()),
            None => Followed::Idle,
        }
    }
}
