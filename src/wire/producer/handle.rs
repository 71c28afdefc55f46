//! The stream thread's end of the producer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::ProduceError;
use super::open::Topics;
use super::settings::ProducerSettings;
use super::shared::{Command, Committed, Handed, Member, Partitions, Seal, Shared, Slot};
use super::too_large::TooLarge;
use crate::partitioner::partition_of;
use crate::position::{Offset, Partition, TopicPartition};
use crate::record::{Headers, Timestamp};
use crate::wire::batch::{Entry, HEADER, Open, largest_size};

/// Bytes of a Produce request around one batch: names, lengths, tags. A topic's name has at most 249 bytes.
const REQUEST_OVERHEAD: usize = 1024;
/// How long dropping a producer waits for its thread, which goes on to abort what is open for a little longer.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// A record on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Whether the record itself has named it: if nothing can be written there, that is [`ProduceError::Unwritable`], soon, and never
    /// the end of the application. The first record to a topic says so for all.
    pub named: bool,
    /// Partition; `None` leaves it to murmur2 over the key, or to chance if there is no key.
    pub partition: Option<Partition>,
    /// Key bytes; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is null.
    pub value: Option<&'a [u8]>,
    /// Event time; a negative one is replaced by now.
    pub timestamp: Timestamp,
    /// Headers.
    pub headers: &'a Headers,
    /// Set on changelog records: the partition's next offset is told in [`Committed`].
    pub slot: Option<Slot>,
}

impl Outgoing<'_> {
    /// Bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + self.headers.bytes()
    }
}

/// Produces records and commits them together with input positions, or not at all. Used from one thread.
pub struct Producer {
    shared: Arc<Shared>,
    settings: ProducerSettings,
    topics: Topics,
    topics_version: u64,
    /// Lanes with an open batch.
    dirty: Vec<(usize, usize)>,
    dirty_since: Option<Instant>,
    /// Whether this transaction has handed anything over.
    begun: bool,
    sealed: bool,
    /// The outcome of a transaction with nothing in it.
    nothing: bool,
    initialising: bool,
}

impl Producer {
    /// The end of an I/O thread that was started with the same `shared`.
    pub(super) fn new(shared: Arc<Shared>, settings: ProducerSettings) -> Self {
        Producer {
            shared,
            settings,
            topics: Topics::default(),
            topics_version: 0,
            dirty: Vec::new(),
            dirty_since: None,
            begun: false,
            sealed: false,
            nothing: false,
            initialising: false,
        }
    }

    /// Takes over the transactional id: fences its last owner, and aborts what that or this producer has left open. What
    /// was appended before is gone.
    ///
    /// # Errors
    /// [`ProduceError::Again`] at the deadline, with what is in the way: the same call goes on. Others end it.
    pub fn initialise(&mut self, deadline: Instant) -> Result<(), ProduceError> {
        if !self.initialising {
            for (topic, lane) in self.dirty.drain(..) {
                self.topics.all[topic].lanes[lane].open = None;
            }
            (self.dirty_since, self.begun, self.sealed, self.nothing) = (None, false, false, false);
            self.initialising = true;
            self.shared.reset();
            self.shared.wake.notify_one();
        }
        let mut state = self.shared.lock();
        loop {
            if state.gone {
                return Err(ProduceError::Fatal("the producer's I/O thread has ended".to_owned()));
            }
            if let Some(error) = state.failure.clone() {
                self.initialising = false;
                return Err(error);
            }
            if state.initialised {
                self.initialising = false;
                return Ok(());
            }
            let (next, in_time) = self.shared.wait(state, deadline);
            state = next;
            if !in_time {
                let hindrance = state.hindrance.clone().unwrap_or_else(|| "no answer yet".to_owned());
                return Err(ProduceError::Again(format!("initialise: {hindrance}")));
            }
        }
    }

