//! librdkafka's producer: transactions v1, or plain idempotent batches for at-least-once.
//!
//! Measured: most of the 100 ms that a commit through rust-rdkafka costs is `BaseProducer::flush`, which polls for a full
//! 100 ms even when the last delivery report comes at once. So this producer waits in slices of a millisecond and looks
//! at the queue's length in between. After any error it is thrown away and made anew: `init_transactions` of the new one
//! fences whatever of the old is still on its way (rule R-11), which transactions v1 can't do otherwise.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::util::Timeout;

use crate::position::{Offset, TopicPartition};
use crate::record::Headers;

use super::anew::Anew;
use super::calls::Calls;
use super::log;
use super::membership::Membership;
use super::settings::Settings;
use super::transaction::{Committed, Outgoing, ProduceError, Slot, TooLarge, TransactionalProducer};

/// How long one look for delivery reports lasts while waiting for all of them.
const FLUSH_SLICE: Duration = Duration::from_millis(1);
/// A commit that takes longer may have been sent twice (rule R-11).
const SUSPICIOUSLY_LONG: Duration = Duration::from_secs(2);
/// Patience with events that have come already.
const HEARING: Duration = Duration::from_millis(200);
/// The facility of librdkafka's log that tells of a failed connection.
const CONNECTION_FAILED: &str = "FAIL";
/// Patience with a look at which topics there are.
const LOOKUP: Duration = Duration::from_secs(2);
/// How long appending may wait for room in the client's queue.
const QUEUE_PATIENCE: Duration = Duration::from_secs(10);

/// Whether requests of a transaction may have been on a connection that failed: it was up, and not a bootstrap connection
/// that is given up because the broker has another by its name. What fails while it is being opened has carried nothing.
fn may_have_carried(failure: &str) -> bool {
    let was_up = failure.contains("in state UP") || failure.contains("in state REAUTH");
    was_up && !failure.contains("(_DESTROY_BROKER)")
}

#[derive(Default)]
struct Deliveries {
    /// The first one, with its topic.
    failed: Option<(KafkaError, String)>,
    /// The largest record of those that were refused as too large.
    too_large: Option<TooLarge>,
    /// Connections that failed since the producer was initialised.
    failures: u64,
    acknowledged: BTreeMap<Slot, i64>,
}

impl Deliveries {
    fn fail(&mut self, error: &KafkaError, record: &BorrowedMessage<'_>) {
        self.failed.get_or_insert_with(|| (error.clone(), record.topic().to_owned()));
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            let bytes = size(record);
            if self.too_large.as_ref().is_none_or(|known| known.bytes < bytes) {
                let (topic, reason) = (record.topic().to_owned(), format!("delivery: {error}"));
                self.too_large = Some(TooLarge { topic, bytes, alone: false, reason });
            }
        }
    }
}

/// Bytes of key, value and headers.
fn size(record: &BorrowedMessage<'_>) -> usize {
    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = headers.map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
    record.key_len() + record.payload_len() + headers.sum::<usize>()
}

#[derive(Default)]
struct DeliveryContext {
    deliveries: Mutex<Deliveries>,
    /// Topics that were made anew since the producer was.
    anew: Anew,
}

impl DeliveryContext {
    fn with<R>(&self, look: impl FnOnce(&mut Deliveries) -> R) -> R {
        look(&mut self.deliveries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for DeliveryContext {
    fn error(&self, error: KafkaError, reason: &str) {
        // What matters of it comes back from a call, or as a failed delivery, and is told once.
        tracing::debug!(target: "headrace::kafka", %error, reason, "producer");
    }

    /// The only place where librdkafka tells of every connection that failed, and before it sends a request again: error events
    /// are for some of them only, and warnings leave out the second of two equal ones within 30 s. It is heard when the client
    /// is polled.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.anew.look(facility, message);
        if facility == CONNECTION_FAILED && may_have_carried(message) {
            self.with(|deliveries| deliveries.failures += 1);
        }
        log::forward("producer", level, facility, message);
    }
}

impl ProducerContext for DeliveryContext {
    /// 0 for records that nobody asks about, slot + 1 for changelog records.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: usize) {
        match result {
            Ok(record) if slot > 0 => self.with(|deliveries| {
                let last = deliveries.acknowledged.entry(Slot(slot - 1)).or_insert(record.offset());
                *last = record.offset().max(*last);
            }),
            Ok(_) => {}
            Err((error, record)) => self.with(|deliveries| deliveries.fail(error, record)),
        }
    }
}

/// The producer of one stream thread.
pub struct LibrdkafkaProducer {
    client: BaseProducer<DeliveryContext>,
    transactional: bool,
    /// Topics that were appended to, and whether a record has named them.
    topics: Vec<(String, bool)>,
    /// Whether each batch has one record.
    one_by_one: bool,
    open: bool,
    /// How long the acknowledgements of a transaction may take.
    patience: Duration,
    /// The last transaction, until its outcome is asked for.
    sealed: Option<Committed>,
    calls: Calls,
    /// Why a request of a transaction that was committed may still be on its way.
    suspicion: Option<String>,
}

impl LibrdkafkaProducer {
    /// A producer with this thread's transactional id; call [`initialise`](TransactionalProducer::initialise) next.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn transactional(settings: &Settings, thread: usize) -> Result<Self, ProduceError> {
        Self::create(settings, &settings.transactional(thread), true)
    }

