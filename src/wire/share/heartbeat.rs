//! A share group's member tells its coordinator that it is there, and is told what to read (rule R1).

use std::time::Duration;

use kafka_protocol::messages::{GroupId, ShareGroupHeartbeatRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::wire::{Code, Connection, TopicId, WireError};

/// The only stable version; 0 was of the early access in Kafka 4.0.
const VERSION: std::ops::RangeInclusive<i16> = 1..=1;

/// A beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The share group.
    pub group: String,
    /// The member's own id, for its whole life; 36 characters at most.
    pub member: String,
    /// 0 joins, -1 leaves, else what the last answer said.
    pub epoch: i32,
    /// The member's rack; none if it is as it was.
    pub rack: Option<String>,
    /// The topics that it reads; none if they are as they were. Where they are named, the assignment is told again.
    pub topics: Option<Vec<String>>,
}

/// What a coordinator says to a beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beaten {
    /// Why it was refused.
    pub error: Option<Code>,
    /// The same in the coordinator's words.
    pub message: Option<String>,
    /// The member's epoch from now on.
    pub epoch: i32,
    /// Until the next beat.
    pub interval: Duration,
    /// What it is to read, and nothing else; none if that is as it was.
    pub assigned: Option<Vec<Assigned>>,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The topic.
    pub topic: TopicId,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

impl Assigned {
    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }
}

/// Sends a beat and waits for the answer.
///
/// # Errors
/// [`WireError::Unsupported`] by a broker without share groups, or an error of the connection.
pub async fn heartbeat(connection: &Connection, beat: &Beat) -> Result<Beaten, WireError> {
    let text = |text: &String| StrBytes::from_string(text.clone());
    let topics = beat.topics.as_ref().map(|topics| topics.iter().map(|topic| TopicName(text(topic))).collect());
    let request = ShareGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(&beat.group)))
        .with_member_id(text(&beat.member))
        .with_member_epoch(beat.epoch)
        .with_rack_id(beat.rack.as_ref().map(text))
        .with_subscribed_topic_names(topics);
    let answer = connection.call(&request, VERSION).await?;
    let assigned = answer.assignment.map(|assignment| {
        let of = |topic: kafka_protocol::messages::share_group_heartbeat_response::TopicPartitions| Assigned {
            topic: TopicId(*topic.topic_id.as_bytes()),
            partitions: topic.partitions,
        };
        assignment.topic_partitions.into_iter().map(of).collect()
    });
    Ok(Beaten {
        error: Code::new(answer.error_code),
        message: answer.error_message.map(|message| message.to_string()),
        epoch: answer.member_epoch,
        interval: Duration::from_millis(u64::try_from(answer.heartbeat_interval_ms).unwrap_or(0)),
        assigned,
    })
}
