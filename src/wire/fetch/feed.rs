//! A fetcher that is fed by hand: the same engine, but no thread and no sockets. Whoever simulates a cluster answers what it asks.
//!
//! ```text
//!  stream thread                 │   whoever simulates
//!  Fetcher: assign, seek, poll ──┼─▶ Feed::serve: commands ─▶ engine ─▶ what it asks ─▶ Logs: one answer each
//!             ▲                  │                              ▲                         │
//!             └──────────────────┼── deliveries ────────────────┴─────────────────────────┘
//! ```
//!
//! What a seek voids, what goes back when it was not read, where an end is told, which batches a committed reader may see: all
//! of it is the real thing. What was asked in one call of [`Feed::serve`] is answered in the next one, so that between the two
//! anything may happen, as on a network.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchResponse, FetchableTopicResponse, PartitionData,
};

use super::engine::{Call, Engine, Flight};
use super::handle::Fetcher;
use super::settings::FetcherSettings;
use super::shared::{Shared, Weight};
use crate::position::{Offset, Partition, TopicPartition};
use crate::wire::{BrokerId, Code, Leader, TopicId, WireError};

/// What there is to be read, as the one who simulates a cluster knows it. Refusals are Kafka's error codes.
pub trait Logs {
    /// Record batches (magic 2) of a partition from this offset on, up to the last stable one.
    ///
    /// # Errors
    /// The code of a refusal, such as 1 (`OFFSET_OUT_OF_RANGE`) or 6 (`NOT_LEADER_OR_FOLLOWER`).
    fn fetch(&mut self, at: &TopicPartition, from: Offset) -> Result<Fetched, i16>;

    /// What the fetcher's group has committed of a partition, if anything.
    ///
    /// # Errors
    /// The code of a refusal, such as 88 (`UNSTABLE_OFFSET_COMMIT`).
    fn committed(&mut self, at: &TopicPartition) -> Result<Option<Offset>, i16>;

    /// First offset of a partition, and the last stable one.
    fn bounds(&mut self, at: &TopicPartition) -> (Offset, Offset);
}

/// An answer to a fetch of one partition.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Whole batches; none if there is no news.
    pub records: Bytes,
    /// Aborted transactions: producer id and first offset (KIP-98).
    pub aborted: Vec<(i64, Offset)>,
    /// The last stable offset.
    pub stable: Offset,
    /// The high watermark.
    pub high: Offset,
}

/// What came of a look at what a fetcher asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The fetcher was dropped.
    Closed,
    /// There is something to be polled.
    News,
    /// There is nothing new.
    Nothing,
}

/// The end of a fetcher where the cluster would be.
pub struct Feed {
    shared: Arc<Shared>,
    engine: Engine,
    asked: Vec<Call>,
}

impl Fetcher {
    /// A fetcher without an I/O thread, and the end to feed it from. Nothing waits at it: it is polled without a wait.
    pub fn fed(settings: FetcherSettings) -> (Self, Feed) {
        let shared = Arc::new(Shared::default());
        let engine = Engine::new(settings.clone(), Arc::clone(&shared.held));
        (Fetcher::without_thread(Arc::clone(&shared), settings), Feed { shared, engine, asked: Vec::new() })
    }
}

impl Feed {
    /// Answers what was asked at the last call, hands it over, and takes note of what is asked now.
    pub fn serve(&mut self, logs: &mut dyn Logs, now: Instant) -> Served {
        let mut commands = Vec::new();
        self.shared.take_commands(&mut commands);
        commands.into_iter().for_each(|command| self.engine.command(command));
        if self.engine.closed {
            self.shared.leave();
            return Served::Closed;
        }
        for call in std::mem::take(&mut self.asked) {
            self.answer(call, logs, now);
        }
        let next = std::iter::from_fn(|| self.engine.next(now));
        self.asked.extend(next);
        let Engine { deliveries, news, hungry, .. } = &mut self.engine;
        let served = if deliveries.is_empty() && news.is_empty() { Served::Nothing } else { Served::News };
        // Commands that come meanwhile are taken at the next call.
        _ = self.shared.deliver(deliveries, news, *hungry);
        served
    }

    fn answer(&mut self, call: Call, logs: &mut dyn Logs, now: Instant) {
        match call {
            Call::Leaders { topic, wanted } => {
                let found = wanted
                    .into_iter()
                    .map(|(slot, ticket, partition, _)| (slot, ticket, Ok(leader(&topic, partition))));
                self.engine.leaders(found.collect(), now);
            }
            Call::Committed(wanted) => {
                let found = wanted.into_iter().map(|(slot, ticket, at)| (slot, ticket, committed(logs, &at)));
                self.engine.committed(found.collect(), now);
            }
            Call::Bounds(wanted, _) => {
                let at = TopicPartition { topic: Arc::clone(&wanted.topic), partition: Partition(wanted.partition) };
                let (start, end) = logs.bounds(&at);
                self.engine.bounds(wanted.slot, wanted.ticket, Ok((start.0, end.0)), now);
            }
            Call::Fetch(flight) => {
                let (response, bytes) = fetched(&flight, logs);
                let weight = Weight::new(bytes, &self.shared.held);
                self.engine.fetched(&flight, response, &weight, now);
            }
        }
    }
}

