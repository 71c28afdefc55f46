//! A small compacted topic on which each instance posts what the others should know, under its own name.
//!
//! One partition, read from its beginning by a client that is in no group: every instance sees every posting, in one order.
//! A posting replaces the one before; one without a value takes it away.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::consumer::KafkaFailure;
use super::librdkafka_changelogs::Quiet;
use super::settings::Settings;

/// What somebody has posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// Who.
    pub author: String,
    /// What; `None` takes back what was posted before.
    pub text: Option<Vec<u8>>,
}

/// One reader's and writer's place before the board.
pub struct Bulletin {
    topic: String,
    reader: BaseConsumer<Quiet>,
    writer: BaseProducer<Deliveries>,
}

/// Why the last posting did not arrive.
#[derive(Default)]
struct Deliveries(Mutex<Option<KafkaError>>);

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "headrace::kafka", %error, reason, "bulletin");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let failed = result.as_ref().err().map(|(error, _)| error.clone());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }
}

impl Bulletin {
    /// Reads from the beginning; connects lazily.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn open(settings: &Settings, topic: &str) -> Result<Self, KafkaFailure> {
        let reader = BaseConsumer::from_config_and_context(&settings.follower("instances-reader"), Quiet)?;
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(topic, 0, KafkaOffset::Beginning)?;
        reader.assign(&list)?;
        let writer = settings.writer("instances-writer");
        let writer = BaseProducer::from_config_and_context(&writer, Deliveries::default())?;
        Ok(Bulletin { topic: topic.to_owned(), reader, writer })
    }

    /// Posts, and waits until the broker has it.
    ///
    /// # Errors
    /// It has not arrived within `patience`, or the broker refuses it.
    pub fn post(&self, author: &str, text: Option<&[u8]>, patience: Duration) -> Result<(), KafkaFailure> {
        let mut record = BaseRecord::<str, [u8]>::to(&self.topic).partition(0).key(author);
        record.payload = text;
        self.writer.send(record).map_err(|(error, _)| error)?;
        self.writer.flush(patience)?;
        let failed = self.writer.context().0.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The next posting, waiting at most `wait`.
    pub fn next(&self, wait: Duration) -> Option<Posting> {
        match self.reader.poll(wait)? {
            Ok(record) => {
                let author = String::from_utf8_lossy(record.key()?).into_owned();
                Some(Posting { author, text: record.payload().map(<[u8]>::to_vec) })
            }
            Err(KafkaError::PartitionEOF(_)) => None,
            Err(error) => {
                tracing::debug!(target: "headrace::kafka", %error, "bulletin");
                None
            }
        }
    }
}
