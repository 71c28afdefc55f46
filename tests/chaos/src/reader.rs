//! Topics read from their beginning to their end.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::Result;
use crate::application::PATIENCE;

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Those of committed transactions.
    Committed,
    /// All.
    Uncommitted,
}

impl Isolation {
    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        }
    }
}

/// A record as it stands in a topic; keys and values are text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Empty if there is none.
    pub key: String,
    /// `None` in a changelog: the key is deleted.
    pub value: Option<String>,
}

/// Whether an error is of connections, which librdkafka makes again: a broker that was stopped or killed a moment ago ends those
/// that it has found in its backlog.
pub fn passes(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut};
    matches!(error.rdkafka_error_code(), Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut))
}

/// Gives each record of a topic to `visit`, partition by partition in order, but the partitions mixed.
///
/// # Errors
/// The broker is away, or nothing comes for too long: a transaction may hang.
pub fn visit(client: &ClientConfig, topic: &str, isolation: Isolation, mut visit: impl FnMut(Stored)) -> Result<()> {
    let mut config = client.clone();
    config.set("group.id", format!("reader-of-{topic}")).set("enable.partition.eof", "true");
    config.set("isolation.level", isolation.name()).set("enable.auto.commit", "false").set("fetch.wait.max.ms", "50");
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, i32::try_from(partitions)? - 1);
    list.set_all_offsets(Offset::Beginning)?;
    consumer.assign(&list)?;
    let (mut ended, mut last) = (0, Instant::now());
    while ended < partitions {
        if last.elapsed() > PATIENCE {
            return Err(format!("{topic}: {} of {partitions} partitions have no end", partitions - ended).into());
        }
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                last = Instant::now();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                visit(Stored {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(text).unwrap_or_default(),
                    value: message.payload().map(text),
                });
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) if passes(&error) => {}
            Some(Err(error)) => return Err(format!("{topic}: {error}").into()),
            None => {}
        }
    }
    Ok(())
}

/// All records of a topic, by partition and offset.
///
/// # Errors
/// As [`visit`].
pub fn read(client: &ClientConfig, topic: &str, isolation: Isolation) -> Result<Vec<Stored>> {
    let mut records = Vec::new();
    visit(client, topic, isolation, |record| records.push(record))?;
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}
