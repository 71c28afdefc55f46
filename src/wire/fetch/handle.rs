//! The stream thread's end of the fetcher.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::Event;
use super::part::NOWHERE;
use super::settings::FetcherSettings;
use super::shared::{Shared, UNPLACED};
use crate::position::{Offset, TopicPartition};
use crate::wire::WireError;

/// How long dropping a fetcher waits for its thread.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// Fetches assigned partitions, each from a position on. All calls but [`poll`](Self::poll) return at once; what they ask
/// for holds from the next record on.
pub struct Fetcher {
    shared: Arc<Shared>,
    max_plain: usize,
    /// How long its drop waits for whoever answers.
    close_patience: Duration,
}

impl Fetcher {
    /// The end of an I/O thread that was started with the same `shared`.
    pub(super) fn new(shared: Arc<Shared>, settings: FetcherSettings) -> Self {
        Fetcher { shared, max_plain: settings.max_plain_bytes, close_patience: CLOSE_PATIENCE }
    }

    /// The same where nobody has to be waited for.
    pub(super) fn without_thread(shared: Arc<Shared>, settings: FetcherSettings) -> Self {
        Fetcher { shared, max_plain: settings.max_plain_bytes, close_patience: Duration::ZERO }
    }

    /// Begins to fetch a partition, from this offset on; one that is assigned already is sought there.
    pub fn assign(&self, at: &TopicPartition, position: Offset) {
        self.shared.assign(at, position.0);
    }

    /// Begins to fetch a partition from what the settings' group has committed, as soon as no transaction that is open may
    /// still change it (KIP-447). Where nothing is committed, [`Event::OutOfRange`] asks the owner. One that is assigned
    /// already begins anew.
    pub fn assign_committed(&self, at: &TopicPartition) {
        self.shared.assign(at, UNPLACED);
    }

    /// Takes a partition without a position: [`Event::OutOfRange`] tells what there is, and a [`seek`](Self::seek) begins.
    pub fn assign_nowhere(&self, at: &TopicPartition) {
        self.shared.assign(at, NOWHERE);
    }

    /// Gives a partition up; nothing of it is seen any more.
    pub fn unassign(&self, at: &TopicPartition) {
        self.shared.unassign(at);
    }

    /// Hands out nothing of a partition until it is resumed, and fetches no more of it. What was fetched is kept while there
    /// is room (rule R-4).
    pub fn pause(&self, at: &TopicPartition) {
        self.shared.pause(at, true);
    }

    /// Ends a pause.
    pub fn resume(&self, at: &TopicPartition) {
        self.shared.pause(at, false);
    }

    /// Goes on elsewhere. What was fetched before is never seen again, also by a [`Portion`](super::Portion) that is being
    /// read. A pause stays.
    pub fn seek(&self, at: &TopicPartition, position: Offset) {
        self.shared.seek(at, position.0);
    }

    /// The offset that is handed out next, past the markers of transactions (rule R-7); of records that are being read, the
    /// first. `None` of a partition that is not assigned, or whose committed position is not known yet.
    pub fn position(&self, at: &TopicPartition) -> Option<Offset> {
        self.shared.position(at)
    }

    /// The next event, waiting at most `wait`; partitions have their turns. Wakes as soon as something comes.
    pub fn poll(&self, wait: Duration) -> Event {
        let deadline = (!wait.is_zero()).then(|| Instant::now() + wait);
        match self.shared.take(deadline, self.max_plain) {
            Some(event) => event,
            None if self.shared.is_gone() => Event::Fatal(WireError::Closed {
                address: "fetcher".to_owned(),
                reason: "its I/O thread has ended".to_owned(),
            }),
            None => Event::Idle,
        }
    }

    /// Bytes of all answers that are held at the moment (rule R-4).
    pub fn held_bytes(&self) -> usize {
        self.shared.held.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for Fetcher {
    /// Ends the I/O thread; waits half a second at most.
    fn drop(&mut self) {
        self.shared.close();
        self.shared.join(Instant::now() + self.close_patience);
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fetcher({} bytes held)", self.held_bytes())
    }
}