    /// A producer without transactions, for at-least-once (rule R-29).
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn idempotent(settings: &Settings, thread: usize) -> Result<Self, ProduceError> {
        Self::create(settings, &settings.idempotent(thread), false)
    }

    fn create(settings: &Settings, config: &rdkafka::ClientConfig, transactional: bool) -> Result<Self, ProduceError> {
        let client = config
            .create_with_context(DeliveryContext::default())
            .map_err(|error| ProduceError::Fatal(format!("producer: {error}")))?;
        Ok(LibrdkafkaProducer {
            client,
            transactional,
            topics: Vec::new(),
            one_by_one: settings.max_batch_bytes == Some(1),
            open: false,
            patience: settings.transaction_timeout,
            sealed: None,
            calls: settings.calls.clone(),
            suspicion: None,
        })
    }

    fn check_deliveries(&self) -> Result<(), ProduceError> {
        match self.client.context().with(|deliveries| (deliveries.failed.clone(), deliveries.too_large.clone())) {
            (None, _) => match self.client.context().anew.take() {
                // What the transaction had written there is gone, and the next record may belong to another partition.
                Some(topic) => Err(ProduceError::Abort(format!("produce: topic {topic} was deleted and made anew"))),
                None => Ok(()),
            },
            // All records of a batch share its fate, so that of several none is known to be the one.
            (Some(_), Some(refused)) => {
                Err(ProduceError::RecordTooLarge(TooLarge { alone: self.one_by_one, ..refused }))
            }
            (Some((error, topic)), None) => {
                Err(self.hinder(self.of_topic(&topic, &error, classify(&format!("delivery to {topic}"), &error))))
            }
        }
    }

    /// A topic that a record has named is itself to blame for what it refuses.
    fn of_topic(&self, topic: &str, error: &KafkaError, otherwise: ProduceError) -> ProduceError {
        use RDKafkaErrorCode as Code;
        let is_its_own = matches!(
            error.rdkafka_error_code(),
            Some(
                Code::TopicAuthorizationFailed
                    | Code::UnknownTopicOrPartition
                    | Code::UnknownTopic
                    | Code::InvalidTopic
                    | Code::InvalidTimestamp
                    | Code::PolicyViolation
                    | Code::InvalidRecord
            )
        );
        if is_its_own && self.topics.iter().any(|(name, named)| *named && name == topic) {
            return ProduceError::Unwritable { topic: topic.to_owned(), reason: otherwise.to_string() };
        }
        otherwise
    }

    fn hinder(&self, error: ProduceError) -> ProduceError {
        if let ProduceError::Abort(reason) = error { self.hindered(reason) } else { error }
    }

