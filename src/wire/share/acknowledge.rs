//! ShareAcknowledge, version 2: what was done with acquired records, told without fetching more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use super::flexible::{Read, Reader, Writer, decode};
use super::part::{Endpoint, SMALLEST_TOPIC, SharePart, VERSION, endpoints, leader, put_parts};
use crate::wire::{Address, BrokerId, Code, Outgoing, TopicId, WireError};

/// The smallest partition of an answer: number, error without text, leader, tags.
const SMALLEST_PART: usize = 4 + (2 + 1) + (4 + 4 + 1) + 1;

/// Acknowledgements for the broker that gave the records, and for no other (rule R12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareAcknowledge {
    /// The share group.
    pub group: Arc<str>,
    /// The id that the member has given itself (rule R1).
    pub member: Arc<str>,
    /// The share session's epoch: -1 closes it, else one more than in the request before; never 0 (rule R4).
    pub epoch: i32,
    /// Whether any of them is a [`Renew`](super::Acknowledgement::Renew).
    pub renews: bool,
    /// What is acknowledged, sorted by topic.
    pub parts: Vec<SharePart>,
}

impl ShareAcknowledge {
    /// The request as it is sent. `patience`: how long the answer may take.
    pub fn outgoing(&self, patience: Duration) -> Outgoing {
        let mut writer = Writer::default();
        writer.string(&self.group);
        writer.string(&self.member);
        writer.i32(self.epoch);
        writer.bool(self.renews);
        put_parts(&mut writer, &self.parts);
        writer.tags();
        Outgoing {
            key: ApiKey::ShareAcknowledge,
            version: VERSION,
            body: vec![writer.finish()],
            timeout: Some(patience),
        }
    }
}

/// The answer to a [`ShareAcknowledge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareAcknowledged {
    /// For how long the broker asks to be left alone, for
    /// [`Connection::hold_back`](crate::wire::Connection::hold_back).
    pub throttle: Duration,
    /// What is wrong with all of it: then the session is over (rule R5).
    pub error: Option<Code>,
    /// The broker's words for that.
    pub message: Option<String>,
    /// How long what is acquired, or renewed, stays so (rule R9); none if the answer has nothing to say of it.
    pub lock: Option<Duration>,
    /// What became of each partition's acknowledgements. One that is not here has failed (rule R14).
    pub parts: Vec<AcknowledgedPart>,
    /// Where the leaders are that the parts name.
    pub endpoints: Vec<Endpoint>,
}

/// What became of one partition's acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcknowledgedPart {
    /// The topic, by its identity.
    pub topic: TopicId,
    /// The partition's number.
    pub partition: i32,
    /// Why they don't count (rule R14).
    pub error: Option<Code>,
    /// The leader and its epoch (rule R15), where `error` says that it is another one and the broker knows which.
    pub leader: Option<(BrokerId, i32)>,
}

impl ShareAcknowledged {
    /// Reads the answer's body, which came from `address`.
    ///
    /// # Errors
    /// [`WireError::Protocol`]: it is no answer to a ShareAcknowledge of version 2.
    pub fn decode(address: &Address, body: Bytes) -> Result<Self, WireError> {
        decode(address, ApiKey::ShareAcknowledge, body, answer)
    }
}

fn answer(reader: &mut Reader) -> Read<ShareAcknowledged> {
    let throttle = reader.millis()?;
    let error = Code::new(reader.i16()?);
    let message = reader.string()?;
    let lock = Some(reader.millis()?).filter(|lock| !lock.is_zero());
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
    Ok(ShareAcknowledged { throttle, error, message, lock, parts, endpoints })
}

fn part(reader: &mut Reader, topic: TopicId) -> Read<AcknowledgedPart> {
    let partition = reader.i32()?;
    let error = Code::new(reader.i16()?);
    reader.skip_string()?;
    let leader = leader(reader, error)?;
    reader.tags()?;
    Ok(AcknowledgedPart { topic, partition, error, leader })
}

#[cfg(test)]
#[path = "acknowledge_tests.rs"]
mod tests;
