//! How far a group has come in its partitions, and where these end: asked of the brokers, by a client of its own.
//!
//! Why not from the consumer's statistics: a paused partition is not fetched, so its end would stand still just when the
//! lag matters most.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::Offset as KafkaOffset;

use crate::error::FatalError;
use crate::position::{Offset, TopicPartition};

use super::consumer::{KafkaFailure, list};
use super::settings::Settings;

/// Patience with one answer.
const LOOKUP: Duration = Duration::from_secs(5);

/// A client that belongs to no group and asks about one.
pub struct EndOffsets {
    client: BaseConsumer,
    settings: Settings,
}

impl EndOffsets {
    /// Connects lazily.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(settings: &Settings) -> Result<Self, FatalError> {
        let mut config = settings.reader("lag");
        // The group that is asked about; without a subscription the client does not join it.
        config.set("group.id", &settings.application_id);
        let client = config.create();
        let client = client.map_err(|error| FatalError::Config(format!("kafka.properties: lag: {error}")))?;
        Ok(EndOffsets { client, settings: settings.clone() })
    }

    /// The committed position of each partition and the end that a committed reader sees.
    ///
    /// # Errors
    /// The broker is away, or a transaction with these offsets has been open for long.
    pub fn of(&self, inputs: &[TopicPartition]) -> Result<Vec<(TopicPartition, Offset, Offset)>, KafkaFailure> {
        let committed = self.client.committed_offsets(list(inputs), LOOKUP)?;
        let mut found = Vec::with_capacity(inputs.len());
        for at in inputs {
            let (start, end) = self.client.fetch_watermarks(&at.topic, at.partition.0, LOOKUP)?;
            let offset = committed.find_partition(&at.topic, at.partition.0).map(|element| element.offset());
            let position = match offset {
                Some(KafkaOffset::Offset(offset)) => offset.max(start),
                _ if self.settings.starts_at_beginning(&at.topic) => start,
                _ => end,
            };
            found.push((at.clone(), Offset(position), Offset(end)));
        }
        Ok(found)
    }
}
