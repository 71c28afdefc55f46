//! What librdkafka calls back: rebalances are only noted here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::anew::Anew;
use super::log;
use crate::position::{Partition, TopicPartition};

/// The facilities of librdkafka's warnings that it takes itself for gone from the group, and joins under a new id: no
/// heartbeat was answered for `session.timeout.ms`, or nobody has polled for `max.poll.interval.ms`.
const OUT_OF_THE_GROUP: [&str; 2] = ["SESSTMOUT", "MAXPOLL"];

#[derive(Default)]
pub(super) struct GroupContext {
    rebalances: Mutex<VecDeque<(bool, Vec<TopicPartition>)>>,
    /// Whether any is waiting: looked at before each record, so without the lock.
    waiting: AtomicBool,
    /// Topics that were made anew, and whether there are any.
    pub(super) anew: Anew,
    /// Whether the session has run out on this side, ever: what it leads to comes later.
    pub(super) lapsed: AtomicBool,
    /// Nobody answers rebalances any more.
    pub(super) closing: AtomicBool,
}

impl ClientContext for GroupContext {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "headrace::kafka", %error, reason, "consumer");
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.anew.look(facility, message);
        if OUT_OF_THE_GROUP.contains(&facility) {
            self.lapsed.store(true, Ordering::Release);
        }
        log::forward("consumer", level, facility, message);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, client: &BaseConsumer<Self>, kind: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) {
            // The last one, from within the drop, which waits for this answer for ever. A client that is being closed
            // takes any assignment for none.
            if let Err(error) = client.unassign() {
                tracing::debug!(target: "headrace::kafka", %error, "giving up the last assignment");
            }
            return;
        }
        let assigned = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let partitions = topic_partitions(partitions);
        self.rebalances.lock().unwrap_or_else(PoisonError::into_inner).push_back((assigned, partitions));
        self.waiting.store(true, Ordering::Release);
    }
}

impl GroupContext {
    /// The next rebalance: whether partitions are assigned or revoked, and which.
    pub(super) fn next_rebalance(&self) -> Option<(bool, Vec<TopicPartition>)> {
        if !self.waiting.load(Ordering::Acquire) {
            return None;
        }
        let mut rebalances = self.rebalances.lock().unwrap_or_else(PoisonError::into_inner);
        let next = rebalances.pop_front();
        self.waiting.store(!rebalances.is_empty(), Ordering::Release);
        next
    }
}

fn topic_partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let mut names: Vec<Arc<str>> = Vec::new();
    let mut name = |topic: &str| match names.iter().find(|known| &***known == topic) {
        Some(known) => Arc::clone(known),
        None => {
            names.push(topic.into());
            names[names.len() - 1].clone()
        }
    };
    let element = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| TopicPartition {
        topic: name(element.topic()),
        partition: Partition(element.partition()),
    };
    list.elements().into_iter().map(element).collect()
}
