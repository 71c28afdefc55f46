//! The consumer of one stream thread: records, and rebalances as events.
//!
//! The rebalance callback only notes what is asked (rule R-14): the stream thread commits or aborts first and then calls
//! [`GroupConsumer::assign`] or [`GroupConsumer::unassign`], whose errors it sees. librdkafka waits for that call. It is
//! the member of the group in any case; who fetches is said by [`Fetching`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use crate::error::FatalError;
use crate::position::{Offset, Partition, TopicPartition};

use super::event::{ConsumerError, Event, Fetched, Rebalance};
use super::fetching::{Fetching, NativeFetching};
use super::group_context::GroupContext;
use super::membership::Membership;
use super::producer::offset_list;
use super::settings::Settings;

/// A member of the application's consumer group.
pub struct GroupConsumer {
    client: BaseConsumer<GroupContext>,
    /// The rights that it needs, since librdkafka's refusals name nothing.
    rights: String,
    /// Who fetches, if it is not librdkafka.
    native: Option<NativeFetching>,
}

impl GroupConsumer {
    /// Joins the group with a subscription to names and `^patterns`.
    ///
    /// # Errors
    /// librdkafka refuses the configuration or the subscription; the native fetcher refuses a property.
    pub fn subscribe(
        settings: &Settings,
        thread: usize,
        topics: &[&str],
        fetching: Fetching,
    ) -> Result<Self, FatalError> {
        let config = settings.consumer(thread, fetching);
        let client = BaseConsumer::from_config_and_context(&config, GroupContext::default())
            .map_err(|error| FatalError::Config(format!("kafka.properties: consumer: {error}")))?;
        client
            .subscribe(topics)
            .map_err(|error| FatalError::Config(format!("topics: cannot subscribe to {topics:?}: {error}")))?;
        let rights = format!("Read on topic {} and on group {}", topics.join(", "), settings.application_id);
        let native = match fetching {
            Fetching::Native => Some(NativeFetching::start(settings, thread, &rights)?),
            Fetching::Librdkafka => None,
        };
        Ok(GroupConsumer { client, rights, native })
    }

