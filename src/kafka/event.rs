//! What a poll of the consumer finds.

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as _};

use crate::error::FatalError;
use crate::position::{Offset, Partition, TopicPartition};
use crate::record::{Header, Headers, RawRecord, Timestamp};
use crate::wire::fetch::Portion;

/// What the group asks of this member.
#[derive(Debug, Clone)]
pub enum Rebalance {
    /// Take these; answer with [`GroupConsumer::assign`](super::GroupConsumer::assign).
    Assigned(Vec<TopicPartition>),
    /// Give these up; answer with [`GroupConsumer::unassign`](super::GroupConsumer::unassign).
    Revoked {
        /// Which.
        partitions: Vec<TopicPartition>,
        /// The membership is gone already: nothing of them can be committed any more.
        lost: bool,
    },
}

/// What a poll found.
#[expect(clippy::large_enum_variant, reason = "a portion is moved once, and read in place")]
pub enum Event<'a> {
    /// A record, fetched by librdkafka.
    Record(Fetched<'a>),
    /// Records of one partition, fetched natively.
    Records(Portion),
    /// A rebalance is to be answered.
    Rebalance(Rebalance),
    /// Something that librdkafka goes on after by itself, or not: see the text.
    Error(ConsumerError),
    /// All of a partition of this number has been read; of which topic, the client does not say.
    End(Partition),
    /// Nothing within the wait.
    Idle,
}

/// An error that a poll found.
#[derive(Debug)]
pub enum ConsumerError {
    /// librdkafka reconnects by itself.
    Away(String),
    /// A subscribed topic does not exist yet.
    MissingTopic(String),
    /// The member has not polled for too long and has left the group; polling again rejoins.
    PollOverdue,
    /// The static member was given to somebody else. This client is of no more use; a new one can join.
    Fenced(String),
    /// The same after its session ran out on this side, because no broker answered: librdkafka then joins under a new id,
    /// and a request with the old one that is still under way, or a join that was given up, fences it. So nobody else need
    /// be to blame (confluentinc/librdkafka#3437).
    FencedItself(String),
    /// A subscribed topic was deleted and made anew under its name. What comes from now on is of the new one, and read from
    /// positions of the old one: librdkafka does not reset them by itself.
    MadeAnew(String),
    /// The position of a partition was not in the log any more, or beyond its end; it is read from elsewhere now.
    OutOfRange {
        /// Which.
        at: TopicPartition,
        /// Where it was to be read.
        position: Offset,
        /// Where it goes on, by `processing.start`.
        resumed: Offset,
    },
    /// Nothing that trying again would mend: authorisation, or what librdkafka calls fatal.
    Fatal(FatalError),
}

/// A fetched record, borrowed from the client.
pub struct Fetched<'a> {
    message: BorrowedMessage<'a>,
    headers: Headers,
}

impl Fetched<'_> {
    pub(super) fn new(message: BorrowedMessage<'_>) -> Fetched<'_> {
        let headers = message.headers().map_or_else(Headers::new, |headers| {
            let header = |header: rdkafka::message::Header<'_, &[u8]>| Header {
                name: header.key.to_owned(),
                value: header.value.map(<[u8]>::to_vec),
            };
            Headers(headers.iter().map(header).collect())
        });
        Fetched { message, headers }
    }

    /// The partition that it is of.
    pub fn at(&self) -> TopicPartition {
        TopicPartition { topic: self.message.topic().into(), partition: Partition(self.message.partition()) }
    }

    /// A view of it.
    pub fn record(&self) -> RawRecord<'_> {
        RawRecord {
            topic: self.message.topic(),
            partition: Partition(self.message.partition()),
            offset: Offset(self.message.offset()),
            timestamp: Timestamp(self.message.timestamp().to_millis().unwrap_or(Timestamp::NONE.0)),
            key: self.message.key(),
            value: self.message.payload(),
            headers: &self.headers,
        }
    }
}
