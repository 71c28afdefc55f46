//! Topics of a run: made before it, filled once, removed after it.

use std::time::Duration;

use count_topology::Events;
use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::KEYS;
use crate::Failure;

const PATIENCE: Duration = Duration::from_secs(30);

fn admin(servers: &str) -> Result<AdminClient<DefaultClientContext>, Failure> {
    Ok(ClientConfig::new().set("bootstrap.servers", servers).create()?)
}

/// Makes topics and waits until the broker knows them.
pub(crate) fn create(servers: &str, partitions: i32, names: &[(&str, &[(&str, &str)])]) -> Result<(), Failure> {
    let admin = admin(servers)?;
    let wanted: Vec<NewTopic<'_>> = names
        .iter()
        .map(|(name, config)| {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
            config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    for created in block_on(admin.create_topics(&wanted, &AdminOptions::new().operation_timeout(Some(PATIENCE))))? {
        created.map_err(|(name, error)| format!("topic {name}: {error}"))?;
    }
    Ok(())
}

/// Removes topics; one that is not there is as good as removed.
pub(crate) fn delete(servers: &str, names: &[&str]) -> Result<(), Failure> {
    block_on(admin(servers)?.delete_topics(names, &AdminOptions::new()))?;
    Ok(())
}

/// Writes the first `records` events; gives the number of records of each key.
pub(crate) fn load(servers: &str, topic: &str, records: u64) -> Result<Vec<u32>, Failure> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .create()?;
    let (mut events, mut expected) = (Events::new(KEYS), vec![0; KEYS as usize]);
    for _ in 0..records {
        expected[events.advance() as usize] += 1;
        let mut record = BaseRecord::to(topic).key(events.key()).payload(events.value());
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(5));
        }
    }
    producer.flush(PATIENCE)?;
    Ok(expected)
}
