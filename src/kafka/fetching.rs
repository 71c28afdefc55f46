//! Who fetches: librdkafka, or the native fetcher beside it.
//!
//! ```text
//!  rdkafka   librdkafka is the group's member, and fetches
//!  native    librdkafka is the group's member, with its partitions paused for ever; wire::fetch fetches them
//! ```
//!
//! The native one hands up whole batches instead of records, begins at stable positions that it asks the coordinator for
//! itself, notices a topic that was made anew by its id, and knows where the markers of transactions end.

use std::time::Duration;

use super::event::{ConsumerError, Event};
use super::settings::Settings;
use crate::error::FatalError;
use crate::position::{Offset, TopicPartition};
use crate::wire::WireError;
use crate::wire::fetch::{self, Fetcher, FetcherSettings, Unreadable};

/// Properties of librdkafka's that the native fetcher would have to disregard, with the reason.
const REFUSED: [(&str, &str); 1] = [("client.rack", "the native fetcher reads from leaders only (KIP-392)")];

/// Who fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetching {
    /// librdkafka.
    Librdkafka,
    /// [`crate::wire::fetch`].
    Native,
}

/// The native fetcher of one stream thread, as the group's consumer uses it.
pub struct NativeFetching {
    fetcher: Fetcher,
    /// Say where a partition without a position in its log is read from.
    settings: Settings,
    rights: String,
}

impl NativeFetching {
    pub(super) fn start(settings: &Settings, thread: usize, rights: &str) -> Result<Self, FatalError> {
        let refused = |error: &dyn std::fmt::Display| FatalError::Config(format!("kafka.properties: {error}"));
        let cluster = settings.wire(&format!("consumer-{thread}")).map_err(|error| refused(&error))?;
        let defaults = FetcherSettings::default();
        let number = |name: &str, default: usize| match settings.property(name) {
            Some(text) => text.parse().map_err(|_| refused(&format!("{name}: \"{text}\" is not a number"))),
            None => Ok(default),
        };
        let max_wait = number("fetch.wait.max.ms", defaults.max_wait.as_millis() as usize)?;
        let own = FetcherSettings {
            max_wait: Duration::from_millis(max_wait as u64),
            min_bytes: number("fetch.min.bytes", defaults.min_bytes)?,
            max_bytes: settings.fetch_max_bytes,
            partition_bytes: settings.partition_fetch_bytes,
            buffer_bytes: settings.fetch_queue_bytes,
            request_timeout: cluster.request_timeout,
            group: Some(settings.application_id.clone()),
            ..defaults
        };
        let fetcher = Fetcher::start(&cluster, own);
        let fetcher = fetcher
            .map_err(|error| FatalError::Other { context: "starting the fetcher".to_owned(), source: error.into() })?;
        Ok(NativeFetching { fetcher, settings: settings.clone(), rights: rights.to_owned() })
    }

    /// The same above a fetcher that is fed by hand ([`Fetcher::fed`]).
    pub fn over(fetcher: Fetcher, settings: Settings) -> Self {
        NativeFetching { fetcher, settings, rights: String::new() }
    }

    /// Takes partitions, paused; each begins at what the group has committed.
    pub fn assign(&self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.fetcher.assign_committed(at);
            self.fetcher.pause(at);
        }
    }

    /// Gives partitions up.
    pub fn unassign(&self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|at| self.fetcher.unassign(at));
    }

    /// Hands out nothing of these.
    pub fn pause(&self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|at| self.fetcher.pause(at));
    }

    /// Ends a pause.
    pub fn resume(&self, partitions: &[TopicPartition]) {
        partitions.iter().for_each(|at| self.fetcher.resume(at));
    }

    /// Goes on elsewhere; what was fetched before is void.
    pub fn seek(&self, positions: &[(TopicPartition, Offset)]) {
        positions.iter().for_each(|(at, next)| self.fetcher.seek(at, *next));
    }

    /// The offset that is handed out next, past the markers of transactions.
    pub fn position(&self, at: &TopicPartition) -> Option<Offset> {
        self.fetcher.position(at)
    }

    /// The next event, waiting at most `wait`.
    pub fn poll(&self, wait: Duration) -> Event<'static> {
        loop {
            return match self.fetcher.poll(wait) {
                fetch::Event::Records(portion) => Event::Records(portion),
                fetch::Event::End { at, .. } => Event::End(at.partition),
                fetch::Event::OutOfRange { at, position, start, end } => {
                    let resumed = if self.settings.starts_at_beginning(&at.topic) { start } else { end };
                    self.fetcher.seek(&at, resumed);
                    match position {
                        // A new group begins: nothing is skipped that it had a right to.
                        None => continue,
                        Some(position) => Event::Error(ConsumerError::OutOfRange { at, position, resumed }),
                    }
                }
                fetch::Event::Missing { at, reason } => {
                    Event::Error(ConsumerError::MissingTopic(format!("{at}: {reason}")))
                }
                fetch::Event::Gone { at } => Event::Error(ConsumerError::MadeAnew(at.topic.to_string())),
                fetch::Event::Unreadable(unreadable) => Event::Error(ConsumerError::Fatal(corrupt(&unreadable))),
                fetch::Event::Away(error) => Event::Error(ConsumerError::Away(error.to_string())),
                fetch::Event::Fatal(error) => Event::Error(ConsumerError::Fatal(self.fatal(error))),
                fetch::Event::Idle => Event::Idle,
            };
        }
    }

    fn fatal(&self, error: WireError) -> FatalError {
        match error {
            WireError::NotAuthorised { .. } | WireError::Authentication { .. } => {
                FatalError::Authorisation(format!("consumer: {error}; allow {} to the application's user", self.rights))
            }
            error => FatalError::Other { context: "the consumer".to_owned(), source: error.into() },
        }
    }
}

/// Why the native fetcher can't be used with these properties; none if it can.
pub(super) fn refusal(settings: &Settings) -> Option<WireError> {
    let (property, reason) = REFUSED.into_iter().find(|(name, _)| settings.property(name).is_some())?;
    Some(WireError::Property { property: property.to_owned(), reason: reason.to_owned() })
}

/// A batch that can't be read: going on would lose it, so a human decides.
pub fn corrupt(unreadable: &Unreadable) -> FatalError {
    FatalError::Environment(format!(
        "{unreadable}; have the partition's leader move to a replica that is whole, or, to lose what can't be read, stop \
         the application and set the group's position behind it (kafka-consumer-groups.sh --reset-offsets)"
    ))
}
