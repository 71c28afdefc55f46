//! Fills the changelogs, each arm's with the same bytes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use headrace::record::{Headers, Timestamp};
use headrace::wire::Settings;
use headrace::wire::producer::{Outgoing, Producer, ProducerSettings};

use super::contents::Contents;
use crate::Failure;

const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);
static NO_HEADERS: Headers = Headers::new();

/// A record of 1970 would be gone by the topic's retention before it is read.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Records of one transaction.
const RECORDS_PER_COMMIT: u64 = 100_000;
/// While it loads, batches should be full: with hundreds of partitions small ones would take minutes.
const LOAD_LINGER: Duration = Duration::from_millis(500);

/// A producer to topics, by their keys.
pub(crate) struct Writer(Producer);

impl Writer {
    /// At-least-once: in the topic offsets count records and nothing else.
    pub(crate) fn start(servers: &str) -> Result<Self, Failure> {
        Self::with(servers, ProducerSettings::new(None))
    }

    fn loading(servers: &str) -> Result<Self, Failure> {
        let settings = ProducerSettings::new(Some("load".to_owned()));
        let (transaction_timeout, delivery_timeout) = (PATIENCE, PATIENCE);
        Self::with(servers, ProducerSettings { linger: LOAD_LINGER, transaction_timeout, delivery_timeout, ..settings })
    }

    fn with(servers: &str, settings: ProducerSettings) -> Result<Self, Failure> {
        let mut producer = Producer::start(&Settings::new(servers, [])?, settings)?;
        producer.initialise(Instant::now() + PATIENCE)?;
        Ok(Writer(producer))
    }

    /// The partition is the one that Kafka Streams' own producer would take.
    pub(crate) fn write(&mut self, topic: &str, key: &[u8], value: Option<&[u8]>) -> Result<(), Failure> {
        Ok(self.0.append(&Outgoing {
            topic,
            partition: None,
            key: Some(key),
            value,
            timestamp: now(),
            headers: &NO_HEADERS,
            named: false,
            slot: None,
        })?)
    }

    /// Sends what waits, without waiting for an answer.
    pub(crate) fn serve(&mut self) -> Result<(), Failure> {
        Ok(self.0.serve(Duration::ZERO)?)
    }

    /// Waits until all is acknowledged.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.seal(&[], None)?;
        let deadline = Instant::now() + PATIENCE;
        while self.0.outcome(LOOK)?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("not acknowledged within {PATIENCE:?}").into());
            }
        }
        Ok(())
    }
}

/// Writes the whole of the contents to each of the changelogs, in transactions, as an application writes them.
pub(crate) fn load(servers: &str, contents: Contents, changelogs: &[String]) -> Result<(), Failure> {
    let (mut writer, mut written) = (Writer::loading(servers)?, 0_u64);
    contents.visit(|key, value| {
        written += changelogs.len() as u64;
        changelogs.iter().try_for_each(|topic| writer.write(topic, key.as_bytes(), value))?;
        if written < RECORDS_PER_COMMIT {
            return Ok(());
        }
        written = 0;
        writer.flush()
    })?;
    writer.flush()
}
