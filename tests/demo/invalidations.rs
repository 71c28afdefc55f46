//! What the topology has committed to Kafka: its position in the row changes, and one record for each change it applied.
//!
//! "Applied" is counted in the topic of invalidations, read committed, and not from the binary's metric, which dies
//! with it. A record is committed only after Redis has answered the change's call, and in one transaction with the input's
//! offsets. So the count is of changes that reached the cache, each once, in both lives of the process.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::Result;

/// The topology's consumer group; its default.
const GROUP: &str = "cdc-invalidation";
/// Its output; the default.
const INVALIDATIONS: &str = "cdc-invalidation.invalidations";
/// Patience with one answer of the broker.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Looks at the topics; takes part in nothing.
pub(crate) struct Invalidations {
    consumer: BaseConsumer,
}

/// End offsets of the topic of invalidations at some time.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    ends: Vec<(i32, i64)>,
}

impl Invalidations {
    pub(crate) fn connect(bootstrap_servers: &str) -> Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("group.id", GROUP)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.queue.backoff.ms", "10")
            .create()?;
        Ok(Invalidations { consumer })
    }

    /// How many topics have this prefix.
    pub(crate) fn topics(&self, prefix: &str) -> Result<usize> {
        let metadata = self.consumer.fetch_metadata(None, TIMEOUT)?;
        Ok(metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix)).count())
    }

    /// Records of the topics with this prefix that the group has not committed yet.
    pub(crate) fn uncommitted(&self, prefix: &str) -> Result<u64> {
        let metadata = self.consumer.fetch_metadata(None, TIMEOUT)?;
        let mut partitions = TopicPartitionList::new();
        for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix)) {
            for partition in topic.partitions() {
                partitions.add_partition(topic.name(), partition.id());
            }
        }
        let mut left = 0;
        for element in self.consumer.committed_offsets(partitions, TIMEOUT)?.elements() {
            let (low, high) = self.consumer.fetch_watermarks(element.topic(), element.partition(), TIMEOUT)?;
            let position = if let Offset::Offset(offset) = element.offset() { offset } else { low };
            left += u64::try_from(high - position).unwrap_or(0);
        }
        Ok(left)
    }

    /// Where the topic ends now.
    pub(crate) fn mark(&self) -> Result<Mark> {
        let metadata = self.consumer.fetch_metadata(Some(INVALIDATIONS), TIMEOUT)?;
        let topic = metadata.topics().first().ok_or("no topic of invalidations")?;
        let mut ends = Vec::new();
        for partition in topic.partitions() {
            ends.push((partition.id(), self.consumer.fetch_watermarks(INVALIDATIONS, partition.id(), TIMEOUT)?.1));
        }
        Ok(Mark { ends })
    }

    /// Committed records from `mark` to the end.
    pub(crate) fn count_since(&self, mark: &Mark) -> Result<u64> {
        let mut from = TopicPartitionList::new();
        for (partition, offset) in &mark.ends {
            from.add_partition_offset(INVALIDATIONS, *partition, Offset::Offset(*offset))?;
        }
        self.consumer.assign(&from)?;
        let (mut count, mut open) = (0, mark.ends.len());
        while open > 0 {
            match self.consumer.poll(TIMEOUT) {
                Some(Ok(record)) if record.topic() == INVALIDATIONS => count += 1,
                Some(Ok(_)) => {}
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => return Err(error.into()),
                None => return Err("the broker does not deliver the invalidations".into()),
            }
        }
        self.consumer.unassign()?;
        Ok(count)
    }
}
