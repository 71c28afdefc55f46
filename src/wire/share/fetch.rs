//! ShareFetch, version 2: records are acquired, and what was done with earlier ones is told, in one request.
//!
//! ```text
//!  group, member, session epoch │ how long, how much │ topics ─▶ partitions ─▶ acknowledged batches │ forgotten
//!                               ▼
//!  throttle, error, lock        │ topics ─▶ partitions: errors, leader, Records, acquired offsets   │ endpoints
//! ```
//!
//! The records of an answer are not copied: they, and what [`read`](super::read) makes of them, share the frame's
//! memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use super::flexible::{Read, Reader, Writer, decode};
use super::part::{Endpoint, SMALLEST_TOPIC, SharePart, VERSION, endpoints, leader, put_parts, put_topics};
use crate::wire::{Address, BrokerId, Code, Outgoing, TopicId, WireError};

/// The smallest partition of an answer: number, two errors without text, leader, no records, none acquired, tags.
const SMALLEST_PART: usize = 4 + 2 * (2 + 1) + (4 + 4 + 1) + 1 + 1 + 1;
/// Acquired offsets: first, last, delivery count, tags.
const ACQUIRED_BYTES: usize = 8 + 8 + 2 + 1;

/// How the broker counts the records that it gives (KIP-1206, rule R8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum AcquireMode {
    /// Whole batches of the producers: cheaper for the broker, and more than `max_records` where a batch is larger.
    BatchOptimized = 0,
    /// Never more than `max_records`.
    RecordLimit = 1,
}

/// A request for records. One that only acknowledges, or renews (rule R13), has zeros for how long and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFetch {
    /// The share group.
    pub group: Arc<str>,
    /// The id that the member has given itself (rule R1).
    pub member: Arc<str>,
    /// The share session's epoch: 0 opens one, -1 closes it, else one more than in the request before (rule R4).
    pub epoch: i32,
    /// How long the broker may wait for `min_bytes`.
    pub max_wait: Duration,
    /// How much the broker waits for, in bytes.
    pub min_bytes: i32,
    /// How much it gives, in bytes; a single batch may be larger (KIP-74).
    pub max_bytes: i32,
    /// How many records it gives, as `mode` counts them.
    pub max_records: i32,
    /// How many offsets are best in one acquired batch: the broker keeps a state for each batch.
    pub batch_size: i32,
    /// How records are counted.
    pub mode: AcquireMode,
    /// Whether any acknowledgement is a [`Renew`](super::Acknowledgement::Renew) (rule R13).
    pub renews: bool,
    /// Partitions that are new to the session, or of which something is acknowledged (rule R6), sorted by topic.
    pub parts: Vec<SharePart>,
    /// Partitions that leave the session, sorted by topic.
    pub forgotten: Vec<(TopicId, i32)>,
}

impl ShareFetch {
    /// The request as it is sent. `patience`: how long the answer may take, all of `max_wait` included.
    pub fn outgoing(&self, patience: Duration) -> Outgoing {
        let mut writer = Writer::default();
        writer.string(&self.group);
        writer.string(&self.member);
        writer.i32(self.epoch);
        writer.millis(self.max_wait);
        writer.i32(self.min_bytes);
        writer.i32(self.max_bytes);
        writer.i32(self.max_records);
        writer.i32(self.batch_size);
        writer.i8(self.mode as i8);
        writer.bool(self.renews);
        put_parts(&mut writer, &self.parts);
        put_topics(&mut writer, &self.forgotten, |(topic, _)| *topic, |writer, (_, partition)| writer.i32(*partition));
        writer.tags();
        Outgoing { key: ApiKey::ShareFetch, version: VERSION, body: vec![writer.finish()], timeout: Some(patience) }
    }
}

/// The answer to a [`ShareFetch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFetched {
    /// For how long the broker asks to be left alone, for
    /// [`Connection::hold_back`](crate::wire::Connection::hold_back).
    pub throttle: Duration,
    /// What is wrong with all of it: then the session is over (rule R5).
    pub error: Option<Code>,
    /// The broker's words for that.
    pub message: Option<String>,
    /// How long what is acquired stays so (rule R9); zero where there is an error.
    pub lock: Duration,
    /// Partitions of which there is anything to say.
    pub parts: Vec<FetchedPart>,
    /// Where the leaders are that the parts name.
    pub endpoints: Vec<Endpoint>,
}

/// What was acquired of one partition, and what became of its acknowledgements.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchedPart {
    /// The topic, by its identity.
    pub topic: TopicId,
    /// The partition's number.
    pub partition: i32,
    /// Why nothing could be acquired.
    pub error: Option<Code>,
    /// Why what was acknowledged does not count (rule R14).
    pub acknowledge_error: Option<Code>,
    /// The leader and its epoch (rule R15), where `error` says that it is another one and the broker knows which.
    pub leader: Option<(BrokerId, i32)>,
    /// Record batches, a part of the answer's memory. Only what is `acquired` of them is the member's (rule R7).
    pub records: Bytes,
    /// The offsets that now belong to the member.
    pub acquired: Vec<Acquired>,
}

impl fmt::Debug for FetchedPart {
    /// Without the records (rule O5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchedPart")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("error", &self.error)
            .field("acknowledge_error", &self.acknowledge_error)
            .field("leader", &self.leader)
            .field("record_bytes", &self.records.len())
            .field("acquired", &self.acquired)
            .finish()
    }
}

/// Offsets in a row that were acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquired {
    /// The first offset.
    pub first: i64,
    /// The last offset, itself included.
    pub last: i64,
    /// How often they were delivered, this time included: 1 is the first.
    pub delivery_count: i16,
}

impl ShareFetched {
    /// Reads the answer's body, which came from `address`.
    ///
    /// # Errors
    /// [`WireError::Protocol`]: it is no answer to a ShareFetch of version 2.
    pub fn decode(address: &Address, body: Bytes) -> Result<Self, WireError> {
        decode(address, ApiKey::ShareFetch, body, answer)
    }
}

fn answer(reader: &mut Reader) -> Read<ShareFetched> {
    let throttle = reader.millis()?;
    let error = Code::new(reader.i16()?);
    let message = reader.string()?;
    let lock = reader.millis()?;
    let mut parts = Vec::new();
    reader.each(SMALLEST_TOPIC, |reader| {
        let topic = reader.topic_id()?;
        reader.each(SMALLEST_PART, |reader| {
            parts.push(part(reader, topic)?);
            Ok(())
        })?;
        reader.tags()
    })?;
    let endpoints = endpoints(reader)?;
    Ok(ShareFetched { throttle, error, message, lock, parts, endpoints })
}

fn part(reader: &mut Reader, topic: TopicId) -> Read<FetchedPart> {
    let partition = reader.i32()?;
    let error = Code::new(reader.i16()?);
    reader.skip_string()?;
    let acknowledge_error = Code::new(reader.i16()?);
    reader.skip_string()?;
    let leader = leader(reader, error)?;
    let records = reader.bytes()?;
    let acquired = reader.array(ACQUIRED_BYTES, |reader| {
        let (first, last, delivery_count) = (reader.i64()?, reader.i64()?, reader.i16()?);
        reader.tags()?;
        Ok(Acquired { first, last, delivery_count })
    })?;
    reader.tags()?;
    Ok(FetchedPart { topic, partition, error, acknowledge_error, leader, records, acquired })
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
