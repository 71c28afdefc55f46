//! The requests of a fetcher, as messages.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseTopics;
use kafka_protocol::messages::{FetchRequest, GroupId, ListOffsetsRequest, OffsetFetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::engine::Flight;
use super::placing::Committed;
use super::settings::FetcherSettings;
use crate::position::{Partition, TopicPartition};
use crate::wire::{BrokerId, Client, Code, Connection, CoordinatorKind, TopicId, WireError};

/// The first version with topic ids (KIP-516).
const TOPIC_IDS: i16 = 13;
/// The first with flexible fields, and the newest that this is written for.
const OLDEST: i16 = 12;
const NEWEST: i16 = 17;
const READ_COMMITTED: i8 = 1;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
/// Version 8 is the first with several groups in one request, 10 the first that names topics by id.
const OFFSET_FETCH: std::ops::RangeInclusive<i16> = 8..=9;
/// Version 2 is the first with isolation levels.
const LIST_OFFSETS: std::ops::RangeInclusive<i16> = 2..=8;

/// Whether a cluster's brokers know the requests of a fetcher.
///
/// # Errors
/// Nobody can be asked. Within: what a broker lacks.
pub async fn is_offered(client: &Client) -> Result<Result<(), WireError>, WireError> {
    let connection = client.any().await?;
    let fetches = connection.version::<FetchRequest>(&(OLDEST..=NEWEST));
    Ok(fetches.and_then(|_| connection.version::<OffsetFetchRequest>(&OFFSET_FETCH)).map(drop))
}

/// The version to fetch these partitions in.
pub(super) fn version(connection: &Connection, flight: &Flight) -> Result<i16, WireError> {
    let named = flight.wanted.iter().any(|wanted| wanted.topic_id == TopicId::default());
    let newest = if named { OLDEST } else { NEWEST };
    connection.version::<FetchRequest>(&(OLDEST..=newest))
}

/// A fetch without a session (KIP-227): each names all that it wants.
pub(super) fn fetch(flight: &Flight, settings: &FetcherSettings, version: i16) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut last: Option<Arc<str>> = None;
    for wanted in &flight.wanted {
        let partition = FetchPartition::default()
            .with_partition(wanted.partition)
            .with_current_leader_epoch(wanted.epoch)
            .with_fetch_offset(wanted.position)
            .with_partition_max_bytes(int(settings.partition_bytes));
        // The order counts, so a topic is named again where another one's partition came between.
        if last.as_ref() != Some(&wanted.topic) {
            last = Some(Arc::clone(&wanted.topic));
            topics.push(if version < TOPIC_IDS {
                FetchTopic::default().with_topic(name(&wanted.topic))
            } else {
                FetchTopic::default().with_topic_id(wanted.topic_id.0.to_vec().try_into().unwrap_or_default())
            });
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(partition);
        }
    }
    FetchRequest::default()
        .with_max_wait_ms(i32::try_from(flight.max_wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(int(settings.min_bytes))
        .with_max_bytes(int(flight.max_bytes))
        .with_isolation_level(READ_COMMITTED)
        .with_topics(topics)
}

/// Where a committed reader can begin in a partition, and where it ends.
///
/// # Errors
/// It has no leader that answers, or the leader refuses; who leads is then asked for again.
pub async fn bounds(client: &Client, topic: &str, partition: Partition) -> Result<(i64, i64), WireError> {
    let leader = client.leader(topic, partition).await?;
    let found = bounds_at(client, leader.broker, topic, partition.0).await;
    found.inspect_err(|_| client.forget_leader(topic, partition))
}

/// Start and end of a partition, asked of its leader.
pub(super) async fn bounds_at(
    client: &Client,
    broker: BrokerId,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), WireError> {
    let connection = client.connection(broker).await?;
    let start = offset(&connection, topic, partition, EARLIEST).await?;
    Ok((start, offset(&connection, topic, partition, LATEST).await?))
}

async fn offset(connection: &Connection, topic: &str, partition: i32, time: i64) -> Result<i64, WireError> {
    let what = || format!("bounds of {topic}-{partition}");
    let wanted = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(time);
    let topics = vec![ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![wanted])];
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(READ_COMMITTED)
        .with_topics(topics);
    let response = connection.call(&request, LIST_OFFSETS).await?;
    let found = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let found = found.ok_or_else(|| WireError::Protocol { address: what(), reason: "not in the answer".to_owned() })?;
    match Code::new(found.error_code) {
        Some(code) => Err(WireError::from_code(what(), code)),
        None => Ok(found.offset),
    }
}

/// What a group has committed of these partitions, of transactions that are over only (KIP-447).
pub(super) async fn committed(
    client: &Client,
    group: &str,
    partitions: Vec<(usize, u64, TopicPartition)>,
) -> Vec<Committed> {
    let answer = ask_committed(client, group, &partitions).await;
    let found = |at: &TopicPartition| match &answer {
        Ok(topics) => one_committed(group, topics, at),
        Err(error) => Err(error.clone()),
    };
    partitions.into_iter().map(|(slot, ticket, at)| (slot, ticket, found(&at))).collect()
}

async fn ask_committed(
    client: &Client,
    group: &str,
    partitions: &[(usize, u64, TopicPartition)],
) -> Result<Vec<OffsetFetchResponseTopics>, WireError> {
    let mut topics: Vec<OffsetFetchRequestTopics> = Vec::new();
    for (_, _, at) in partitions {
        let topic = match topics.iter_mut().find(|topic| *topic.name.0 == *at.topic) {
            Some(topic) => topic,
            None => topics.push_mut(OffsetFetchRequestTopics::default().with_name(name(&at.topic))),
        };
        topic.partition_indexes.push(at.partition.0);
    }
    let id = StrBytes::from_string(group.to_owned());
    let groups = vec![OffsetFetchRequestGroup::default().with_group_id(GroupId(id)).with_topics(Some(topics))];
    let request = OffsetFetchRequest::default().with_groups(groups).with_require_stable(true);
    let coordinator = client.coordinator(CoordinatorKind::Group, group).await?;
    let answer = match client.connection(coordinator).await {
        Ok(connection) => connection.call(&request, OFFSET_FETCH).await,
        Err(error) => Err(error),
    };
    // Whoever does not answer may not be the coordinator any more.
    let answer = answer.inspect_err(|_| client.forget_coordinator(CoordinatorKind::Group, group))?;
    let what = || format!("committed positions of group {group}");
    let missing = || WireError::Protocol { address: what(), reason: "not in the answer".to_owned() };
    let found = answer.groups.into_iter().next().ok_or_else(missing)?;
    match Code::new(found.error_code) {
        Some(code) => {
            client.forget_coordinator(CoordinatorKind::Group, group);
            Err(WireError::from_code(what(), code))
        }
        None => Ok(found.topics),
    }
}

fn one_committed(
    group: &str,
    topics: &[OffsetFetchResponseTopics],
    at: &TopicPartition,
) -> Result<Option<i64>, WireError> {
    let what = || format!("committed position of group {group} in {at}");
    let mut partitions = topics.iter().filter(|topic| *topic.name.0 == *at.topic).flat_map(|topic| &topic.partitions);
    let found = partitions.find(|found| found.partition_index == at.partition.0);
    let missing = || WireError::Protocol { address: what(), reason: "not in the answer".to_owned() };
    let found = found.ok_or_else(missing)?;
    match Code::new(found.error_code) {
        Some(code) => Err(WireError::from_code(what(), code)),
        None => Ok(Some(found.committed_offset).filter(|offset| *offset >= 0)),
    }
}

/// How long an answer may take.
pub(super) fn patience(flight: &Flight, settings: &FetcherSettings) -> Duration {
    flight.max_wait + settings.request_timeout
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn int(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