    /// Records were not delivered: maybe their topic is not there, or not ours to write to. When that is found out,
    /// librdkafka purges its queue, and what is told first may be a record of another topic.
    fn hindered(&self, reason: String) -> ProduceError {
        use RDKafkaErrorCode as Code;
        for (name, named) in &self.topics {
            // Topic by topic: where all are asked for, those that may not be seen are left out as if they were not there.
            let Ok(metadata) = self.client.client().fetch_metadata(Some(name), LOOKUP) else { break };
            let topic = metadata.topics().iter().find(|topic| topic.name() == name);
            match topic.and_then(|topic| topic.error()).map(Code::from) {
                Some(code @ (Code::TopicAuthorizationFailed | Code::UnknownTopicOrPartition | Code::UnknownTopic))
                    if *named =>
                {
                    let reason = format!("produce: topic {name}: {code}: {reason}");
                    return ProduceError::Unwritable { topic: name.clone(), reason };
                }
                Some(code @ Code::TopicAuthorizationFailed) => {
                    return classify(&format!("delivery to {name}"), &KafkaError::MessageProduction(code));
                }
                Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                    return ProduceError::Missing(format!("produce: topic {name} does not exist: {reason}"));
                }
                _ => {}
            }
        }
        ProduceError::Abort(reason)
    }

    /// Takes what librdkafka has told and nobody has polled for yet: a poll gives one event, the calls that end a transaction give
    /// none, and lines of the log wait among the events.
    fn hear(&self) {
        let begun = Instant::now();
        while self.client.in_flight_count() > 0 && begun.elapsed() < HEARING {
            self.client.poll(Duration::ZERO);
        }
    }

    fn flush(&mut self, deadline: Instant) -> Result<(), ProduceError> {
        while self.client.in_flight_count() > 0 {
            self.serve(FLUSH_SLICE)?;
            if Instant::now() >= deadline {
                let left = self.client.in_flight_count();
                return Err(self.hindered(format!("{left} records were not acknowledged in time")));
            }
        }
        self.check_deliveries()
    }

    fn offsets(&mut self, positions: &[(TopicPartition, Offset)], membership: &Membership) -> Result<(), ProduceError> {
        if positions.is_empty() {
            return Ok(());
        }
        let Some(metadata) = &membership.metadata else {
            return Err(ProduceError::Fatal("the membership is none of librdkafka's".to_owned()));
        };
        self.begin()?;
        let offsets = offset_list(positions)?;
        retrying("offsets", Instant::now() + Duration::from_secs(10), || {
            let _entered = self.calls.enter("send_offsets_to_transaction");
            self.client.send_offsets_to_transaction(&offsets, metadata, Duration::from_secs(10))
        })
    }

    fn end(&mut self) -> Result<(), ProduceError> {
        if self.transactional && self.open {
            // Only librdkafka's own retries: a commit that returns a retriable error is called again, no other.
            retrying("commit", Instant::now() + Duration::from_secs(30), || {
                let _entered = self.calls.enter("commit_transaction");
                self.client.commit_transaction(Timeout::After(Duration::from_secs(30)))
            })?;
        }
        self.open = false;
        Ok(())
    }

    fn begin(&mut self) -> Result<(), ProduceError> {
        if self.transactional && !self.open {
            self.client.begin_transaction().map_err(|error| classify("begin", &error))?;
        }
        self.open = true;
        Ok(())
    }
}

impl TransactionalProducer for LibrdkafkaProducer {
    fn initialise(&mut self, deadline: Instant) -> Result<(), ProduceError> {
        if !self.transactional {
            return Ok(());
        }
        retrying("init_transactions", deadline, || {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
            let _entered = self.calls.enter("init_transactions");
            self.client.init_transactions(left.min(Duration::from_secs(10)))
        })?;
        self.hear();
        // What failed until now has carried nothing of a transaction.
        self.client.context().with(|deliveries| deliveries.failures = 0);
        Ok(())
    }

