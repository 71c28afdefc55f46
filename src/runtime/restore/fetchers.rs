//! Who reads for a restore thread: one for what is to come to an end, another for what is followed.
//!
//! Apart, because a follower may wait for news (a fetch each 10 ms for ever would be a load for nothing), and a promotion must
//! not wait behind that.

use crate::error::FatalError;
use crate::kafka::ChangelogFetcher;
use crate::position::{Offset, TopicPartition};

use super::super::options::Options;

/// The part of the fetched bytes that followed changelogs have, where there are standbys.
const FOLLOWED_PART: usize = 4;

/// A restore thread's fetchers.
pub(super) struct Fetchers {
    pub(super) restored: ChangelogFetcher,
    /// `None` without standbys.
    pub(super) followed: Option<ChangelogFetcher>,
}

impl Fetchers {
    /// `bytes`: all fetched records that are held.
    pub(super) fn start(options: &Options, thread: usize, bytes: usize) -> Result<Self, FatalError> {
        if let Some(cluster) = &options.simulated {
            return Ok(Fetchers { restored: cluster.changelogs(thread), followed: None });
        }
        let kafka = &options.kafka;
        let for_followed = if options.standbys > 0 { bytes / FOLLOWED_PART } else { 0 };
        let fetching = options.clients.fetcher.fetching();
        let restored = ChangelogFetcher::start(kafka, thread, fetching, bytes - for_followed)?;
        let followed = match for_followed {
            0 => None,
            bytes => Some(ChangelogFetcher::follow(kafka, thread, fetching, bytes)?),
        };
        Ok(Fetchers { restored, followed })
    }

    pub(super) fn begin(&mut self, at: &TopicPartition) {
        self.restored.begin(at);
    }

    pub(super) fn read(&mut self, at: &TopicPartition, from: Offset) {
        self.restored.read(at, from);
    }

    /// Nothing of it is seen any more, of either.
    pub(super) fn stop(&mut self, at: &TopicPartition) {
        self.restored.stop(at);
        if let Some(followed) = &mut self.followed {
            followed.stop(at);
        }
    }
}
