//! How far a group has come: its committed positions, asked of the broker.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::arm::Running;
use crate::Failure;

/// Between two looks: below a hundredth of the shortest run, and few enough for the broker not to notice.
const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at one group's positions in one topic.
pub(crate) struct Observer {
    client: BaseConsumer,
    topic: String,
    partitions: i32,
}

/// When the group was seen where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) at: Instant,
    /// Records whose effects are committed.
    pub(crate) committed: u64,
}

impl Observer {
    pub(crate) fn new(servers: &str, group: &str, topic: &str, partitions: i32) -> Result<Self, Failure> {
        let client = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            // Else the broker makes us wait while a transaction is open: what is committed is all we ask for.
            .set("isolation.level", "read_uncommitted")
            .create()?;
        Ok(Observer { client, topic: topic.to_owned(), partitions })
    }

    /// Asks once.
    pub(crate) fn look(&self) -> Result<Sight, Failure> {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.topic, 0, self.partitions - 1);
        let committed = self.client.committed_offsets(list, PATIENCE)?;
        let at = Instant::now();
        let offset = |offset| if let Offset::Offset(next) = offset { next } else { 0 };
        let sum: i64 = committed.elements().iter().map(|element| offset(element.offset())).sum();
        Ok(Sight { at, committed: u64::try_from(sum)? })
    }

    /// Waits until so many records are committed, or the arm has ended.
    pub(crate) fn wait(&self, records: u64, running: &mut Running, patience: Duration) -> Result<Sight, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = match self.look() {
                Ok(sight) if sight.committed >= records => return Ok(sight),
                Ok(sight) => format!("{} of {records} records", sight.committed),
                // At first the group's coordinator is not known, or not ready.
                Err(error) => error.to_string(),
            };
            running.check()?;
            if Instant::now() > deadline {
                return Err(format!("{seen} after {patience:?}").into());
            }
            std::thread::sleep(LOOK);
        }
    }
}