    fn append(&mut self, record: Outgoing<'_>) -> Result<(), ProduceError> {
        self.begin()?;
        if !self.topics.iter().any(|(topic, _)| topic == record.topic) {
            self.topics.push((record.topic.to_owned(), record.named));
        }
        let mut base =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(record.topic, record.slot.map_or(0, |slot| slot.0 + 1));
        base.key = record.key;
        base.payload = record.value;
        base.partition = record.partition.map(|partition| partition.0);
        base.timestamp = Some(record.timestamp.0).filter(|&timestamp| timestamp >= 0);
        base.headers = (!record.headers.is_empty()).then(|| owned(record.headers));
        let deadline = Instant::now() + QUEUE_PATIENCE;
        loop {
            match self.client.send(base) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    base = back;
                    self.serve(FLUSH_SLICE)?;
                }
                // Larger than the client may send at all.
                Err((error @ KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                    return Err(ProduceError::RecordTooLarge(TooLarge {
                        topic: record.topic.to_owned(),
                        bytes: record.bytes(),
                        alone: true,
                        reason: format!("produce: {error}"),
                    }));
                }
                Err((error, _)) => {
                    let otherwise = classify(&format!("produce to {}", record.topic), &error);
                    return Err(self.hinder(self.of_topic(record.topic, &error, otherwise)));
                }
            }
        }
    }

    fn serve(&mut self, wait: Duration) -> Result<(), ProduceError> {
        self.client.poll(wait);
        self.check_deliveries()
    }

    /// All of it happens here: transactions v1 know one transaction at a time.
    fn seal(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        membership: Option<&Membership>,
    ) -> Result<(), ProduceError> {
        let mut committed = Committed::default();
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed();
        self.flush(Instant::now() + self.patience)?;
        committed.flush = lap();
        if let Some(membership) = membership {
            self.offsets(positions, membership)?;
            committed.offsets = lap();
        }
        self.end()?;
        committed.end = lap();
        self.hear();
        // Also one that failed before the commit: what enlists partitions may be on its way as well.
        if self.transactional && self.client.context().with(|deliveries| deliveries.failures) > 0 {
            self.suspicion = Some("a connection failed during a transaction".to_owned());
        } else if self.transactional && committed.offsets + committed.end >= SUSPICIOUSLY_LONG {
            self.suspicion = Some(format!("a commit took {:?}", committed.offsets + committed.end));
        }
        let acknowledged = self.client.context().with(|deliveries| std::mem::take(&mut deliveries.acknowledged));
        committed.next_offsets = acknowledged.into_iter().map(|(slot, last)| (slot, Offset(last).next())).collect();
        self.sealed = Some(committed);
        Ok(())
    }

    fn suspicion(&self) -> Option<&str> {
        self.suspicion.as_deref()
    }

    fn outcome(&mut self, _wait: Duration) -> Result<Option<Committed>, ProduceError> {
        Ok(self.sealed.take())
    }
}

/// Positions as librdkafka wants them.
pub(super) fn offset_list(positions: &[(TopicPartition, Offset)]) -> Result<TopicPartitionList, ProduceError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for (at, next) in positions {
        list.add_partition_offset(&at.topic, at.partition.0, KafkaOffset::Offset(next.0))
            .map_err(|error| ProduceError::Abort(format!("{at}: {error}")))?;
    }
    Ok(list)
}

fn owned(headers: &Headers) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.0.len()), |owned, header| {
        owned.insert(Header { key: &header.name, value: header.value.as_deref() })
    })
}

/// Calls again what librdkafka says may be called again (rule R-9).
fn retrying(
    step: &str,
    deadline: Instant,
    mut call: impl FnMut() -> Result<(), KafkaError>,
) -> Result<(), ProduceError> {
    loop {
        match call() {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {
                tracing::debug!(target: "headrace::kafka", step, error = error.string(), "retriable");
            }
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {
                return Err(ProduceError::Again(format!("{step}: {}", error.string())));
            }
            Err(error) => return Err(classify(step, &error)),
        }
    }
}

/// What to allow to the application's user.
fn way_out(code: Option<RDKafkaErrorCode>) -> &'static str {
    use RDKafkaErrorCode as Code;
    match code {
        Some(Code::TopicAuthorizationFailed) => "; allow Write on the topic to the application's user",
        Some(Code::GroupAuthorizationFailed) => "; allow Read on the group to the application's user",
        Some(Code::TransactionalIdAuthorizationFailed) => {
            "; allow Write on the transactional id to the application's user"
        }
        _ => "",
    }
}

fn classify(step: &str, error: &KafkaError) -> ProduceError {
    let way_out = way_out(error.rdkafka_error_code());
    let text = match error {
        KafkaError::Transaction(inner) => format!("{step}: {}{way_out}", inner.string()),
        other => format!("{step}: {other}{way_out}"),
    };
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(
            Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::FencedInstanceId
            | Code::IllegalGeneration
            | Code::UnknownMemberId,
        ) => ProduceError::Fenced(text),
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication,
        ) => ProduceError::Denied(text),
        Some(Code::UnsupportedVersion | Code::InvalidTransactionTimeout) => ProduceError::Fatal(text),
        _ => ProduceError::Abort(text),
    }
}
