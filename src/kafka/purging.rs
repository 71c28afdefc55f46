//! Deletes what a group has committed of topics that nobody else reads.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use crate::error::FatalError;
use crate::position::TopicPartition;

use super::consumer::{KafkaFailure, list};
use super::librdkafka_changelogs::Quiet;
use super::settings::Settings;

/// Patience with one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for the group's positions, and has what is before them deleted (DeleteRecords, KIP-107). Blocks.
pub struct Purger {
    /// Asks about the group and does not join it.
    reader: BaseConsumer<Quiet>,
    admin: AdminClient<DefaultClientContext>,
}

impl Purger {
    /// Connects lazily.
    ///
    /// # Errors
    /// librdkafka refuses the configuration.
    pub fn new(settings: &Settings) -> Result<Self, FatalError> {
        let refused = |error| FatalError::Config(format!("kafka.properties: purge: {error}"));
        let mut config = settings.reader("purge");
        config.set("group.id", &settings.application_id);
        let reader = config.create_with_context(Quiet).map_err(refused)?;
        Ok(Purger { reader, admin: settings.admin().create().map_err(refused)? })
    }

    /// Deletes of each partition what is before its committed position; gives how many offsets went. Where nothing is
    /// committed nothing is deleted. Positions of a transaction that is open are not committed.
    ///
    /// # Errors
    /// The cluster is away, or refuses: the right Delete on the topic is needed.
    pub fn purge(&self, partitions: &[TopicPartition]) -> Result<u64, KafkaFailure> {
        let committed = self.reader.committed_offsets(list(partitions), PATIENCE)?;
        let (mut wanted, mut offsets) = (TopicPartitionList::new(), 0);
        for element in committed.elements() {
            element.error()?;
            let KafkaOffset::Offset(next) = element.offset() else { continue };
            let (first, _) = self.reader.fetch_watermarks(element.topic(), element.partition(), PATIENCE)?;
            if first < next {
                offsets += (next - first).unsigned_abs();
                wanted.add_partition_offset(element.topic(), element.partition(), KafkaOffset::Offset(next))?;
            }
        }
        if wanted.count() == 0 {
            return Ok(0);
        }
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let deleted = block_on(self.admin.delete_records(&wanted, &options))?;
        for element in deleted.elements() {
            let place = |error| KafkaFailure(format!("{}-{}: {error}", element.topic(), element.partition()));
            element.error().map_err(place)?;
        }
        Ok(offsets)
    }
}
