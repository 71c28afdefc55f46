//! The side of `cdc-invalidation`: row changes as Debezium writes them, a few of them unreadable, until it is told to
//! stop.

use std::time::{Duration, SystemTime};

use chaos::Result;
use chaos::pause::Stop;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use testbed::Testbed;

/// The topology, and its job.
pub(crate) const JOB: &str = "cdc-invalidation";
const TOPIC: &str = "shop.public.orders";
const PARTITIONS: i32 = 4;
const ROWS: u64 = 1000;
/// Between two waits for the acknowledgements, which set the pace.
const BATCH: u64 = 500;
/// One change in so many can't be read.
const POISON: u64 = 400;

/// What it has in its configuration beside what all have, as TOML.
pub(crate) fn settings(bed: &Testbed) -> Result<String> {
    Ok(format!("[redis]\nurl = \"{}\"\n", bed.redis()?.url()))
}

/// The topic that Debezium would make.
pub(crate) fn create_topic(brokers: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(brokers).create()?;
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(admin.create_topics(&[topic], &AdminOptions::new()))?;
    results
        .into_iter()
        .try_for_each(|result| result.map(drop))
        .map_err(|(topic, code)| format!("{topic}: {code}").into())
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// Produces them.
pub(crate) fn produce(brokers: &str, stop: &Stop) -> Result<()> {
    // Acknowledged batches with a long linger: a few thousand changes per second.
    let producer: BaseProducer = config(brokers).set("linger.ms", "100").create()?;
    let mut number = 0;
    while !stop.is_stopped() {
        for _ in 0..BATCH {
            number += 1;
            let key = format!(r#"{{"id":{}}}"#, number % ROWS);
            let value = if number % POISON == 0 { "{\"before\":".to_owned() } else { change(number) };
            producer.send(BaseRecord::to(TOPIC).key(&key).payload(&value)).map_err(|(error, _)| error)?;
        }
        producer.flush(Duration::from_secs(30))?;
    }
    Ok(())
}

fn change(number: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let id = number % ROWS;
    format!(
        r#"{{"before":null,"after":{{"id":{id},"total":{number}}},"source":{{"version":"3.4.0.Final","connector":"postgresql","name":"shop","ts_ms":{now},"snapshot":"false","db":"shop","schema":"public","table":"orders","txId":{number},"lsn":{lsn},"sequence":"[\"{lsn}\",\"{lsn}\"]"}},"op":"u","ts_ms":{now}}}"#,
        lsn = 1_000_000 + number
    )
}
