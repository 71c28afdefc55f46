//! The loop that everybody writes with librdkafka's transactions.
//!
//! It does what the documentation says: begin, produce, offsets, commit; abort and rewind what can be aborted, a new producer
//! after a fatal error. What it lacks is the suspicion that a commit which was answered may have left a request on its way
//! (rule R-11).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::fold::Folds;
use crate::application::{PATIENCE, TRANSACTION_TIMEOUT};
use crate::ground::{Ground, Stage};
use crate::{Failure, Result};

const COMMIT: Duration = Duration::from_millis(50);
/// Of one transaction, so that the input lasts for as many commits as in the other arm.
const RECORDS: u32 = 250;

/// By partition.
type Next = BTreeMap<i32, i64>;

/// Runs the first stage until it believes that so many events are committed. The folds are in memory, and are found anew in
/// the output after an abort.
///
/// # Errors
/// The input is not ours, or the broker is away for too long.
pub fn run(ground: &Ground, events: u64) -> Result<()> {
    let [stage, _] = ground.stages();
    let mut positions = Next::new();
    let mut consumer = consumer(ground, &stage)?;
    let mut producer = producer(ground, &stage)?;
    let mut folds = Folds::default();
    while positions.values().sum::<i64>() < i64::try_from(events)? {
        match transaction(&stage, &consumer, &producer, &mut folds) {
            Ok(committed) => positions.extend(committed),
            Err(error) => {
                let error = error.downcast::<KafkaError>()?;
                let fatal = matches!(&*error, KafkaError::Transaction(inner) if inner.is_fatal());
                if fatal || producer.abort_transaction(TRANSACTION_TIMEOUT).is_err() {
                    producer = self::producer(ground, &stage)?;
                }
                consumer = self::consumer(ground, &stage)?;
                positions = committed(&consumer)?;
                folds = Folds::found(ground, &stage)?;
            }
        }
    }
    Ok(())
}

fn transaction(stage: &Stage, consumer: &BaseConsumer, producer: &BaseProducer, folds: &mut Folds) -> Result<Next> {
    let started = Instant::now();
    let mut next = Next::new();
    let mut records = 0;
    while started.elapsed() < COMMIT && records < RECORDS {
        let Some(polled) = consumer.poll(Duration::from_millis(10)) else { continue };
        let record = polled?;
        if next.is_empty() {
            producer.begin_transaction()?;
        }
        records += 1;
        next.insert(record.partition(), record.offset() + 1);
        let sent = folds.add(&record)?;
        let moved = stage.moved.as_deref().unwrap_or_default();
        let tallied = BaseRecord::to(&stage.output).key(&sent.key).payload(&sent.tallied);
        let regrouped = BaseRecord::to(moved).key(&sent.group).payload(&sent.moved);
        for record in [tallied, regrouped] {
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.poll(Duration::ZERO);
    }
    if next.is_empty() {
        return Ok(next);
    }
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in &next {
        offsets.add_partition_offset(&stage.input, *partition, Offset::Offset(*offset))?;
    }
    let group = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
    producer.send_offsets_to_transaction(&offsets, &group, TRANSACTION_TIMEOUT)?;
    producer.commit_transaction(TRANSACTION_TIMEOUT)?;
    Ok(next)
}

/// By hand, from the committed offsets: no rebalance blurs the picture.
fn consumer(ground: &Ground, stage: &Stage) -> Result<BaseConsumer> {
    let mut config = ground.client();
    config.set("group.id", &stage.application).set("isolation.level", "read_committed");
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&stage.input, 0, ground.partitions - 1);
    let started = Instant::now();
    let committed = loop {
        match consumer.committed_offsets(list.clone(), PATIENCE / 6) {
            Ok(committed) => break committed,
            Err(error) if started.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => {}
        }
    };
    for mut element in committed.elements().into_iter().filter(|element| element.offset() == Offset::Invalid) {
        element.set_offset(Offset::Beginning)?;
    }
    consumer.assign(&committed)?;
    Ok(consumer)
}

fn committed(consumer: &BaseConsumer) -> Result<Next> {
    let list = consumer.assignment()?;
    let at = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(next) => (element.partition(), next),
        _ => (element.partition(), 0),
    };
    Ok(list.elements().into_iter().map(at).collect())
}

fn producer(ground: &Ground, stage: &Stage) -> Result<BaseProducer> {
    let started = Instant::now();
    loop {
        let mut config = ground.client();
        config.set("transactional.id", &stage.application).set("linger.ms", "5");
        // Back soon after a cut: what is late meets the next transaction.
        config.set("reconnect.backoff.ms", "10").set("reconnect.backoff.max.ms", "200");
        config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
        let producer: BaseProducer = config.create()?;
        match producer.init_transactions(TRANSACTION_TIMEOUT) {
            Ok(()) => return Ok(producer),
            Err(error) if started.elapsed() > PATIENCE => return Err(Failure::from(error)),
            Err(_) => {}
        }
    }
}