    /// Appends a record to the transaction, which begins with its first one (rule R-8). Waits only when too many bytes
    /// are not acknowledged, or when the topic is new.
    ///
    /// # Errors
    /// [`ProduceError::RecordTooLarge`] concerns this record alone: it was not appended. Others end the transaction.
    #[inline]
    pub fn append(&mut self, record: &Outgoing<'_>) -> Result<(), ProduceError> {
        if self.shared.has_failed() {
            return Err(self.failure());
        }
        let timestamp = if record.timestamp.0 < 0 { now() } else { record.timestamp };
        let entry = Entry { key: record.key, value: record.value, timestamp, headers: record.headers };
        let size = largest_size(&entry);
        if size + HEADER + REQUEST_OVERHEAD > self.settings.max_request_bytes {
            return Err(self.too_large(record, size));
        }
        let topic = match self.topics.find(record.topic) {
            Some(topic) if !self.topics.all[topic].lanes.is_empty() => topic,
            found => self.learn(record, found)?,
        };
        let known = &self.topics.all[topic];
        let lane = match (record.partition, record.key) {
            (Some(partition), _) => usize::try_from(partition.0).unwrap_or(usize::MAX),
            (None, Some(key)) => {
                let partitions = i32::try_from(known.lanes.len()).unwrap_or(i32::MAX);
                usize::try_from(partition_of(key, partitions).0).unwrap_or(0)
            }
            (None, None) => known.sticky,
        };
        if lane >= known.lanes.len() {
            self.grow(topic, lane)?;
        }
        let full = self.settings.batch_bytes.saturating_sub(size);
        let open = self.topics.all[topic].lanes[lane].open.as_ref();
        if open.is_some_and(|open| open.bytes() > full && !open.is_empty()) {
            self.hand_over(topic, lane)?;
        }
        if self.topics.all[topic].lanes[lane].open.is_none() {
            self.open(topic, lane);
        }
        let target = &mut self.topics.all[topic].lanes[lane];
        if record.slot.is_some() {
            target.slot = record.slot;
        }
        if let Some(open) = &mut target.open {
            open.append(&entry);
        }
        Ok(())
    }

    /// Hands over what has lingered, and looks for news for at most `wait`.
    ///
    /// # Errors
    /// What has happened to the transaction on the wire (rule N-6).
    pub fn serve(&mut self, wait: Duration) -> Result<(), ProduceError> {
        if self.shared.has_failed() {
            return Err(self.failure());
        }
        let deadline = Instant::now() + wait;
        loop {
            let lingered = self.dirty_since.map(|since| since + self.settings.linger);
            if lingered.is_some_and(|due| due <= Instant::now()) {
                self.hand_over_all()?;
            }
            if wait.is_zero() {
                return Ok(());
            }
            let state = self.shared.lock();
            let due = lingered.filter(|_| self.dirty_since.is_some()).map_or(deadline, |due| due.min(deadline));
            let (state, in_time) = self.shared.wait(state, due);
            if let Some(error) = state.failure.clone() {
                return Err(error);
            }
            if in_time || due >= deadline {
                return Ok(());
            }
        }
    }

    /// Hands over the open batches and asks for the end of the transaction: when all is acknowledged, the positions go
    /// into it, and it is committed. Returns at once; what is appended from now on belongs to the next one (rule N-5).
    /// A producer without a transactional id takes no positions: its outcome says that all is acknowledged.
    ///
    /// # Errors
    /// [`ProduceError::Fenced`] without a generation or a member id: the broker would accept them from a zombie (rule
    /// N-4). [`ProduceError::Again`] while the outcome of the transaction before has not been taken.
    pub fn seal(
        &mut self,
        positions: &[(TopicPartition, Offset)],
        member: Option<&Member>,
    ) -> Result<(), ProduceError> {
        if self.shared.has_failed() {
            return Err(self.failure());
        }
        if self.sealed || self.nothing {
            return Err(ProduceError::Again("seal: the transaction before this one is still on the wire".to_owned()));
        }
        if !positions.is_empty() {
            let checked = self.check_member(member);
            checked.map_err(|error| self.shared.fail(self.shared.lock(), error))?;
        }
        self.hand_over_all()?;
        if !self.begun && positions.is_empty() {
            self.nothing = true;
            return Ok(());
        }
        let seal = Seal { positions: positions.to_vec(), member: member.cloned() };
        self.shared.command(Command::Seal(seal));
        (self.sealed, self.begun) = (true, false);
        Ok(())
    }

    /// Whether a transaction is on the wire, so that [`outcome`](Self::outcome) has or will have something to say.
    pub fn is_sealed(&self) -> bool {
        self.sealed || self.nothing
    }

