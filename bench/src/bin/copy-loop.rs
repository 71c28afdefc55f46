//! The limit of `stateful-count`: the same clients in a bare loop, each record copied within transactions; no store, no
//! codecs, no tasks. Told of a changelog, it also writes what a count's changelog takes: the key, and eight bytes.
//!
//! Its own binary, so that its memory and CPU are its own. Told by its environment what to copy; runs until it is ended.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headrace::kafka::{
    Event, Fetching, GroupConsumer, NativeProducer, Outgoing, ProduceError, Rebalance, Settings, TransactionalProducer,
};
use headrace::position::{Offset, TopicPartition};
use headrace::record::RawRecord;

type Failure = Box<dyn std::error::Error>;

/// As in the runtime: records between two looks at the clock.
const RECORDS_PER_TURN: usize = 2_000;
const POLL_WAIT: Duration = Duration::from_millis(20);
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);
/// As long as a count.
const CHANGELOG_VALUE: [u8; 8] = [0; 8];

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

/// What the open transaction has.
struct Copying {
    producer: Box<dyn TransactionalProducer>,
    copies: String,
    changelog: Option<String>,
    next: BTreeMap<i32, (TopicPartition, Offset)>,
    open: Option<Instant>,
}

impl Copying {
    fn copy(&mut self, record: &RawRecord<'_>) -> Result<(), ProduceError> {
        self.open.get_or_insert_with(Instant::now);
        let copy = Outgoing {
            topic: &self.copies,
            partition: Some(record.partition),
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            headers: record.headers,
            named: false,
            slot: None,
        };
        self.producer.append(copy)?;
        if let Some(changelog) = &self.changelog {
            self.producer.append(Outgoing { topic: changelog, value: Some(&CHANGELOG_VALUE), ..copy })?;
        }
        let at = self.next.entry(record.partition.0).or_insert_with(|| {
            let at = TopicPartition { topic: Arc::from(record.topic), partition: record.partition };
            (at, record.offset)
        });
        at.1 = record.offset.next();
        Ok(())
    }
}

fn run() -> Result<(), Failure> {
    let settings = settings()?;
    let (events, copies) = (variable("EVENTS")?, variable("COPIES")?);
    let interval = Duration::from_millis(variable("COMMIT_MS")?.parse()?);
    let consumer = GroupConsumer::subscribe(&settings, 0, &[&events], Fetching::Native)?;
    let changelog = std::env::var("COPY_CHANGELOG").ok();
    let mut copying = Copying { producer: producer(&settings)?, copies, changelog, next: BTreeMap::new(), open: None };
    copying.producer.initialise(Instant::now() + TRANSACTION_TIMEOUT)?;
    let mut sealed = false;
    loop {
        let mut copied = 0;
        while copied < RECORDS_PER_TURN {
            match consumer.poll(if copied == 0 { POLL_WAIT.min(interval) } else { Duration::ZERO }) {
                Event::Record(fetched) => {
                    copying.copy(&fetched.record())?;
                    copied += 1;
                }
                Event::Records(mut portion) => {
                    while copied < RECORDS_PER_TURN
                        && let Some(record) = portion.next_record()
                    {
                        copying.copy(&record?)?;
                        copied += 1;
                    }
                }
                Event::Rebalance(rebalance) => answer(&consumer, &rebalance)?,
                Event::Error(error) => return Err(format!("{error:?}").into()),
                Event::End(_) | Event::Idle => break,
            }
        }
        copying.producer.serve(Duration::ZERO)?;
        sealed = sealed && copying.producer.outcome(Duration::ZERO)?.is_none();
        if !sealed && copying.open.is_some_and(|since| since.elapsed() >= interval) {
            let positions: Vec<_> = copying.next.values().cloned().collect();
            let membership = consumer.membership().ok_or("no group membership")?;
            copying.producer.seal(&positions, Some(&membership))?;
            (copying.open, sealed) = (None, true);
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
        read_whole: Vec::new(),
        observer: Default::default(),
        calls: Default::default(),
        avoided: Default::default(),
    })
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(format!("COPY_{name}")).map_err(|_| format!("COPY_{name} is not set").into())
}
