//! Where a stream thread's clients come from, if not from brokers.

use super::changelog::ChangelogReader;
use super::consumer::KafkaFailure;
use super::intake::Intake;
use super::restoring::ChangelogFetcher;
use super::transaction::{ProduceError, TransactionalProducer};
use crate::error::FatalError;
use crate::position::TopicPartition;

/// A cluster without brokers: a model of one, in which the loop is simulated. All that a stream thread asks of Kafka it asks
/// of these four clients and of the coordinators, on its own thread, so whoever makes them sees each step of it, and may hold
/// it there.
pub trait Cluster: Send + Sync {
    /// A member of the group that reads these topics.
    ///
    /// # Errors
    /// It can't be had.
    fn join(&self, thread: usize, topics: &[&str]) -> Result<Box<dyn Intake>, FatalError>;

    /// A producer with this stream thread's transactional id.
    ///
    /// # Errors
    /// It can't be had.
    fn producer(&self, thread: usize) -> Result<Box<dyn TransactionalProducer + Send>, ProduceError>;

    /// What reads changelogs of tasks that are open.
    fn reader(&self, thread: usize) -> ChangelogReader;

    /// What reads changelogs of tasks that are restored. It is polled without a wait.
    fn changelogs(&self, thread: usize) -> ChangelogFetcher;

    /// Aborts what other instances of the application have open in a changelog partition, soon or at once; gives their
    /// transactional ids.
    ///
    /// # Errors
    /// As [`end_transactions_of_others`](super::end_transactions_of_others).
    fn end_transactions_of_others(&self, at: &TopicPartition) -> Result<Vec<String>, KafkaFailure>;

    /// Partitions of these topics that no member was told to read.
    ///
    /// # Errors
    /// As [`unowned`](super::unowned).
    fn unowned(&self, topics: &[String]) -> Result<Option<Vec<TopicPartition>>, KafkaFailure>;

    /// Takes this stream thread's member out of the group.
    ///
    /// # Errors
    /// As [`leave_group`](super::leave_group).
    fn leave_group(&self, thread: usize) -> Result<(), KafkaFailure>;
}
