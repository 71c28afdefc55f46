//! The seam between the loop and whoever is its member of the group and hands it records.
//!
//! On brokers that is a [`GroupConsumer`], with librdkafka's fetching or the native one. Where the loop is simulated it is a
//! member of a group that a model keeps. A call goes through a table of functions once a portion, not once a record.

use std::time::Duration;

use super::consumer::{GroupConsumer, KafkaFailure};
use super::event::{Event, Rebalance};
use super::membership::Membership;
use crate::position::{Offset, TopicPartition};

/// Positions of partitions; `None` where there is none.
pub type Positions = Vec<(TopicPartition, Option<Offset>)>;

/// A member of the application's group, and its records. What each call means is said at [`GroupConsumer`].
#[expect(clippy::missing_errors_doc, reason = "as there")]
pub trait Intake: Send + Sync {
    /// [`GroupConsumer::poll`].
    fn poll(&self, wait: Duration) -> Event<'_>;
    /// [`GroupConsumer::assign`].
    fn assign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure>;
    /// [`GroupConsumer::unassign`].
    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure>;
    /// [`GroupConsumer::pause`].
    fn pause(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure>;
    /// [`GroupConsumer::resume`].
    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure>;
    /// [`GroupConsumer::seek`].
    fn seek(&self, positions: &[(TopicPartition, Offset)], deadline: Duration) -> Result<(), KafkaFailure>;
    /// [`GroupConsumer::committed`].
    fn committed(&self, partitions: &[TopicPartition], deadline: Duration) -> Result<Positions, KafkaFailure>;
    /// [`GroupConsumer::bounds`].
    fn bounds(&self, at: &TopicPartition, deadline: Duration) -> Result<(Offset, Offset), KafkaFailure>;
    /// [`GroupConsumer::partitions`].
    fn partitions(&self, topic: &str, deadline: Duration) -> Result<i32, KafkaFailure>;
    /// [`GroupConsumer::commit`].
    fn commit(&self, positions: &[(TopicPartition, Offset)]) -> Result<(), KafkaFailure>;
    /// [`GroupConsumer::membership`].
    fn membership(&self) -> Option<Membership>;
    /// [`GroupConsumer::is_reachable`].
    fn is_reachable(&self, topic: &str, patience: Duration) -> bool;
    /// [`GroupConsumer::unsubscribe`].
    fn unsubscribe(&self);
    /// [`GroupConsumer::position`].
    fn position(&self, at: &TopicPartition) -> Option<Offset>;

    /// [`GroupConsumer::answer`].
    fn answer(&self, rebalance: &Rebalance) {
        let answered = match rebalance {
            Rebalance::Assigned(partitions) => self.assign(partitions),
            Rebalance::Revoked { partitions, .. } => self.unassign(partitions),
        };
        if let Err(error) = answered {
            tracing::debug!(target: "headrace::kafka", %error, "answering a rebalance");
        }
    }
}

impl Intake for GroupConsumer {
    fn poll(&self, wait: Duration) -> Event<'_> {
        self.poll(wait)
    }

    fn assign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        self.assign(partitions)
    }

    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        self.unassign(partitions)
    }

    fn pause(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        self.pause(partitions)
    }

    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        self.resume(partitions)
    }

    fn seek(&self, positions: &[(TopicPartition, Offset)], deadline: Duration) -> Result<(), KafkaFailure> {
        self.seek(positions, deadline)
    }

    fn committed(&self, partitions: &[TopicPartition], deadline: Duration) -> Result<Positions, KafkaFailure> {
        self.committed(partitions, deadline)
    }

    fn bounds(&self, at: &TopicPartition, deadline: Duration) -> Result<(Offset, Offset), KafkaFailure> {
        self.bounds(at, deadline)
    }

    fn partitions(&self, topic: &str, deadline: Duration) -> Result<i32, KafkaFailure> {
        self.partitions(topic, deadline)
    }

    fn commit(&self, positions: &[(TopicPartition, Offset)]) -> Result<(), KafkaFailure> {
        self.commit(positions)
    }

    fn membership(&self) -> Option<Membership> {
        self.membership()
    }

    fn is_reachable(&self, topic: &str, patience: Duration) -> bool {
        self.is_reachable(topic, patience)
    }

    fn unsubscribe(&self) {
        self.unsubscribe();
    }

    fn position(&self, at: &TopicPartition) -> Option<Offset> {
        self.position(at)
    }
}
