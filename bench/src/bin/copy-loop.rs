//! The limit of `stateful-count`: the same clients in a bare loop, each record copied within transactions; no store, no
//! changelog, no codecs, no tasks.
//!
//! Its own binary, so that its memory and CPU are its own. Told by its environment what to copy; runs until it is ended.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headrace::kafka::{
    Event, GroupConsumer, NativeProducer, Outgoing, ProduceError, Rebalance, Settings, TransactionalProducer,
};
use headrace::position::{Offset, TopicPartition};

type Failure = Box<dyn std::error::Error>;

/// As in the runtime: records between two looks at the clock.
const RECORDS_PER_TURN: usize = 2_000;
const POLL_WAIT: Duration = Duration::from_millis(20);
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("copy-loop: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The producer that is measured.
fn producer(settings: &Settings) -> Result<Box<dyn TransactionalProducer>, ProduceError> {
    Ok(Box::new(NativeProducer::transactional(settings, 0)?))
}

fn run() -> Result<(), Failure> {
    let settings = settings()?;
    let (events, copies) = (variable("EVENTS")?, variable("COPIES")?);
    let interval = Duration::from_millis(variable("COMMIT_MS")?.parse()?);
    let consumer = GroupConsumer::subscribe(&settings, 0, &[&events])?;
    let mut producer = producer(&settings)?;
    producer.initialise(Instant::now() + TRANSACTION_TIMEOUT)?;
    let mut next: BTreeMap<i32, (TopicPartition, Offset)> = BTreeMap::new();
    let mut open: Option<Instant> = None;
    let mut sealed = false;
    loop {
        for turn in 0..RECORDS_PER_TURN {
            match consumer.poll(if turn == 0 { POLL_WAIT.min(interval) } else { Duration::ZERO }) {
                Event::Record(fetched) => {
                    let record = fetched.record();
                    open.get_or_insert_with(Instant::now);
                    producer.append(Outgoing {
                        topic: &copies,
                        partition: Some(record.partition),
                        key: record.key,
                        value: record.value,
                        timestamp: record.timestamp,
                        headers: record.headers,
                        slot: None,
                    })?;
                    let at = next.entry(record.partition.0).or_insert_with(|| {
                        let at = TopicPartition { topic: Arc::from(record.topic), partition: record.partition };
                        (at, record.offset)
                    });
                    at.1 = record.offset.next();
                }
                Event::Rebalance(rebalance) => answer(&consumer, &rebalance)?,
                Event::Error(error) => return Err(format!("{error:?}").into()),
                Event::End(_) | Event::Idle => break,
            }
        }
        producer.serve(Duration::ZERO)?;
        sealed = sealed && producer.outcome(Duration::ZERO)?.is_none();
        if !sealed && open.is_some_and(|since| since.elapsed() >= interval) {
            let positions: Vec<_> = next.values().cloned().collect();
            producer.seal(&positions, Some(&consumer.membership().ok_or("no group membership")?))?;
            (open, sealed) = (None, true);
        }
    }
}

fn answer(consumer: &GroupConsumer, rebalance: &Rebalance) -> Result<(), Failure> {
    consumer.answer(rebalance);
    if let Rebalance::Assigned(partitions) = rebalance {
        consumer.resume(partitions)?;
    }
    Ok(())
}

/// What the runtime would set by default.
fn settings() -> Result<Settings, Failure> {
    Ok(Settings {
        bootstrap_servers: variable("SERVERS")?,
        properties: Vec::new(),
        member_properties: Vec::new(),
        compression: variable("COMPRESSION")?,
        application_id: variable("APPLICATION")?,
        instance_id: "limit".into(),
        transaction_timeout: TRANSACTION_TIMEOUT,
        fetch_queue_bytes: 64 << 20,
        fetch_max_bytes: 16 << 20,
        partition_fetch_bytes: 1 << 20,
        max_record_bytes: 964 << 10,
        max_batch_bytes: None,
        co_partitioned: false,
        from_beginning: true,
        observer: Default::default(),
    })
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(format!("COPY_{name}")).map_err(|_| format!("COPY_{name} is not set").into())
}
