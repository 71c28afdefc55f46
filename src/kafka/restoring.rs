//! Changelog partitions as a restore reads them: natively several at a time, or through librdkafka one after the other.
//!
//! ```text
//!  begin(at) ─▶ Bounds: what there is ─▶ read(at, from) ─▶ Records, Records, … ─▶ End ─▶ stop(at)
//!                                                                                 └─ before `high`? a transaction is open:
//!                                                                                    what it leaves comes by itself
//! ```
//!
//! Whoever restores never waits for a broker in here: one that is away is tried again for ever, and told. Batches are checked
//! (CRC-32C) before anything of them is handed up.

use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;

use super::changelog::Bounds;
use super::fetching::Fetching;
use super::one_by_one::OneByOne;
use super::settings::Settings;
use crate::error::FatalError;
use crate::position::{Offset, TopicPartition};
use crate::wire::WireError;
use crate::wire::fetch::{Event, Fetcher, FetcherSettings, Portion, Unreadable};

/// How long a broker may wait for news: changelogs are mostly read to their end, where this is what it takes to see that.
const MAX_WAIT: Duration = Duration::from_millis(10);
/// The same for changelogs that are followed: a copy may be so far behind, and news come in larger pieces.
const FOLLOWED_WAIT: Duration = Duration::from_millis(250);
/// What a broker gathers meanwhile, at most.
const FOLLOWED_BYTES: usize = 64 << 10;
/// A partition may have so much of the memory: half of it is on its way while the other is read.
const SHARES: usize = 4;

/// Reads changelog partitions.
pub struct ChangelogFetcher(Source);

enum Source {
    Native { fetcher: Fetcher, application: String },
    Librdkafka(OneByOne),
}

/// What a poll found.
#[expect(clippy::large_enum_variant, reason = "a portion is moved once, and read in place")]
pub enum Found<'a> {
    /// What there is of a partition; [`read`](ChangelogFetcher::read) says where to begin.
    Bounds {
        /// Which.
        at: TopicPartition,
        /// First offset, and the end for a committed reader.
        bounds: Bounds,
    },
    /// Records of one partition.
    Records(Records<'a>),
    /// All that a committed reader can see has been handed out. If `next` is before `high`, a transaction is open between
    /// them; more comes when it has ended.
    End {
        /// Which.
        at: TopicPartition,
        /// The offset after all that was seen.
        next: Offset,
        /// The end for readers of uncommitted records.
        high: Offset,
    },
    /// The offset to read from is not in the log, or the topic was made anew: what is held is no copy of this changelog.
    Unfit {
        /// Which.
        at: TopicPartition,
    },
    /// The topic does not exist; it is waited for.
    Missing(String),
    /// A broker does not answer; it is tried again.
    Away(String),
    /// A human has to change something.
    Fatal(FatalError),
    /// Nothing within the wait.
    Idle,
}

impl ChangelogFetcher {
    /// Connects lazily. `buffer_bytes`: all fetched records that are held.
    ///
    /// # Errors
    /// A property can't be honoured, or the system gives no thread.
    pub fn start(
        settings: &Settings,
        thread: usize,
        fetching: Fetching,
        buffer_bytes: usize,
    ) -> Result<Self, FatalError> {
        if fetching == Fetching::Librdkafka {
            return Ok(ChangelogFetcher(Source::Librdkafka(OneByOne::new(settings, buffer_bytes)?)));
        }
        Self::native(settings, thread, buffer_bytes, FetcherSettings { max_wait: MAX_WAIT, ..Default::default() })
    }

    /// The same for changelogs that are read on and on, with patience (rule R-24).
    ///
    /// # Errors
    /// As [`start`](Self::start); librdkafka reads one changelog after the other, and follows none.
    pub fn follow(
        settings: &Settings,
        thread: usize,
        fetching: Fetching,
        buffer_bytes: usize,
    ) -> Result<Self, FatalError> {
        if fetching == Fetching::Librdkafka {
            let text = "processing.standbys: changelogs are followed by the native fetcher only; set processing.fetcher to \
                        \"native\", or no standbys";
            return Err(FatalError::Config(text.to_owned()));
        }
        let patient = FetcherSettings { max_wait: FOLLOWED_WAIT, min_bytes: FOLLOWED_BYTES, ..Default::default() };
        Self::native(settings, thread, buffer_bytes, patient)
    }

    fn native(
        settings: &Settings,
        thread: usize,
        buffer_bytes: usize,
        pace: FetcherSettings,
    ) -> Result<Self, FatalError> {
        let cluster = settings.wire(&format!("restore-{thread}"));
        let cluster = cluster.map_err(|error| FatalError::Config(format!("kafka.properties: {error}")))?;
        let own = FetcherSettings {
            max_bytes: settings.fetch_max_bytes.min(buffer_bytes / 2).max(1),
            partition_bytes: (buffer_bytes / SHARES).max(1),
            buffer_bytes,
            request_timeout: cluster.request_timeout,
            ..pace
        };
        let fetcher = Fetcher::start(&cluster, own).map_err(|error| FatalError::Other {
            context: "starting the fetcher of changelogs".to_owned(),
            source: error.into(),
        })?;
        Ok(ChangelogFetcher(Source::Native { fetcher, application: settings.application_id.clone() }))
    }

