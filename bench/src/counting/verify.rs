//! Reads an output topic as a committed reader does, and checks each record of it.

use std::time::{Duration, Instant};

use count_topology::key_number;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientConfig, Message as _};

use super::PARTITIONS;
use crate::Failure;

/// Without any record or end of a partition.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reader of all committed records of a topic, from its beginning.
fn reader(servers: &str, topic: &str) -> Result<BaseConsumer, Failure> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bench-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, PARTITIONS - 1);
    list.set_all_offsets(Offset::Beginning)?;
    client.assign(&list)?;
    Ok(client)
}

/// Whether the output has exactly one record per input, and, if `counted`, each key's counts are 1, 2, 3 … in order.
pub(crate) fn output(servers: &str, topic: &str, expected: &[u32], counted: bool) -> Result<(), Failure> {
    let reader = reader(servers, topic)?;
    let (mut seen, mut ended, mut last) = (vec![0_u32; expected.len()], 0, Instant::now());
    while ended < PARTITIONS {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                let key = record.key().and_then(key_number).filter(|key| *key < seen.len()).ok_or("not our key")?;
                seen[key] += 1;
                let count = u64::from(seen[key]).to_be_bytes();
                if counted && record.payload() != Some(&count) {
                    return Err(format!("{topic}: key {key}: {:?} where {count:?} was due", record.payload()).into());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None if last.elapsed() > PATIENCE => return Err(format!("{topic}: no end in sight").into()),
            None => continue,
        }
        last = Instant::now();
    }
    let wrong = seen.iter().zip(expected).position(|(seen, expected)| seen != expected);
    match wrong {
        None => Ok(()),
        Some(key) => Err(format!("{topic}: key {key} is there {} times for {}", seen[key], expected[key]).into()),
    }
}
