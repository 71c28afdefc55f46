//! Ends transactions that a dead owner has left open in a partition (rule R-31; KIP-664's requests tell whose they are).
//!
//! ```text
//!  DescribeProducers (the partition's leader)  ─▶ producers with a transaction open in it
//!  ListTransactions  (each broker)             ─▶ their transactional ids
//!  InitProducerId    (the id's coordinator)    ─▶ aborted at once; whoever still has the id is fenced
//! ```
//!
//! What is named is the producer whose transaction stands in the way now, not one that was the owner once: who has merely
//! moved on, and lives, has nothing open there, and is left alone. A producer has two ids that take turns: what the other one has
//! open, here or elsewhere, is ended with it, for its owner is fenced.

use std::time::Duration;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{
    DescribeProducersRequest, InitProducerIdRequest, ListTransactionsRequest, ProducerId, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::error::{WireError, accepted};
use super::producer::twin;
use super::{Client, CoordinatorKind};
use crate::position::TopicPartition;

/// The state of a transaction that nobody is ending yet.
const ONGOING: &str = "Ongoing";
/// What InitProducerId answers while the abort that it has begun is under way: that is all that is wanted of it.
const CONCURRENT_TRANSACTIONS: i16 = 51;

/// Aborts what is open in a partition, of those transactional ids that `is_ours` knows; gives them. A fenced owner that lives
/// finds out at its next step.
///
/// # Errors
/// Somebody can't be asked, or refuses; what was ended until then is ended.
pub async fn end_open_transactions(
    client: &Client,
    at: &TopicPartition,
    is_ours: impl Fn(&str) -> bool + Send + Sync,
    timeout: Duration,
) -> Result<Vec<String>, WireError> {
    let open = open_producers(client, at).await?;
    let mut ended = Vec::new();
    if open.is_empty() {
        return Ok(ended);
    }
    let ongoing = ongoing(client, is_ours).await?;
    let in_the_way = |id: &str| ongoing.iter().any(|(known, producer)| known == id && open.contains(producer));
    for (id, _) in &ongoing {
        if in_the_way(id) || in_the_way(&twin(id)) {
            take_over(client, id, timeout).await?;
            ended.push(id.clone());
        }
    }
    Ok(ended)
}

/// Our transactions that nobody is ending yet: ids and producers. Each broker tells of those that it coordinates.
async fn ongoing(client: &Client, is_ours: impl Fn(&str) -> bool) -> Result<Vec<(String, ProducerId)>, WireError> {
    let mut ongoing = Vec::new();
    for (broker, _) in client.brokers() {
        let request = ListTransactionsRequest::default().with_state_filters(vec![StrBytes::from_static_str(ONGOING)]);
        let listed = client.connection(broker).await?.call(&request, ..).await?;
        accepted("list transactions", listed.error_code)?;
        let states = listed.transaction_states.into_iter();
        let named = states.map(|state| (state.transactional_id.0.to_string(), state.producer_id));
        ongoing.extend(named.filter(|(id, _)| is_ours(id)));
    }
    Ok(ongoing)
}

/// Producers with a transaction open in the partition.
async fn open_producers(client: &Client, at: &TopicPartition) -> Result<Vec<ProducerId>, WireError> {
    let leader = client.leader(&at.topic, at.partition).await?;
    let topic = TopicRequest::default()
        .with_name(StrBytes::from_string(at.topic.to_string()).into())
        .with_partition_indexes(vec![at.partition.0]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let described = client.connection(leader.broker).await?.call(&request, ..).await?;
    let mut open = Vec::new();
    for partition in described.topics.into_iter().flat_map(|topic| topic.partitions) {
        accepted(&format!("describe producers of {at}"), partition.error_code)?;
        let active = partition.active_producers.into_iter();
        open.extend(active.filter(|state| state.current_txn_start_offset >= 0).map(|state| state.producer_id));
    }
    Ok(open)
}

async fn take_over(client: &Client, id: &str, timeout: Duration) -> Result<(), WireError> {
    let coordinator = client.coordinator(CoordinatorKind::Transaction, id).await?;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_string(id.to_owned()))))
        .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let answer = client.connection(coordinator).await?.call(&request, ..).await?;
    match answer.error_code {
        CONCURRENT_TRANSACTIONS => Ok(()),
        code => accepted(&format!("take over {id}"), code),
    }
}
