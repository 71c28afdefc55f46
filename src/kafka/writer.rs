//! Records of whoever asks over HTTP: written outside of any transaction, many at a time, and each is told its own end.
//!
//! ```text
//!  write ─▶ librdkafka's queue ─▶ batches ─▶ brokers (idempotent, acks=all)
//!    │ refused here                  │ delivery report: error and status     │ no report within the patience
//!    ▼                               ▼                                       ▼
//!  Failed                  Succeeded, Failed, Unknown                      Unknown
//! ```
//!
//! Who writes is told one of three things (rule W1). *Succeeded*: all in-sync replicas have it. *Failed*: it is certainly not there, nor
//! will it be. Everything else is *unknown*: a record whose time is over, or whose connection is gone, may have reached a broker.
//! A definite refusal alone does not prove that a record is not there: it is the answer to the last attempt, and one before
//! it may have been written while its answer was lost. librdkafka keeps that as the record's status, which is never taken back once it
//! is "possibly persisted"; [`verdict`] asks for both. What it makes of errors: `rd_kafka_handle_Produce_error` in its
//! `rdkafka_request.c`.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, bindings};
use tokio::sync::oneshot;

use super::consumer::KafkaFailure;
use super::settings::Settings;
use crate::position::{Offset, Partition};

/// Beyond the time that a record has, until librdkafka has told its end: it looks at times once a second.
const OVERTIME: Duration = Duration::from_secs(3);

/// What has become of a record (rule W1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is there, on all in-sync replicas.
    Succeeded {
        /// Where.
        partition: Partition,
        /// Where in it; none if the first answer was lost, and the brokers know it from its sequence number alone.
        offset: Option<Offset>,
    },
    /// It is certainly not there, and will not be.
    Failed(NotWritten),
    /// It may be there; why nobody knows. It may be written again, if who reads it knows it again.
    Unknown(String),
}

/// Why a record is certainly not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    /// As many records wait as may: it can be written a moment later.
    #[error("too many records wait to be written")]
    Full,
    /// It is larger than this application, or the topic, takes.
    #[error("it is larger than the topic takes ({0}); keep what is large elsewhere, and write where it is")]
    TooLarge(String),
    /// The brokers refuse it, and will until somebody changes something.
    #[error("{0}")]
    Refused(String),
}

/// Writes records, placed by their keys as Java places them. Clones are the same.
#[derive(Clone)]
pub struct Writer(Arc<Shared>);

struct Shared {
    config: ClientConfig,
    patience: Duration,
    /// Another one follows it when it can't go on (librdkafka's fatal errors).
    client: RwLock<Arc<Client>>,
}

type Client = ThreadedProducer<Reports>;
type Told = oneshot::Sender<Written>;

/// Hands each record's end to who waits for it.
struct Reports;

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "headrace::kafka", %error, reason, "writer");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Told>;

    fn delivery(&self, report: &DeliveryResult<'_>, told: Box<Told>) {
        let written = match report {
            Ok(message) => Written::Succeeded {
                partition: Partition(message.partition()),
                offset: Some(message.offset()).filter(|offset| *offset >= 0).map(Offset),
            },
            Err((error, message)) => verdict(error, may_be_there(message)),
        };
        // Who has asked may have gone.
        _ = told.send(written);
    }
}

/// Whether any attempt may have been written. rust-rdkafka does not show it; librdkafka's C interface does.
#[allow(unsafe_code)]
fn may_be_there(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the pointer is valid as long as `message` is borrowed, and the call only reads a field behind it.
    let status = unsafe { bindings::rd_kafka_message_status(message.ptr()) };
    status != bindings::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// What the end of a record means that was not acknowledged.
fn verdict(error: &KafkaError, may_be_there: bool) -> Written {
    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
    match (refusal(code), may_be_there) {
        (Some(not_written), false) => Written::Failed(not_written),
        // Also where its time was over before it was sent, as far as librdkafka knows: a time-out proves nothing (rule W1).
        _ => Written::Unknown(format!("{code}; it may be there all the same")),
    }
}

/// The answers by which an attempt was certainly not written. Those that are not here may come after a write (a time-out, a lost
/// connection, too few replicas after it), or say nothing of it.
fn refusal(code: Code) -> Option<NotWritten> {
    let change = |what: &str| Some(NotWritten::Refused(format!("{code}: {what}")));
    match code {
        Code::QueueFull => Some(NotWritten::Full),
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Some(NotWritten::TooLarge(code.to_string())),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            change("make the topic, by the command apply say")
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            change("give this application's principal the right Write on the topic")
        }
        Code::NotEnoughReplicas => change("the topic has fewer replicas in sync than its min.insync.replicas"),
        Code::InvalidRecord | Code::InvalidDifferentRecord | Code::InvalidTimestamp | Code::PolicyViolation => {
            change("the topic's settings do not allow the record, or one that was sent with it")
        }
        Code::InvalidMessage | Code::InvalidRequiredAcks | Code::UnsupportedForMessageFormat => {
            change("the brokers do not understand it")
        }
        Code::UnsupportedCompressionType => change("set another processing.compression"),
        _ => None,
    }
}