    /// The next event, waiting at most `wait`. Must be called for ever, also when everything is paused (rule R-4).
    pub fn poll(&self, wait: Duration) -> Event<'_> {
        if let Some(rebalance) = self.next_rebalance() {
            return Event::Rebalance(rebalance);
        }
        let Some(native) = &self.native else { return self.poll_member(wait) };
        match self.poll_member(Duration::ZERO) {
            // Fetched before the pause had reached the broker's thread; its turn comes below.
            Event::Record(_) | Event::End(_) | Event::Idle => native.poll(wait),
            event => event,
        }
    }

    fn poll_member(&self, wait: Duration) -> Event<'_> {
        let polled = self.client.poll(wait);
        // Looked at after the poll: a record of the new topic comes later than the word of it.
        if let Some(topic) = self.client.context().anew.take() {
            return Event::Error(ConsumerError::MadeAnew(topic));
        }
        // A record that came with a rebalance in the queue is of a partition that is still ours: it goes first.
        match polled {
            Some(Ok(message)) => Event::Record(Fetched::new(message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => Event::End(Partition(partition)),
            Some(Err(error)) => Event::Error(self.classify(&error)),
            None => self.next_rebalance().map_or(Event::Idle, Event::Rebalance),
        }
    }

    fn classify(&self, error: &KafkaError) -> ConsumerError {
        use RDKafkaErrorCode as Code;
        // A fatal error comes as such, with its cause beside it.
        let is_fatal = error.rdkafka_error_code() == Some(Code::Fatal);
        let (code, text) = match self.client.client().fatal_error().filter(|_| is_fatal) {
            Some((cause, text)) => (Some(cause), format!("{text} ({cause})")),
            None => (error.rdkafka_error_code(), error.to_string()),
        };
        match code {
            Some(Code::PollExceeded) => ConsumerError::PollOverdue,
            Some(Code::FencedInstanceId) if self.client.context().lapsed.load(Ordering::Acquire) => {
                ConsumerError::FencedItself(text)
            }
            Some(Code::FencedInstanceId) => ConsumerError::Fenced(text),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => ConsumerError::MissingTopic(text),
            Some(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::Authentication,
            ) => {
                let text = format!("consumer: {text}; allow {} to the application's user", self.rights);
                ConsumerError::Fatal(FatalError::Authorisation(text))
            }
            code if is_fatal || code == Some(Code::InvalidArgument) => {
                ConsumerError::Fatal(FatalError::Other { context: "the consumer".to_owned(), source: text.into() })
            }
            _ => ConsumerError::Away(text),
        }
    }

    fn next_rebalance(&self) -> Option<Rebalance> {
        let (assigned, partitions) = self.client.context().next_rebalance()?;
        Some(match assigned {
            true => Rebalance::Assigned(partitions),
            false => Rebalance::Revoked { partitions, lost: self.client.assignment_lost() },
        })
    }

    /// Takes partitions; those with a position start there, the others at their committed offset. They start paused.
    ///
    /// # Errors
    /// librdkafka's error.
    pub fn assign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        let mut list = list(partitions);
        if self.native.is_some() {
            // With an offset librdkafka does not look for one.
            list.set_all_offsets(KafkaOffset::Offset(0))?;
        }
        match self.client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.client.incremental_assign(&list)?,
            _ => self.client.assign(&list)?,
        }
        self.client.pause(&list)?;
        if let Some(native) = &self.native {
            native.assign(partitions);
        }
        Ok(())
    }

    /// Gives partitions up.
    ///
    /// # Errors
    /// librdkafka's error.
    pub fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        if let Some(native) = &self.native {
            native.unassign(partitions);
        }
        match self.client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => Ok(self.client.incremental_unassign(&list(partitions))?),
            _ => Ok(self.client.unassign()?),
        }
    }

    /// Stops fetching.
    ///
    /// # Errors
    /// librdkafka's error.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        match &self.native {
            Some(native) => native.pause(partitions),
            None => self.client.pause(&list(partitions))?,
        }
        Ok(())
    }

    /// Fetches again.
    ///
    /// # Errors
    /// librdkafka's error.
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<(), KafkaFailure> {
        match &self.native {
            Some(native) => native.resume(partitions),
            None => self.client.resume(&list(partitions))?,
        }
        Ok(())
    }

    /// Moves to these positions; records that were buffered before are not seen again.
    ///
    /// # Errors
    /// librdkafka's error, or that of one partition.
    pub fn seek(&self, positions: &[(TopicPartition, Offset)], deadline: Duration) -> Result<(), KafkaFailure> {
        if let Some(native) = &self.native {
            native.seek(positions);
            return Ok(());
        }
        for (at, next) in positions {
            match self.client.seek(&at.topic, at.partition.0, KafkaOffset::Offset(next.0), deadline) {
                // Assigned a moment ago, not fetched from yet: it will start at what is committed.
                Err(KafkaError::Seek(_)) if !self.has_started(at) => {}
                sought => sought?,
            }
        }
        Ok(())
    }

    /// The committed positions of these partitions, stable ones only; `None` where nothing was committed.
    ///
    /// # Errors
    /// The coordinator is away, or a transaction that touches the offsets is still open.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
        deadline: Duration,
    ) -> Result<Vec<(TopicPartition, Option<Offset>)>, KafkaFailure> {
        let committed = self.client.committed_offsets(list(partitions), deadline)?;
        let element = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            element.error().map_err(KafkaFailure::from)?;
            let at = TopicPartition { topic: element.topic().into(), partition: Partition(element.partition()) };
            Ok((at, if let KafkaOffset::Offset(next) = element.offset() { Some(Offset(next)) } else { None }))
        };
        committed.elements().into_iter().map(element).collect()
    }

    /// First and next offset of a partition, as a committed reader sees them.
    ///
    /// # Errors
    /// The broker is away.
    pub fn bounds(&self, at: &TopicPartition, deadline: Duration) -> Result<(Offset, Offset), KafkaFailure> {
        let (first, next) = self.client.fetch_watermarks(&at.topic, at.partition.0, deadline)?;
        Ok((Offset(first), Offset(next)))
    }

    /// How many partitions a topic has now.
    ///
    /// # Errors
    /// The cluster is away.
    pub fn partitions(&self, topic: &str, deadline: Duration) -> Result<i32, KafkaFailure> {
        let metadata = self.client.fetch_metadata(Some(topic), deadline)?;
        Ok(metadata.topics().first().map_or(0, |topic| topic.partitions().len() as i32))
    }

    /// Commits positions without a transaction (at-least-once).
    ///
    /// # Errors
    /// The coordinator is away or the membership is lost.
    pub fn commit(&self, positions: &[(TopicPartition, Offset)]) -> Result<(), KafkaFailure> {
        let list = offset_list(positions).map_err(|error| KafkaFailure(error.to_string()))?;
        Ok(self.client.commit(&list, rdkafka::consumer::CommitMode::Sync)?)
    }

    /// The place in the group, taken now (rule R-6); `None` while there is none.
    ///
    /// A membership that was lost leaves generation −1 and no member id behind, and with these a broker accepts the
    /// commit of any zombie. So the loss is asked for *after* the metadata was taken: the client's main thread, which
    /// hands out the metadata, marks the loss in the same step in which it resets them.
    pub fn membership(&self) -> Option<Membership> {
        let membership = Membership::of(&self.client)?;
        (!self.client.assignment_lost()).then_some(membership)
    }

    /// Answers a rebalance that nobody will work on.
    pub fn answer(&self, rebalance: &Rebalance) {
        let answered = match rebalance {
            Rebalance::Assigned(partitions) => self.assign(partitions),
            Rebalance::Revoked { partitions, .. } => self.unassign(partitions),
        };
        if let Err(error) = answered {
            tracing::debug!(target: "headrace::kafka", %error, "answering a rebalance");
        }
    }

    /// Whether a broker answers.
    pub fn is_reachable(&self, topic: &str, patience: Duration) -> bool {
        self.client.fetch_metadata(Some(topic), patience).is_ok()
    }

    /// Leaves the group; keep polling until everything is revoked.
    pub fn unsubscribe(&self) {
        self.client.unsubscribe();
    }

    /// Whether a record of the partition has been handed out since it was assigned.
    fn has_started(&self, at: &TopicPartition) -> bool {
        let position = self.client.position().ok();
        let element = position.as_ref().and_then(|list| list.find_partition(&at.topic, at.partition.0));
        element.is_some_and(|element| matches!(element.offset(), KafkaOffset::Offset(_)))
    }

    /// The offset after all that was handed out, past the markers of transactions (rule R-7), if whoever fetches knows it.
    pub fn position(&self, at: &TopicPartition) -> Option<Offset> {
        self.native.as_ref()?.position(at)
    }

    /// Whether any partition is assigned.
    pub fn has_assignment(&self) -> bool {
        self.client.assignment().is_ok_and(|assignment| assignment.count() > 0)
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.client.context().closing.store(true, Ordering::Release);
        while let Some(rebalance) = self.next_rebalance() {
            self.answer(&rebalance);
        }
    }
}

/// A call to librdkafka that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct KafkaFailure(pub String);

impl From<KafkaError> for KafkaFailure {
    fn from(error: KafkaError) -> Self {
        KafkaFailure(error.to_string())
    }
}

pub(super) fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for at in partitions {
        list.add_partition(&at.topic, at.partition.0);
    }
    list
}
