//! The native producer behind the commit cycle's trait: transactions v2 (KIP-890), or plain batches for at-least-once.

use std::time::{Duration, Instant};

use crate::position::{Offset, TopicPartition};
use crate::wire::producer::{Producer, ProducerSettings};
use crate::wire::{Client, Codec, WireError, fetch};

use super::fetching;
use super::membership::Membership;
use super::settings::Settings;
use super::transaction::{Committed, Outgoing, ProduceError, TransactionalProducer};

/// Bytes of a Produce request around one record.
const REQUEST_OVERHEAD: usize = 8 << 10;

/// The producer of one stream thread, with an I/O thread of its own.
pub struct NativeProducer {
    producer: Producer,
    transactional: bool,
}

impl NativeProducer {
    /// A producer with this thread's transactional id; call [`initialise`](TransactionalProducer::initialise) next.
    ///
    /// # Errors
    /// A property can't be honoured, or the system gives no thread.
    pub fn transactional(settings: &Settings, thread: usize) -> Result<Self, ProduceError> {
        Self::start(settings, thread, Some(settings.transactional_id(thread)))
    }

    /// A producer without transactions, for at-least-once (rule R-29).
    ///
    /// # Errors
    /// As [`transactional`](Self::transactional).
    pub fn idempotent(settings: &Settings, thread: usize) -> Result<Self, ProduceError> {
        Self::start(settings, thread, None)
    }

    fn start(settings: &Settings, thread: usize, transactional_id: Option<String>) -> Result<Self, ProduceError> {
        let transactional = transactional_id.is_some();
        let cluster = settings.wire(&format!("producer-{thread}")).map_err(refused)?;
        let defaults = ProducerSettings::new(transactional_id);
        let own = ProducerSettings {
            transaction_timeout: settings.transaction_timeout,
            codec: codec(&settings.compression)?,
            // A batch must not be larger than what the topics take.
            batch_bytes: defaults.batch_bytes.min(settings.max_record_bytes),
            max_request_bytes: settings.max_record_bytes.max(defaults.max_request_bytes) + REQUEST_OVERHEAD,
            request_timeout: settings.transaction_timeout,
            delivery_timeout: 2 * settings.transaction_timeout,
            ..defaults
        };
        Ok(NativeProducer { producer: Producer::start(&cluster, own)?, transactional })
    }
}

impl TransactionalProducer for NativeProducer {
    fn initialise(&mut self, deadline: Instant) -> Result<(), ProduceError> {
        self.producer.initialise(deadline)
    }

    fn append(&mut self, record: Outgoing<'_>) -> Result<(), ProduceError> {
        self.producer.append(&record)
    }

    fn serve(&mut self, wait: Duration) -> Result<(), ProduceError> {
        self.producer.serve(wait)
    }

    fn seal(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        membership: Option<&Membership>,
    ) -> Result<(), ProduceError> {
        let positions = if self.transactional { positions } else { &[] };
        self.producer.seal(positions, membership.map(Membership::member))
    }

    fn outcome(&mut self, wait: Duration) -> Result<Option<Committed>, ProduceError> {
        self.producer.outcome(wait)
    }

    fn outdated(&self) -> Option<i32> {
        self.producer.outdated()
    }

    fn renew(&mut self, membership: &Membership) -> Result<(), ProduceError> {
        self.producer.renew(membership.member())
    }
}

/// What a cluster offers to the native clients.
#[derive(Debug, Clone)]
pub struct Offered {
    /// Transactions v2 (feature `transaction.version`, level 2 or more).
    pub transactions: bool,
    /// What the native fetcher asks for, or why it can't be had.
    pub fetching: Result<(), WireError>,
}

/// What the cluster offers to the native clients, with these settings.
///
/// # Errors
/// The cluster is away, or a property can't be honoured natively ([`WireError::Property`]).
pub async fn offered(settings: &Settings) -> Result<Offered, WireError> {
    let client = Client::new(settings.wire("features")?);
    let transactions = client.transaction_version().await? >= 2;
    let fetching = match fetching::refusal(settings) {
        Some(refusal) => Err(refusal),
        None => fetch::is_offered(&client).await?,
    };
    Ok(Offered { transactions, fetching })
}

fn refused(error: WireError) -> ProduceError {
    ProduceError::Fatal(format!("kafka.properties: {error}"))
}

fn codec(name: &str) -> Result<Codec, ProduceError> {
    Ok(match name {
        "none" => Codec::None,
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        other => return Err(ProduceError::Fatal(format!("processing.compression: there is no codec {other}"))),
    })
}