impl Writer {
    /// Connects lazily. `patience`: how long a record may take until it is acknowledged.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(settings: &Settings, patience: Duration) -> Result<Self, KafkaFailure> {
        let config = settings.asked(patience);
        let client = RwLock::new(Arc::new(Client::from_config_and_context(&config, Reports)?));
        Ok(Writer(Arc::new(Shared { config, patience, client })))
    }

    /// Writes a record. It is on its way when this returns, whether the answer is waited for or not: records of one key are there
    /// in the order of the calls. The answer comes within the patience and some seconds.
    pub fn write(&self, topic: &str, key: &[u8], value: &[u8]) -> impl Future<Output = Written> + Send + use<> {
        let (told, answer) = oneshot::channel();
        let refused = self.send(topic, key, value, Box::new(told));
        let patience = self.0.patience + OVERTIME;
        async move {
            if let Some(refused) = refused {
                return refused;
            }
            match tokio::time::timeout(patience, answer).await {
                Ok(Ok(written)) => written,
                Ok(Err(_)) => Written::Unknown("the producer ended with the record under way".to_owned()),
                Err(_) => Written::Unknown(format!("no word of it from the brokers for {patience:?}")),
            }
        }
    }

    /// Queues a record, or says why not: what is not queued is certainly not written.
    fn send(&self, topic: &str, key: &[u8], value: &[u8], told: Box<Told>) -> Option<Written> {
        let client = self.client();
        let record = |told| BaseRecord::<[u8], [u8], Box<Told>>::with_opaque_to(topic, told).key(key).payload(value);
        let (error, told) = match client.send(record(told)) {
            Ok(()) => return None,
            Err((error, record)) => (error, record.delivery_opaque),
        };
        let fatal = KafkaError::MessageProduction(Code::Fatal);
        let error = match error == fatal {
            true => self.followed(&client).send(record(told)).err().map(|(error, _)| error)?,
            false => error,
        };
        let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
        Some(Written::Failed(refusal(code).unwrap_or_else(|| NotWritten::Refused(error.to_string()))))
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.0.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The client after one that can't go on: it has lost count of what the brokers have. What it had under way is unknown.
    fn followed(&self, last: &Arc<Client>) -> Arc<Client> {
        let mut client = self.0.client.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&client, last) {
            let reason = last.client().fatal_error().map(|(_, reason)| reason).unwrap_or_default();
            tracing::warn!(target: "headrace::kafka", reason, "the writer of asked records begins anew");
            match Client::from_config_and_context(&self.0.config, Reports) {
                Ok(next) => *client = Arc::new(next),
                Err(error) => tracing::warn!(target: "headrace::kafka", %error, "the writer can't begin anew"),
            }
        }
        Arc::clone(&client)
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("patience", &self.0.patience).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: Code, may_be_there: bool) -> &'static str {
        match verdict(&KafkaError::MessageProduction(code), may_be_there) {
            Written::Succeeded { .. } => "succeeded",
            Written::Failed(NotWritten::Full) => "full",
            Written::Failed(NotWritten::TooLarge(_)) => "too large",
            Written::Failed(NotWritten::Refused(_)) => "refused",
            Written::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn w1_failed_is_only_what_is_certainly_not_written() {
        for (code, meaning) in [
            (Code::QueueFull, "full"),
            (Code::MessageSizeTooLarge, "too large"),
            (Code::MessageBatchTooLarge, "too large"),
            (Code::UnknownTopic, "refused"),
            (Code::UnknownPartition, "refused"),
            (Code::UnknownTopicOrPartition, "refused"),
            (Code::InvalidTopic, "refused"),
            (Code::TopicAuthorizationFailed, "refused"),
            (Code::ClusterAuthorizationFailed, "refused"),
            (Code::NotEnoughReplicas, "refused"),
            (Code::InvalidRecord, "refused"),
            (Code::InvalidDifferentRecord, "refused"),
            (Code::InvalidTimestamp, "refused"),
            (Code::PolicyViolation, "refused"),
            (Code::InvalidMessage, "refused"),
            (Code::UnsupportedCompressionType, "refused"),
            (Code::MessageTimedOut, "unknown"),
            (Code::OperationTimedOut, "unknown"),
            (Code::RequestTimedOut, "unknown"),
            (Code::BrokerTransportFailure, "unknown"),
            (Code::AllBrokersDown, "unknown"),
            (Code::NotEnoughReplicasAfterAppend, "unknown"),
            (Code::NotLeaderForPartition, "unknown"),
            (Code::KafkaStorageError, "unknown"),
            (Code::OutOfOrderSequenceNumber, "unknown"),
            (Code::UnknownProducerId, "unknown"),
            (Code::InvalidProducerEpoch, "unknown"),
            (Code::PurgeQueue, "unknown"),
            (Code::PurgeInflight, "unknown"),
            (Code::Fatal, "unknown"),
            (Code::Fail, "unknown"),
            (Code::Unknown, "unknown"),
        ] {
            assert_eq!(told(code, false), meaning, "{code:?}");
            assert_eq!(told(code, true), "unknown", "{code:?} of an attempt after one whose answer was lost");
        }
        assert!(matches!(verdict(&KafkaError::Canceled, false), Written::Unknown(_)));
    }

    /// A broker that nobody is at: what it is not told of is neither there nor known not to be.
    #[tokio::test]
    async fn w1_without_brokers_it_is_unknown_in_time_and_failed_where_it_is_known_here() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = Settings {
            bootstrap_servers: listener.local_addr().unwrap().to_string(),
            max_record_bytes: 1 << 20,
            ..super::super::settings::tests::settings(&[])
        };
        let writer = Writer::new(&settings, Duration::from_secs(1)).unwrap();
        let begun = std::time::Instant::now();
        let (under_way, large) = (writer.write("t", b"k", b"v"), writer.write("t", b"k", &vec![0; 2 << 20]));
        assert!(matches!(large.await, Written::Failed(NotWritten::TooLarge(_))));
        assert!(matches!(under_way.await, Written::Unknown(_)));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let all: Vec<_> = (0..30_000).map(|_| writer.write("t", b"k", b"v")).collect();
        let refused = all.into_iter().last().unwrap().await;
        assert_eq!(refused, Written::Failed(NotWritten::Full), "what waits is bounded");
    }
}
