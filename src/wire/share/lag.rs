//! DescribeShareGroupOffsets, version 1: where a share group begins to read, and how much is before it (KIP-1226).
//!
//! The lag is counted by the broker, which alone knows what was delivered beyond the start offset (rule R18). The
//! group's coordinator is who to ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use super::flexible::{Read, Reader, Writer, decode};
use super::offered;
use super::part::LAG_VERSION;
use crate::wire::{Address, Code, Connection, Outgoing, TopicId, WireError};

/// The smallest group of an answer: empty name, no topics, error without text, tags.
const SMALLEST_GROUP: usize = 1 + 1 + 2 + 1 + 1;
/// The smallest topic: empty name, id, no partitions, tags.
const SMALLEST_TOPIC: usize = 1 + 16 + 1 + 1;
/// The smallest partition: number, start, leader's epoch, lag, error without text, tags.
const SMALLEST_PART: usize = 4 + 8 + 4 + 8 + 2 + 1 + 1;

/// Asks for one group's lag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLagRequest {
    /// The share group.
    pub group: Arc<str>,
    /// Topics by name, and of each the partitions; none asks for all that the group has ever read.
    pub topics: Option<Vec<(Arc<str>, Vec<i32>)>>,
}

impl ShareLagRequest {
    /// The request as it is sent. `patience`: how long the answer may take.
    pub fn outgoing(&self, patience: Duration) -> Outgoing {
        let mut writer = Writer::default();
        writer.count(1);
        writer.string(&self.group);
        match &self.topics {
            None => writer.null(),
            Some(topics) => {
                writer.count(topics.len());
                for (name, partitions) in topics {
                    writer.string(name);
                    writer.count(partitions.len());
                    partitions.iter().for_each(|partition| writer.i32(*partition));
                    writer.tags();
                }
            }
        }
        // Of the group, and of the message.
        writer.tags();
        writer.tags();
        let (key, body) = (ApiKey::DescribeShareGroupOffsets, vec![writer.finish()]);
        Outgoing { key, version: LAG_VERSION, body, timeout: Some(patience) }
    }

    /// Reads the body of the answer to this request, which came from `address`.
    ///
    /// # Errors
    /// [`WireError::Protocol`]: it is no answer to a DescribeShareGroupOffsets of version 1, or not of this group.
    pub fn decode(&self, address: &Address, body: Bytes) -> Result<ShareLag, WireError> {
        decode(address, ApiKey::DescribeShareGroupOffsets, body, |reader| answer(reader, &self.group))
    }
}

/// The answer to a [`ShareLagRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLag {
    /// For how long the broker asks to be left alone, for
    /// [`Connection::hold_back`](crate::wire::Connection::hold_back).
    pub throttle: Duration,
    /// What is wrong with all of it.
    pub error: Option<Code>,
    /// The broker's words for that.
    pub message: Option<String>,
    /// The partitions, topic by topic.
    pub parts: Vec<PartLag>,
}

/// How far a group is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartLag {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's identity.
    pub id: TopicId,
    /// The partition's number.
    pub partition: i32,
    /// Grows with each change of the partition's leader (KIP-320); none while it is not known.
    pub leader_epoch: Option<i32>,
    /// The share partition's start offset: all before it is done with. None while the group has not begun with it.
    pub start: Option<i64>,
    /// Records from there to the end that nobody has done yet, those that are acquired included (rule R18); none while
    /// it is not known.
    pub lag: Option<i64>,
    /// Why it can't be told.
    pub error: Option<Code>,
}

/// Asks the group's coordinator, and waits for the answer.
///
/// # Errors
/// [`WireError::Unsupported`] by a broker before 4.2, or an error of the connection.
pub async fn share_lag(
    connection: &Connection,
    request: &ShareLagRequest,
    patience: Duration,
) -> Result<ShareLag, WireError> {
    offered(connection)?;
    let body = connection.send(request.outgoing(patience)).await?.await?;
    let lag = request.decode(connection.address(), body)?;
    connection.hold_back(lag.throttle);
    Ok(lag)
}

fn answer(reader: &mut Reader, wanted: &str) -> Read<ShareLag> {
    let throttle = reader.millis()?;
    let mut found = None;
    reader.each(SMALLEST_GROUP, |reader| {
        let (name, read) = group(reader)?;
        if name == wanted {
            found = Some(read);
        }
        Ok(())
    })?;
    let found = found.ok_or_else(|| format!("group {wanted} is not in it"))?;
    Ok(ShareLag { throttle, ..found })
}

fn group(reader: &mut Reader) -> Read<(String, ShareLag)> {
    let name = reader.string()?.unwrap_or_default();
    let mut parts = Vec::new();
    reader.each(SMALLEST_TOPIC, |reader| {
        let topic: Arc<str> = reader.string()?.unwrap_or_default().into();
        let id = reader.topic_id()?;
        reader.each(SMALLEST_PART, |reader| {
            parts.push(part(reader, &topic, id)?);
            Ok(())
        })?;
        reader.tags()
    })?;
    let error = Code::new(reader.i16()?);
    let message = reader.string()?;
    reader.tags()?;
    Ok((name, ShareLag { throttle: Duration::ZERO, error, message, parts }))
}

fn part(reader: &mut Reader, topic: &Arc<str>, id: TopicId) -> Read<PartLag> {
    let known = |number: i64| (number >= 0).then_some(number);
    let partition = reader.i32()?;
    let start = known(reader.i64()?);
    let leader_epoch = Some(reader.i32()?).filter(|epoch| *epoch >= 0);
    let lag = known(reader.i64()?);
    let error = Code::new(reader.i16()?);
    reader.skip_string()?;
    reader.tags()?;
    Ok(PartLag { topic: Arc::clone(topic), id, partition, leader_epoch, start, lag, error })
}

#[cfg(test)]
#[path = "lag_tests.rs"]
mod tests;
