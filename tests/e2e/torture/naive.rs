//! The control arm: the consume-count-produce loop that everybody writes with librdkafka's transactions.
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

use crate::runtime::support::{Bench, PARTITIONS, PATIENCE, TRANSACTION_TIMEOUT, is_poison};

const COMMIT: Duration = Duration::from_millis(50);
/// Of one transaction, so that the input lasts for as many commits as in the other arm.
const RECORDS: u32 = 250;

/// Runs until it believes that all `numbers` are committed. The counts are in memory, and are counted anew from the output
/// after an abort.
pub(crate) fn run(bench: &Bench, numbers: u64) {
    let mut positions: BTreeMap<i32, i64> = BTreeMap::new();
    let mut consumer = consumer(bench);
    let mut producer = producer(bench);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    while positions.values().sum::<i64>() < i64::try_from(numbers).expect("few") {
        match transaction(bench, &consumer, &producer, &mut counts) {
            Ok(committed) => positions.extend(committed),
            Err(error) => {
                let fatal = matches!(&error, KafkaError::Transaction(inner) if inner.is_fatal());
                if fatal || producer.abort_transaction(TRANSACTION_TIMEOUT).is_err() {
                    producer = self::producer(bench);
                }
                consumer = self::consumer(bench);
                positions = committed(&consumer);
                counts = counted(bench);
            }
        }
    }
}

fn transaction(
    bench: &Bench,
    consumer: &BaseConsumer,
    producer: &BaseProducer,
    counts: &mut BTreeMap<String, u64>,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let started = Instant::now();
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    let mut records = 0;
    while started.elapsed() < COMMIT && records < RECORDS {
        let Some(polled) = consumer.poll(Duration::from_millis(10)) else { continue };
        let record = polled?;
        if next.is_empty() {
            producer.begin_transaction()?;
        }
        records += 1;
        next.insert(record.partition(), record.offset() + 1);
        let key = String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
        let value = String::from_utf8_lossy(record.payload().unwrap_or_default()).into_owned();
        let poison = value.starts_with("poison ");
        let text = if poison {
            value
        } else {
            let count = counts.entry(key.clone()).or_default();
            *count += 1;
            format!("{count} {value}")
        };
        let topic = if poison { bench.dead() } else { bench.output() };
        let sent = producer.send(BaseRecord::to(&topic).key(&key).payload(&text));
        sent.map_err(|(error, _)| error)?;
        producer.poll(Duration::ZERO);
    }
    if next.is_empty() {
        return Ok(next);
    }
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in &next {
        offsets.add_partition_offset(&bench.input(), *partition, Offset::Offset(*offset))?;
    }
    let group = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
    producer.send_offsets_to_transaction(&offsets, &group, TRANSACTION_TIMEOUT)?;
    producer.commit_transaction(TRANSACTION_TIMEOUT)?;
    Ok(next)
}

/// By hand, from the committed offsets: no rebalance blurs the picture.
fn consumer(bench: &Bench) -> BaseConsumer {
    let mut config = bench.client();
    config.set("group.id", &bench.application).set("isolation.level", "read_committed");
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().expect("consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&bench.input(), 0, PARTITIONS - 1);
    let committed = loop {
        if let Ok(committed) = consumer.committed_offsets(list.clone(), PATIENCE / 6) {
            break committed;
        }
    };
    for mut element in committed.elements().into_iter().filter(|element| element.offset() == Offset::Invalid) {
        element.set_offset(Offset::Beginning).expect("offset");
    }
    consumer.assign(&committed).expect("assign");
    consumer
}

fn committed(consumer: &BaseConsumer) -> BTreeMap<i32, i64> {
    let list = consumer.assignment().expect("assignment");
    let at = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(next) => (element.partition(), next),
        _ => (element.partition(), 0),
    };
    list.elements().into_iter().map(at).collect()
}

fn producer(bench: &Bench) -> BaseProducer {
    loop {
        let mut config = bench.client();
        config.set("transactional.id", &bench.application).set("linger.ms", "5");
        // Back soon after a cut: what is late meets the next transaction.
        config.set("reconnect.backoff.ms", "10").set("reconnect.backoff.max.ms", "200");
        config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
        let producer: BaseProducer = config.create().expect("producer");
        if producer.init_transactions(TRANSACTION_TIMEOUT).is_ok() {
            return producer;
        }
    }
}

fn counted(bench: &Bench) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in bench.read(&bench.output()) {
        *counts.entry(record.key).or_default() += 1;
    }
    counts
}

/// How many numbers are in the output more than once, and how many are not there.
pub(crate) fn doubled_and_lost(bench: &Bench, numbers: u64) -> (usize, usize) {
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    for record in bench.read(&bench.output()) {
        let value = record.value.unwrap_or_default();
        let number = value.split_once(' ').and_then(|(_, number)| number.parse().ok()).expect("ours");
        *seen.entry(number).or_default() += 1;
    }
    let good = || (0..numbers).filter(|number| !is_poison(*number));
    let lost = good().filter(|number| !seen.contains_key(number)).count();
    (seen.values().filter(|times| **times > 1).count(), lost)
}