/// Each partition has a broker of its own, so that no answer waits for another.
fn leader(topic: &str, partition: Partition) -> Leader {
    let mut id = [0_u8; 16];
    id.iter_mut().zip(topic.bytes().rev()).for_each(|(id, byte)| *id = byte);
    Leader { broker: BrokerId(partition.0), epoch: 0, topic_id: TopicId(id) }
}

fn committed(logs: &mut dyn Logs, at: &TopicPartition) -> Result<Option<i64>, WireError> {
    let refusal = |code| match Code::new(code) {
        Some(code) => WireError::from_code(format!("committed position of {at}"), code),
        None => WireError::Protocol { address: at.to_string(), reason: "a refusal without a code".to_owned() },
    };
    logs.committed(at).map(|next| next.map(|next| next.0)).map_err(refusal)
}

fn fetched(flight: &Flight, logs: &mut dyn Logs) -> (FetchResponse, usize) {
    let (mut responses, mut bytes) = (Vec::new(), 0);
    for wanted in &flight.wanted {
        let at = TopicPartition { topic: Arc::clone(&wanted.topic), partition: Partition(wanted.partition) };
        let data = PartitionData::default().with_partition_index(wanted.partition);
        let data = match logs.fetch(&at, Offset(wanted.position)) {
            Err(code) => data.with_error_code(code),
            Ok(Fetched { records, aborted, stable, high }) => {
                bytes += records.len();
                let transaction = |(producer, first): (i64, Offset)| {
                    AbortedTransaction::default().with_producer_id(producer.into()).with_first_offset(first.0)
                };
                data.with_records(Some(records))
                    .with_last_stable_offset(stable.0)
                    .with_high_watermark(high.0)
                    .with_aborted_transactions(Some(aborted.into_iter().map(transaction).collect()))
            }
        };
        let topic = wanted.topic_id.0.to_vec().try_into().unwrap_or_default();
        responses.push(FetchableTopicResponse::default().with_topic_id(topic).with_partitions(vec![data]));
    }
    (FetchResponse::default().with_responses(responses), bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::fetch::Event;
    use crate::wire::fetch::golden::{answer, marker, transactional};

    /// One partition: a transaction that was aborted, and one that was committed.
    struct TwoTransactions;

    impl Logs for TwoTransactions {
        fn fetch(&mut self, _: &TopicPartition, from: Offset) -> Result<Fetched, i16> {
            let (stable, high) = (Offset(6), Offset(7));
            let all =
                [transactional(0, 7, &["a", "b"]), marker(2, 7, 0), transactional(3, 7, &["c", "d"]), marker(5, 7, 1)];
            let records = if from < stable { answer(all) } else { Bytes::new() };
            Ok(Fetched { records, aborted: vec![(7, Offset(0))], stable, high })
        }

        fn committed(&mut self, _: &TopicPartition) -> Result<Option<Offset>, i16> {
            Ok(Some(Offset(1)))
        }

        fn bounds(&mut self, _: &TopicPartition) -> (Offset, Offset) {
            (Offset(0), Offset(6))
        }
    }

    #[test]
    fn a_fed_fetcher_begins_at_what_is_committed_and_shows_what_a_committed_reader_may_see() {
        let (fetcher, mut feed) = Fetcher::fed(FetcherSettings::default());
        let at = TopicPartition { topic: "t".into(), partition: Partition(0) };
        fetcher.assign_committed(&at);
        let mut seen = Vec::new();
        let end = loop {
            assert_ne!(feed.serve(&mut TwoTransactions, Instant::now()), Served::Closed);
            match fetcher.poll(Duration::ZERO) {
                Event::Records(mut portion) => {
                    while let Some(record) = portion.next_record() {
                        seen.push(record.unwrap().offset.0);
                    }
                }
                Event::End { position, high, .. } => break (position.0, high.0),
                Event::Idle => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((seen, end), (vec![3, 4], (6, 7)));
        fetcher.seek(&at, Offset(4));
        assert_eq!(fetcher.position(&at), Some(Offset(4)));
        drop(fetcher);
        assert_eq!(feed.serve(&mut TwoTransactions, Instant::now()), Served::Closed);
    }
}
