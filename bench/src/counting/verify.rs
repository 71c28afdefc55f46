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
fn reader(servers: &str, topic: &str, partitions: i32) -> Result<BaseConsumer, Failure> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bench-reader")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "10")
        .create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    list.set_all_offsets(Offset::Beginning)?;
    client.assign(&list)?;
    Ok(client)
}

/// Whether the output has exactly one record per input, and, if `counted`, each key's counts are 1, 2, 3 … in order.
pub(crate) fn output(servers: &str, topic: &str, expected: &[u32], counted: bool) -> Result<(), Failure> {
    continued(servers, topic, PARTITIONS, vec![0; expected.len()], expected, counted)
}

/// The same where the keys have come before: so often as `seen` says at first.
pub(crate) fn continued(
    servers: &str,
    topic: &str,
    partitions: i32,
    mut seen: Vec<u32>,
    expected: &[u32],
    counted: bool,
) -> Result<(), Failure> {
    read(servers, topic, partitions, seen.len(), |key, payload| {
        seen[key] += 1;
        let count = u64::from(seen[key]).to_be_bytes();
        if counted && payload != Some(&count) {
            return Err(format!("{topic}: key {key}: {payload:?} where {count:?} was due").into());
        }
        Ok(())
    })?;
    let pairs = seen.iter().zip(expected).enumerate();
    let wrong: Vec<usize> = pairs.filter(|(_, (seen, expected))| seen != expected).map(|(key, _)| key).collect();
    let Some(&key) = wrong.first() else { return Ok(()) };
    let (found, due) = (seen[key], expected[key]);
    Err(format!("{topic}: {} keys are wrong, such as key {key}, which is there {found} times for {due}", wrong.len())
        .into())
}

/// How often each key is in a topic.
pub(crate) fn times(servers: &str, topic: &str, partitions: i32, keys: usize) -> Result<Vec<u32>, Failure> {
    let mut times = vec![0; keys];
    read(servers, topic, partitions, keys, |key, _| {
        times[key] += 1;
        Ok(())
    })?;
    Ok(times)
}

/// Shows each committed record of a topic, key and payload, in order.
fn read(
    servers: &str,
    topic: &str,
    partitions: i32,
    keys: usize,
    mut show: impl FnMut(usize, Option<&[u8]>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let reader = reader(servers, topic, partitions)?;
    let (mut ended, mut last) = (0, Instant::now());
    while ended < partitions {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                let key = record.key().and_then(key_number).filter(|key| *key < keys).ok_or("not our key")?;
                show(key, record.payload())?;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None if last.elapsed() > PATIENCE => return Err(format!("{topic}: no end in sight").into()),
            None => continue,
        }
        last = Instant::now();
    }
    Ok(())
}
