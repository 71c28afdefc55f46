//! What the share messages have in common: what is acknowledged of a partition, and what a broker says of its leader.

use kafka_protocol::messages::ApiKey;

use super::flexible::{Read, Reader, Writer};
use crate::wire::{BrokerId, Code, TopicId};

/// The smallest topic of an answer: id, no partitions, tags.
pub(super) const SMALLEST_TOPIC: usize = 16 + 1 + 1;
/// The smallest endpoint: id, empty host, port, no rack, tags.
const SMALLEST_ENDPOINT: usize = 4 + 1 + 4 + 1 + 1;
/// NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH.
const MOVED: [i16; 2] = [6, 74];

/// The version of ShareFetch and ShareAcknowledge that is spoken: the first with [`Renew`](Acknowledgement::Renew)
/// (KIP-1222) and the exact number of records (KIP-1206), in brokers since 4.2.
pub(super) const VERSION: i16 = 2;
/// The requests that are written by hand, in the only version each is spoken in.
pub(super) const SPOKEN: [(ApiKey, i16); 3] = [
    (ApiKey::ShareFetch, VERSION),
    (ApiKey::ShareAcknowledge, VERSION),
    (ApiKey::DescribeShareGroupOffsets, LAG_VERSION),
];
/// The first version of DescribeShareGroupOffsets with the lag (KIP-1226).
pub(super) const LAG_VERSION: i16 = 1;

/// What is to become of an acquired offset (KIP-932, rule R11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum Acknowledgement {
    /// There is no record at it: compaction took it, or it is a transaction's marker (rule R7).
    Gap = 0,
    /// The record is done; nobody sees it again.
    Accept = 1,
    /// The record is delivered again, unless that was its last attempt.
    Release = 2,
    /// The record can't be done; nobody sees it again.
    Reject = 3,
    /// The record is still being worked on: its lock begins anew (KIP-1222). Such a request sets `renews` (rule R13).
    Renew = 4,
}

/// Offsets in a row, and what is to become of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcknowledgedBatch {
    /// The first offset.
    pub first: i64,
    /// The last offset, itself included.
    pub last: i64,
    /// One for all of them, or one for each; the broker refuses the partition if it is anything else (rule R11).
    pub kinds: Vec<Acknowledgement>,
}

/// A partition of a request: to be read from, and what is acknowledged of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharePart {
    /// The topic, by its identity.
    pub topic: TopicId,
    /// The partition's number.
    pub partition: i32,
    /// What is acknowledged: ascending and without overlap, or the broker refuses it (rule R11). May be empty in a
    /// fetch.
    pub acknowledged: Vec<AcknowledgedBatch>,
}

/// Where a broker is that an answer names as a leader, so that nobody has to look it up (KIP-951, rule R15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Which broker.
    pub broker: BrokerId,
    /// Its host's name or address.
    pub host: String,
    /// Its TCP port, as it was sent.
    pub port: i32,
}

/// An array of topics out of parts that are sorted by topic: one topic for each run of parts with the same id.
pub(super) fn put_topics<T>(
    writer: &mut Writer,
    parts: &[T],
    topic: impl Fn(&T) -> TopicId,
    put: impl Fn(&mut Writer, &T),
) {
    let same = |one: &T, other: &T| topic(one) == topic(other);
    writer.count(parts.chunk_by(same).count());
    for of_topic in parts.chunk_by(same) {
        // A run has a part at least.
        of_topic.iter().take(1).for_each(|part| writer.topic_id(topic(part)));
        writer.count(of_topic.len());
        of_topic.iter().for_each(|part| put(writer, part));
        writer.tags();
    }
}

/// The array of topics with what is acknowledged of each partition; it looks the same in both requests.
pub(super) fn put_parts(writer: &mut Writer, parts: &[SharePart]) {
    put_topics(writer, parts, |part| part.topic, put_part);
}

fn put_part(writer: &mut Writer, part: &SharePart) {
    writer.i32(part.partition);
    writer.count(part.acknowledged.len());
    for batch in &part.acknowledged {
        writer.i64(batch.first);
        writer.i64(batch.last);
        writer.count(batch.kinds.len());
        batch.kinds.iter().for_each(|kind| writer.i8(*kind as i8));
        writer.tags();
    }
    writer.tags();
}

/// A partition's leader and its epoch. It means something only where the error says that the leader is another one: in
/// every other part Kafka writes the defaults of its fields, which are broker 0 and epoch 0.
pub(super) fn leader(reader: &mut Reader, error: Option<Code>) -> Read<Option<(BrokerId, i32)>> {
    let (broker, epoch) = (reader.i32()?, reader.i32()?);
    reader.tags()?;
    let moved = error.is_some_and(|code| MOVED.contains(&code.number()));
    Ok((moved && broker >= 0 && epoch >= 0).then_some((BrokerId(broker), epoch)))
}

/// Where the brokers are that were named as leaders.
pub(super) fn endpoints(reader: &mut Reader) -> Read<Vec<Endpoint>> {
    reader.array(SMALLEST_ENDPOINT, |reader| {
        let broker = BrokerId(reader.i32()?);
        let host = reader.string()?.unwrap_or_default();
        let port = reader.i32()?;
        // The rack.
        reader.skip_string()?;
        reader.tags()?;
        Ok(Endpoint { broker, host, port })
    })
}
