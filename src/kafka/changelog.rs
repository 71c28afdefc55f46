//! Reads a changelog partition to its end: committed records only, in offset order. For the little that a task which is open
//! already may lack; restores read as [`super::restoring`] says.
//!
//! The end is told by the client (rule R-22): a consumer's position never passes control records, so comparing
//! it with the end offset would wait for ever on a transactional topic.

use std::time::Duration;

use super::consumer::KafkaFailure;
use super::librdkafka_changelogs::LibrdkafkaChangelogs;
use super::settings::Settings;
use crate::clock::Instant;
use crate::error::FatalError;
use crate::position::{Offset, TopicPartition};

/// How often `idle` is called while waiting.
const SLICE: Duration = Duration::from_millis(20);
/// Patience with one look-up at the broker.
const LOOKUP: Duration = Duration::from_secs(10);

/// Key, value and the offset after it, of a record that is shown where it is.
pub type Show<'a> = &'a mut dyn FnMut(Option<&[u8]>, Option<&[u8]>, Offset);

/// A client that reads one changelog partition at a time: librdkafka's, or that of a simulated cluster.
pub trait Changelogs: Send {
    /// Takes note of what the client has to say.
    fn serve(&self);

    /// What a committed reader can see of a partition now.
    ///
    /// # Errors
    /// The broker is away.
    fn committed_bounds(&self, at: &TopicPartition, patience: Duration) -> Result<Bounds, KafkaFailure>;

    /// The end for readers of uncommitted records.
    ///
    /// # Errors
    /// The broker is away.
    fn high_watermark(&self, at: &TopicPartition, patience: Duration) -> Result<Offset, KafkaFailure>;

    /// Begins to fetch one partition.
    ///
    /// # Errors
    /// The client refuses.
    fn begin(&self, at: &TopicPartition, from: Offset) -> Result<(), KafkaFailure>;

    /// Shows the next record, if there is one within `wait`, and says what it was.
    fn next(&self, wait: Duration, show: Show<'_>) -> Seen;

    /// Stops fetching; a failure changes nothing of what was read.
    fn end(&self);
}

/// What a look for the next record has found.
#[derive(Debug)]
pub enum Seen {
    /// A record; it was shown.
    Record,
    /// All of the partition has been read.
    End,
    /// The partition can't be read.
    Failed(KafkaFailure),
    /// Nothing yet.
    Nothing,
}

/// Reads changelog partitions, one after the other.
pub struct ChangelogReader(Box<dyn Changelogs>);

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
        Ok(Self::over(Box::new(LibrdkafkaChangelogs::new(settings)?)))
    }

    /// Reads through another client.
    pub fn over(client: Box<dyn Changelogs>) -> Self {
        ChangelogReader(client)
    }

    /// Takes note of what the clients have to say; while the cluster is away they gather an error for each try.
    pub fn serve(&self) {
        self.0.serve();
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
        let high = self.0.high_watermark(at, LOOKUP)?;
        loop {
            let bounds = self.0.committed_bounds(at, LOOKUP)?;
            if bounds.end >= high {
                return Ok(bounds);
            }
            if Instant::now() >= deadline {
                return Err(KafkaFailure(open_transaction(at, bounds.end, high)).into());
            }
            idle(SLICE)?;
        }
    }

    /// What a committed reader can see of a partition now, whatever is open there.
    ///
    /// # Errors
    /// The broker is away.
    pub fn bounds(&self, at: &TopicPartition) -> Result<Bounds, KafkaFailure> {
        self.0.committed_bounds(at, LOOKUP)
    }

    /// Whether no committed record lies between `from` and the end, only markers of transactions and what was aborted.
    ///
    /// # Errors
    /// The partition can't be read, or not within `patience`.
    pub fn is_empty(&self, at: &TopicPartition, from: Offset, patience: Duration) -> Result<bool, KafkaFailure> {
        self.0.begin(at, from)?;
        let deadline = Instant::now() + patience;
        let result = loop {
            match self.0.next(SLICE, &mut |_, _, _| {}) {
                Seen::Record => break Ok(false),
                Seen::End => break Ok(true),
                Seen::Failed(error) => break Err(error),
                Seen::Nothing if Instant::now() >= deadline => {
                    break Err(KafkaFailure(format!("{at}: no end in sight")));
                }
                Seen::Nothing => {}
            }
        };
        self.0.end();
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
        self.0.begin(at, from)?;
        let mut next = from;
        let mut last_idle = Instant::now();
        let result = loop {
            let mut applied = Ok(());
            let seen = self.0.next(SLICE, &mut |key, value, after| {
                next = after;
                applied = key.map_or(Ok(()), |key| apply(key, value, after));
            });
            if let Err(error) = applied {
                break Err(error);
            }
            match seen {
                Seen::End => break Ok(next),
                Seen::Failed(error) => break Err(error.into()),
                Seen::Record | Seen::Nothing => {}
            }
            if last_idle.elapsed() >= SLICE {
                last_idle = Instant::now();
                if let Err(stop) = idle(Duration::ZERO) {
                    break Err(stop);
                }
            }
        };
        self.0.end();
        result
    }
}

/// What to tell of a transaction that holds up a restore.
pub fn open_transaction(at: &TopicPartition, stable: Offset, high: Offset) -> String {
    format!(
        "{at}: a transaction is open from offset {stable} on (end {high}); if it outlives every transaction.timeout.ms it \
         hangs: kafka-transactions.sh find-hanging, then abort"
    )
}
