//! Questions to the cluster, as the engine asks them: whole topics at a time.

use std::sync::Arc;

use super::leaders::{Leaders, Led};
use crate::position::Partition;
use crate::wire::{BrokerId, Client, TopicId, WireError};

/// Leaders of these topics' partitions. What is doubted is not answered from what is known.
pub(super) async fn leaders(
    client: &Client,
    topics: Vec<Arc<str>>,
    doubted: Vec<(Arc<str>, i32)>,
) -> Vec<(Arc<str>, Leaders)> {
    for (topic, partition) in doubted {
        client.forget_leader(&topic, Partition(partition));
        // Asks the cluster, also for a partition that was not there; the answer is looked at below.
        let _ = client.leader(&topic, Partition(partition)).await;
    }
    let mut all = Vec::with_capacity(topics.len());
    for topic in topics {
        let leaders = leaders_of(client, &topic).await;
        all.push((topic, leaders));
    }
    all
}

async fn leaders_of(client: &Client, topic: &str) -> Leaders {
    let count = client.partitions(topic).await?;
    let (mut id, mut leaders) = (TopicId::default(), Vec::with_capacity(count));
    for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
        leaders.push(match client.leader(topic, Partition(partition)).await {
            Ok(leader) => {
                id = leader.topic_id;
                Some(leader.broker)
            }
            Err(WireError::NoLeader { .. }) => None,
            Err(error) => return Err(error),
        });
    }
    Ok(Led { id, leaders })
}

/// Any broker, for a request that each of them answers.
pub(super) async fn whoever(client: &Client) -> Result<BrokerId, WireError> {
    if client.brokers().is_empty() {
        client.transaction_version().await?;
    }
    let brokers = client.brokers();
    let known = brokers.get(fastrand::usize(..brokers.len().max(1)));
    known.map(|(broker, _)| *broker).ok_or_else(|| WireError::Unreachable { tried: "no broker is known".to_owned() })
}
