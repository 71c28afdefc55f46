//! Reads a changelog partition to its end: committed records only, in offset order. For the little that a task which is open
//! already may lack; restores read as [`super::restoring`] says.
//!
//! The end is librdkafka's PARTITION_EOF (rule R-22): a consumer's position never passes control records, so comparing
//! it with the end offset would wait for ever on a transactional topic. One partition is read at a time, because
//! rdkafka's EOF event names neither topic nor offset.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::{ClientContext, Message as _};

use crate::error::FatalError;
use crate::position::{Offset, TopicPartition};

use super::consumer::KafkaFailure;
use super::settings::Settings;

/// How often `idle` is called while waiting.
const SLICE: Duration = Duration::from_millis(20);
/// Patience with one look-up at the broker.
const LOOKUP: Duration = Duration::from_secs(10);

/// Reads changelog partitions, one after the other.
pub struct ChangelogReader {
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

/// What a changelog partition holds for a committed reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// First offset that is still there.
    pub start: Offset,
    /// One past the last.
    pub end: Offset,
}

impl ChangelogReader {
    /// A reader of its own; connects lazily.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(settings: &Settings) -> Result<Self, FatalError> {
        let create = |config: &ClientConfig| {
            config
                .create_with_context(Quiet)
                .map_err(|error| FatalError::Config(format!("kafka.properties: restore consumer: {error}")))
        };
        let mut uncommitted = settings.reader("restore-bounds");
        uncommitted.set("isolation.level", "read_uncommitted");
        Ok(ChangelogReader { committed: create(&settings.reader("restore"))?, uncommitted: create(&uncommitted)? })
    }

    /// Takes note of what the clients have to say; while the cluster is away they gather an error for each try.
    pub fn serve(&self) {
        for client in [&self.committed, &self.uncommitted] {
            while client.poll(Duration::ZERO).is_some() {}
        }
    }

    /// Waits until no transaction is open in the partition and gives its bounds: what is read after that is all that
    /// was ever committed before this call.
    ///
    /// # Errors
    /// The broker is away, a foreign transaction stays open past the deadline, or `idle` wants to stop.
    pub fn settled_bounds<E: From<KafkaFailure>>(
        &self,
        at: &TopicPartition,
        deadline: Instant,
        mut idle: impl FnMut(Duration) -> Result<(), E>,
    ) -> Result<Bounds, E> {
        let high = self.high_watermark(at, LOOKUP)?;
        loop {
            let bounds = self.committed_bounds(at, LOOKUP)?;
            if bounds.end >= high {
                return Ok(bounds);
            }
            if Instant::now() >= deadline {
                return Err(KafkaFailure(open_transaction(at, bounds.end, high)).into());
            }
            idle(SLICE)?;
        }
    }

    /// What a committed reader can see of a partition now.
    pub(super) fn committed_bounds(&self, at: &TopicPartition, patience: Duration) -> Result<Bounds, KafkaFailure> {
        let (start, end) = self.committed.fetch_watermarks(&at.topic, at.partition.0, patience)?;
        Ok(Bounds { start: Offset(start), end: Offset(end) })
    }

    /// The end for readers of uncommitted records.
    pub(super) fn high_watermark(&self, at: &TopicPartition, patience: Duration) -> Result<Offset, KafkaFailure> {
        Ok(Offset(self.uncommitted.fetch_watermarks(&at.topic, at.partition.0, patience)?.1))
    }

    /// Whether no committed record lies between `from` and the end, only markers of transactions and what was aborted.
    ///
    /// # Errors
    /// The partition can't be read, or not within `patience`.
    pub fn is_empty(&self, at: &TopicPartition, from: Offset, patience: Duration) -> Result<bool, KafkaFailure> {
        self.assign(at, from)?;
        let deadline = Instant::now() + patience;
        let result = loop {
            match self.committed.poll(SLICE) {
                Some(Ok(_)) => break Ok(false),
                Some(Err(KafkaError::PartitionEOF(_))) => break Ok(true),
                Some(Err(error)) if is_final(&error) => break Err(error.into()),
                _ if Instant::now() >= deadline => break Err(KafkaFailure(format!("{at}: no end in sight"))),
                _ => {}
            }
        };
        self.unassign();
        result
    }

    /// Reads from `from` to the end, handing each record to `apply`, and gives the next offset. A broker that is away is
    /// waited for, for as long as `idle`, which is called all the while, lets it.
    ///
    /// # Errors
    /// The partition can't be read, `apply` fails, or `idle` wants to stop.
    pub fn read<E: From<KafkaFailure>>(
        &self,
        at: &TopicPartition,
        from: Offset,
        mut apply: impl FnMut(&[u8], Option<&[u8]>, Offset) -> Result<(), E>,
        mut idle: impl FnMut(Duration) -> Result<(), E>,
    ) -> Result<Offset, E> {
        self.assign(at, from)?;
        let mut next = from;
        let mut last_idle = Instant::now();
        let result = loop {
            match self.committed.poll(SLICE) {
                Some(Ok(message)) => {
                    next = Offset(message.offset()).next();
                    let applied = message.key().map_or(Ok(()), |key| apply(key, message.payload(), next));
                    if let Err(error) = applied {
                        break Err(error);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break Ok(next),
                Some(Err(error)) if is_final(&error) => break Err(KafkaFailure::from(error).into()),
                Some(Err(error)) => tracing::debug!(target: "headrace::kafka", %error, "restore consumer"),
                None => {}
            }
            if last_idle.elapsed() >= SLICE {
                last_idle = Instant::now();
                if let Err(stop) = idle(Duration::ZERO) {
                    break Err(stop);
                }
            }
        };
        self.unassign();
        result
    }

    /// Begins to fetch one partition.
    pub(super) fn assign(&self, at: &TopicPartition, from: Offset) -> Result<(), KafkaFailure> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition_offset(&at.topic, at.partition.0, KafkaOffset::Offset(from.0))?;
        Ok(self.committed.assign(&list)?)
    }

    /// Stops the fetcher; a failure changes nothing of what was read.
    pub(super) fn unassign(&self) {
        if let Err(error) = self.committed.unassign() {
            tracing::debug!(target: "headrace::kafka", %error, "restore consumer");
        }
    }
}

/// What to tell of a transaction that holds up a restore.
pub fn open_transaction(at: &TopicPartition, stable: Offset, high: Offset) -> String {
    format!(
        "{at}: a transaction is open from offset {stable} on (end {high}); if it outlives every transaction.timeout.ms it \
         hangs: kafka-transactions.sh find-hanging, then abort"
    )
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
