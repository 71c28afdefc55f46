//! The loop of librdkafka's example: consume, produce, flush, commit. No transaction.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::fold::Folds;
use crate::Result;
use crate::application::{PATIENCE, SESSION};
use crate::ground::Ground;

/// Records between two commits.
const RECORDS: u64 = 500;

/// Runs until it is killed. One instance only: its folds are those of all partitions.
///
/// # Errors
/// The client is broken, or the input is not ours.
pub fn run(ground: &Ground, pace: Duration) -> Result<()> {
    let [stage, _] = ground.stages();
    let moved = stage.moved.clone().unwrap_or_default();
    let mut config = ground.client();
    config.set("group.id", &stage.application).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("session.timeout.ms", SESSION.as_millis().to_string()).set("heartbeat.interval.ms", "300");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[&stage.input])?;
    let producer: BaseProducer = ground.client().create()?;
    let mut folds = Folds::found(ground, &stage)?;
    let mut records = 0;
    loop {
        // At the end of the input, too: whoever waits for the last record is not to wait for ever.
        let message = match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => message,
            Some(Err(_)) => continue,
            None if records > 0 => {
                records = 0;
                commit(&consumer, &producer)?;
                continue;
            }
            None => continue,
        };
        let started = Instant::now();
        let sent = folds.add(&message)?;
        let tallied = BaseRecord::to(&stage.output).key(&sent.key).payload(&sent.tallied);
        let regrouped = BaseRecord::to(&moved).key(&sent.group).payload(&sent.moved);
        for record in [tallied, regrouped] {
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.poll(Duration::ZERO);
        while started.elapsed() < pace {
            std::hint::spin_loop();
        }
        records += 1;
        if records == RECORDS {
            records = 0;
            commit(&consumer, &producer)?;
        }
    }
}

fn commit(consumer: &BaseConsumer, producer: &BaseProducer) -> Result<()> {
    producer.flush(PATIENCE)?;
    consumer.commit_consumer_state(CommitMode::Sync)?;
    Ok(())
}