    /// How the sealed transaction has ended; nothing while it is on the wire, waiting for at most `wait`, or if none is.
    ///
    /// # Errors
    /// It can't commit, or the outcome is unknown: the changelog tells (rule R-18).
    pub fn outcome(&mut self, wait: Duration) -> Result<Option<Committed>, ProduceError> {
        if std::mem::take(&mut self.nothing) {
            return Ok(Some(Committed::default()));
        }
        let deadline = Instant::now() + wait;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            // A commit that was answered has happened, whatever went wrong after it.
            if let Some(committed) = state.outcome.take() {
                self.sealed = false;
                return Ok(Some(committed));
            }
            if let Some(error) = state.failure.clone() {
                return Err(error);
            }
            if !self.sealed {
                return Ok(None);
            }
            let (next, in_time) = shared.wait(state, deadline);
            state = next;
            if !in_time {
                return Ok(None);
            }
        }
    }

    /// The generation of the sealed transaction's membership, if the coordinator has refused it as old: the group has gone on
    /// to another one, and so, if it is still a member, has the consumer. [`renew`](Self::renew) goes on; without it the
    /// transaction fails as fenced within seconds.
    pub fn outdated(&self) -> Option<i32> {
        self.shared.lock().outdated
    }

    /// Sends the positions of the sealed transaction again, with the same member's place in a newer generation. Whoever calls
    /// it vouches that the partitions have not left this member in between (rule N-4). A member of another id is fenced.
    ///
    /// # Errors
    /// [`ProduceError::Fenced`] without a generation or a member id.
    pub fn renew(&mut self, member: &Member) -> Result<(), ProduceError> {
        self.check_member(Some(member))?;
        let mut state = self.shared.lock();
        state.outdated = None;
        state.commands.push_back(Command::Renew(member.clone()));
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    fn check_member(&self, member: Option<&Member>) -> Result<(), ProduceError> {
        if self.settings.transactional_id.is_none() {
            return Err(ProduceError::Fatal("seal: positions need a transactional id".to_owned()));
        }
        match member {
            Some(member) if member.generation >= 0 && !member.member_id.is_empty() => Ok(()),
            Some(member) => Err(ProduceError::Fenced(format!(
                "offsets: generation {} and member id {:?} of group {} are those of nobody: the membership is lost",
                member.generation, member.member_id, member.group
            ))),
            None => Err(ProduceError::Fenced("offsets: no group membership".to_owned())),
        }
    }

    /// Gives all open batches to the I/O thread at once, so that they travel together.
    fn hand_over_all(&mut self) -> Result<(), ProduceError> {
        let dirty = std::mem::take(&mut self.dirty);
        let closed = dirty.iter().filter_map(|&(topic, lane)| self.close(topic, lane)).collect();
        self.dirty = dirty;
        self.dirty.clear();
        self.dirty_since = None;
        self.give(closed)
    }

    /// Gives one open batch to the I/O thread.
    fn hand_over(&mut self, topic: usize, lane: usize) -> Result<(), ProduceError> {
        if let Some(at) = self.dirty.iter().rposition(|&dirty| dirty == (topic, lane)) {
            self.dirty.swap_remove(at);
        }
        let closed = self.close(topic, lane);
        self.give(closed.into_iter().collect())
    }

    fn close(&mut self, topic: usize, lane: usize) -> Option<Handed> {
        let known = &mut self.topics.all[topic];
        known.turn_from(lane);
        let target = &mut known.lanes[lane];
        let (slot, open) = (target.slot.take(), target.open.take()?);
        let partition = i32::try_from(lane).unwrap_or(i32::MAX);
        Some(Handed { topic, partition, slot, batch: open.close() })
    }

    /// Waits until there is room, and hands over.
    fn give(&mut self, closed: Vec<Handed>) -> Result<(), ProduceError> {
        if closed.is_empty() {
            return Ok(());
        }
        self.begun = true;
        let bytes: usize = closed.iter().map(|handed| handed.batch.bytes()).sum();
        let deadline = Instant::now() + self.settings.delivery_timeout;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        while state.unacknowledged > 0 && state.unacknowledged + bytes > self.settings.max_unacknowledged_bytes {
            if let Some(error) = state.failure.clone() {
                return Err(error);
            }
            let (next, in_time) = shared.wait(state, deadline);
            state = next;
            if !in_time {
                let left = state.unacknowledged;
                let error = ProduceError::Abort(format!("produce: {left} bytes were not acknowledged in time"));
                return Err(shared.fail(state, error));
            }
        }
        state.unacknowledged += bytes;
        state.commands.extend(closed.into_iter().map(Command::Batch));
        drop(state);
        shared.wake.notify_one();
        Ok(())
    }

    #[cold]
    fn open(&mut self, topic: usize, lane: usize) {
        let mut state = self.shared.lock();
        let spare = state.spares.pop().unwrap_or_default();
        if state.topics_version != self.topics_version {
            self.topics_version = state.topics_version;
            for (topic, partitions) in self.topics.all.iter_mut().zip(&state.topics) {
                if let Partitions::Known(count) = partitions {
                    topic.grow(*count);
                }
            }
        }
        drop(state);
        self.topics.all[topic].lanes[lane].open = Some(Open::new(spare));
        self.dirty.push((topic, lane));
        self.dirty_since.get_or_insert_with(Instant::now);
    }

    /// Waits until it is known how many partitions a topic has; asks if nobody has yet.
    #[cold]
    fn learn(&mut self, record: &Outgoing<'_>, found: Option<usize>) -> Result<usize, ProduceError> {
        let index = found.unwrap_or_else(|| {
            let name: Arc<str> = record.topic.into();
            self.shared.command(Command::Topic { name: Arc::clone(&name), named: record.named });
            self.topics.add(name, record.named)
        });
        self.grow(index, 0)?;
        Ok(index)
    }

    /// Waits until a partition of a topic is known.
    #[cold]
    fn grow(&mut self, topic: usize, lane: usize) -> Result<(), ProduceError> {
        let shared = Arc::clone(&self.shared);
        let (name, named) = (Arc::clone(&self.topics.all[topic].name), self.topics.all[topic].named);
        let deadline = Instant::now() + self.settings.patience(named);
        if lane > 0 {
            // It may have been added since the topic was looked at.
            shared.command(Command::Sought { topic, partition: i32::try_from(lane).unwrap_or(i32::MAX) });
        }
        let mut state = shared.lock();
        loop {
            if let Some(error) = state.failure.clone() {
                return Err(error);
            }
            let error = match state.topics.get(topic) {
                Some(Partitions::Known(count)) if usize::try_from(*count).is_ok_and(|count| lane < count) => {
                    let known = &mut self.topics.all[topic];
                    let new = known.lanes.is_empty();
                    known.grow(*count);
                    if new {
                        known.turn();
                    }
                    return Ok(());
                }
                Some(Partitions::Known(count)) => {
                    ProduceError::Missing(format!("produce: topic {name} has {count} partitions, there is no {lane}"))
                }
                Some(Partitions::Refused(error)) => {
                    let error = error.clone();
                    return Err(shared.fail(state, error));
                }
                Some(Partitions::Unknown(error)) => error.clone(),
                None => ProduceError::Abort(format!("produce: topic {name}: no metadata yet")),
            };
            let (next, in_time) = shared.wait(state, deadline);
            state = next;
            if !in_time {
                let reason = error.to_string();
                let unwritable = ProduceError::Unwritable { topic: name.to_string(), reason };
                return Err(shared.fail(state, if named { unwritable } else { error }));
            }
        }
    }

    #[cold]
    fn too_large(&self, record: &Outgoing<'_>, size: usize) -> ProduceError {
        ProduceError::RecordTooLarge(TooLarge {
            topic: record.topic.to_owned(),
            bytes: record.bytes(),
            alone: true,
            reason: format!("{size} bytes do not fit into a request of {}", self.settings.max_request_bytes),
        })
    }

    #[cold]
    fn failure(&self) -> ProduceError {
        let failure = self.shared.lock().failure.clone();
        failure.unwrap_or_else(|| ProduceError::Abort("the transaction has failed".to_owned()))
    }
}

impl Drop for Producer {
    /// Aborts what is open, best effort: waits half a second at most.
    fn drop(&mut self) {
        let deadline = Instant::now() + CLOSE_PATIENCE;
        let mut state = self.shared.lock();
        state.commands.clear();
        state.commands.push_back(Command::Close);
        self.shared.wake.notify_one();
        while !state.gone {
            let (next, in_time) = self.shared.wait(state, deadline);
            state = next;
            if !in_time {
                break;
            }
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
