//! Changelog partitions through librdkafka, one at a time, because rdkafka's end-of-partition event names neither topic nor
//! offset.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::{ClientContext, Message as _};

use super::changelog::{Bounds, Changelogs, Seen, Show};
use super::consumer::KafkaFailure;
use super::settings::Settings;
use crate::error::FatalError;
use crate::position::{Offset, TopicPartition};

/// Two clients: what is committed, and where uncommitted records end.
pub(super) struct LibrdkafkaChangelogs {
    pub(super) committed: BaseConsumer<Quiet>,
    uncommitted: BaseConsumer<Quiet>,
}

/// The default would log each failed connection as an error, apart from the events that say who is away.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "headrace::kafka", %error, reason, "restore consumer");
    }
}

impl ConsumerContext for Quiet {}

impl LibrdkafkaChangelogs {
    /// Connects lazily.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub(super) fn new(settings: &Settings) -> Result<Self, FatalError> {
        let create = |config: &ClientConfig| {
            config
                .create_with_context(Quiet)
                .map_err(|error| FatalError::Config(format!("kafka.properties: restore consumer: {error}")))
        };
        let mut uncommitted = settings.reader("restore-bounds");
        uncommitted.set("isolation.level", "read_uncommitted");
        Ok(LibrdkafkaChangelogs { committed: create(&settings.reader("restore"))?, uncommitted: create(&uncommitted)? })
    }
}

impl Changelogs for LibrdkafkaChangelogs {
    fn serve(&self) {
        for client in [&self.committed, &self.uncommitted] {
            while client.poll(Duration::ZERO).is_some() {}
        }
    }

    fn committed_bounds(&self, at: &TopicPartition, patience: Duration) -> Result<Bounds, KafkaFailure> {
        let (start, end) = self.committed.fetch_watermarks(&at.topic, at.partition.0, patience)?;
        Ok(Bounds { start: Offset(start), end: Offset(end) })
    }

    fn high_watermark(&self, at: &TopicPartition, patience: Duration) -> Result<Offset, KafkaFailure> {
        Ok(Offset(self.uncommitted.fetch_watermarks(&at.topic, at.partition.0, patience)?.1))
    }

    fn begin(&self, at: &TopicPartition, from: Offset) -> Result<(), KafkaFailure> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&at.topic, at.partition.0, KafkaOffset::Offset(from.0))?;
        Ok(self.committed.assign(&list)?)
    }

    fn next(&self, wait: Duration, show: Show<'_>) -> Seen {
        match self.committed.poll(wait) {
            Some(Ok(message)) => {
                show(message.key(), message.payload(), Offset(message.offset()).next());
                Seen::Record
            }
            Some(Err(KafkaError::PartitionEOF(_))) => Seen::End,
            Some(Err(error)) if is_final(&error) => Seen::Failed(error.into()),
            Some(Err(error)) => {
                tracing::debug!(target: "headrace::kafka", %error, "restore consumer");
                Seen::Nothing
            }
            None => Seen::Nothing,
        }
    }

    fn end(&self) {
        if let Err(error) = self.committed.unassign() {
            tracing::debug!(target: "headrace::kafka", %error, "restore consumer");
        }
    }
}

/// Whether the offset to read from is not in the log.
pub(super) fn is_out_of_range(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(error.rdkafka_error_code(), Some(Code::OffsetOutOfRange | Code::AutoOffsetReset))
}

/// Whether waiting won't help.
pub(super) fn is_final(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::TopicAuthorizationFailed
                | Code::OffsetOutOfRange
                | Code::AutoOffsetReset
                | Code::Fatal
        )
    )
}