    /// Above a fetcher that is fed by hand ([`Fetcher::fed`]).
    pub fn over(fetcher: Fetcher) -> Self {
        ChangelogFetcher(Source::Native { fetcher, application: String::new() })
    }

    /// Asks what there is of a partition.
    pub fn begin(&mut self, at: &TopicPartition) {
        match &mut self.0 {
            Source::Native { fetcher, .. } => fetcher.assign_nowhere(at),
            Source::Librdkafka(reader) => reader.begin(at),
        }
    }

    /// Reads on from here.
    pub fn read(&mut self, at: &TopicPartition, from: Offset) {
        match &mut self.0 {
            Source::Native { fetcher, .. } => fetcher.seek(at, from),
            Source::Librdkafka(reader) => reader.read(at, from),
        }
    }

    /// Nothing of this partition is seen any more.
    pub fn stop(&mut self, at: &TopicPartition) {
        match &mut self.0 {
            Source::Native { fetcher, .. } => fetcher.unassign(at),
            Source::Librdkafka(reader) => reader.stop(at),
        }
    }

    /// The next find, waiting at most `wait`.
    pub fn poll(&mut self, wait: Duration) -> Found<'_> {
        match &mut self.0 {
            Source::Native { fetcher, application } => found(fetcher.poll(wait), application),
            Source::Librdkafka(reader) => reader.poll(wait),
        }
    }
}

fn found(event: Event, application: &str) -> Found<'static> {
    match event {
        Event::Records(portion) => Found::Records(Records(Kind::Portion(portion))),
        Event::End { at, position, high } => Found::End { at, next: position, high },
        Event::OutOfRange { at, position: None, start, end } => Found::Bounds { at, bounds: Bounds { start, end } },
        Event::OutOfRange { at, .. } | Event::Gone { at } => Found::Unfit { at },
        Event::Missing { at, reason } => Found::Missing(format!("{at}: {reason}")),
        Event::Unreadable(unreadable) => Found::Fatal(corrupt(&unreadable)),
        Event::Away(error) => Found::Away(error.to_string()),
        Event::Fatal(error) => Found::Fatal(fatal(error, application)),
        Event::Idle => Found::Idle,
    }
}

fn fatal(error: WireError, application: &str) -> FatalError {
    match error {
        WireError::NotAuthorised { .. } | WireError::Authentication { .. } => FatalError::Authorisation(format!(
            "restore: {error}; allow Read on the topics {application}-*-changelog to the application's user"
        )),
        error => FatalError::Other { context: "restoring".to_owned(), source: error.into() },
    }
}

/// A batch of a changelog that can't be read: a state without it would be wrong, so a human decides.
fn corrupt(unreadable: &Unreadable) -> FatalError {
    FatalError::Environment(format!(
        "{unreadable}: the changelog can't be restored from; have the partition's leader move to a replica that is whole, or \
         start where a state directory still holds this store; to lose what can't be read and all before it, delete these \
         records (kafka-delete-records.sh) and start again"
    ))
}

/// Records of one partition, in order.
pub struct Records<'a>(Kind<'a>);

#[expect(clippy::large_enum_variant, reason = "as Found")]
enum Kind<'a> {
    Portion(Portion),
    Message { message: BorrowedMessage<'a>, at: TopicPartition, given: bool },
}

impl<'a> Records<'a> {
    pub(super) fn one(message: BorrowedMessage<'a>, at: TopicPartition) -> Self {
        Records(Kind::Message { message, at, given: false })
    }

    /// The partition that they are of.
    pub fn at(&self) -> &TopicPartition {
        match &self.0 {
            Kind::Portion(portion) => portion.partition(),
            Kind::Message { at, .. } => at,
        }
    }

    /// The offset after the last record that was given.
    pub fn next(&self) -> Offset {
        match &self.0 {
            Kind::Portion(portion) => portion.position(),
            Kind::Message { message, .. } => Offset(message.offset()).next(),
        }
    }

    /// Key and value of the next record; one without a key is of nobody's store.
    ///
    /// # Errors
    /// What is there is damaged.
    #[expect(clippy::type_complexity, reason = "a pair of views")]
    pub fn next_record(&mut self) -> Option<Result<(Option<&[u8]>, Option<&[u8]>), FatalError>> {
        match &mut self.0 {
            Kind::Portion(portion) => Some(match portion.next_record()? {
                Ok(record) => Ok((record.key, record.value)),
                Err(unreadable) => Err(corrupt(&unreadable)),
            }),
            Kind::Message { given: true, .. } => None,
            Kind::Message { message, given, .. } => {
                *given = true;
                Some(Ok((message.key(), message.payload())))
            }
        }
    }
}
