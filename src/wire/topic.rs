//! What a cluster says of one topic when it is asked now: whether it can be written to, and with what settings. What is known already is
//! [`Client::partitions`] and [`Client::leader`]; this is for who must not be wrong for longer than a moment.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{DescribeConfigsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Client;
use super::error::{Code, WireError, accepted};
use super::metadata::UNKNOWN_TOPIC;

/// Version 8 is the first that tells what one may do (KIP-430).
const METADATA_VERSIONS: RangeInclusive<i16> = 8..=13;
/// LEADER_NOT_AVAILABLE.
const LEADER_NOT_AVAILABLE: i16 = 5;
/// The resource type of topics.
const TOPIC: i8 = 2;
/// The bit of the right to write (AclOperation).
const WRITE: i32 = 1 << 4;

/// A topic as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSeen {
    /// Whether it is one of Kafka's own, that clients don't write to.
    pub is_internal: bool,
    /// Whether the client's user may write to it.
    pub may_write: bool,
    /// A partition that has no leader, if one has none.
    pub leaderless: Option<i32>,
    /// The replicas that are in sync, of the partition that has fewest.
    pub least_in_sync: usize,
}

impl TopicSeen {
    fn of(topic: &MetadataResponseTopic) -> Self {
        let partitions = &topic.partitions;
        TopicSeen {
            is_internal: topic.is_internal,
            may_write: topic.topic_authorized_operations & WRITE != 0,
            leaderless: partitions.iter().find(|own| own.leader_id.0 < 0).map(|own| own.partition_index),
            least_in_sync: partitions.iter().map(|own| own.isr_nodes.len()).min().unwrap_or(0),
        }
    }
}

impl Client {
    /// Asks for a topic, whatever is known of it.
    ///
    /// # Errors
    /// [`WireError::UnknownTopic`], [`WireError::NotAuthorised`] without the right to describe it, [`WireError::Unreachable`].
    pub async fn look_at(&self, topic: &str) -> Result<TopicSeen, WireError> {
        let wanted =
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(topic.to_owned()))));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        let response = self.ask(&request, METADATA_VERSIONS).await?;
        accepted("metadata", response.error_code)?;
        let is_it = |seen: &&MetadataResponseTopic| seen.name.as_ref().is_some_and(|name| &*name.0 == topic);
        let seen = response.topics.iter().find(is_it);
        let unknown = || WireError::UnknownTopic { topic: topic.to_owned() };
        let seen = seen.ok_or_else(unknown)?;
        match Code::new(seen.error_code) {
            Some(code) if UNKNOWN_TOPIC.contains(&code.number()) => Err(unknown()),
            // The partitions say which.
            Some(code) if code.number() != LEADER_NOT_AVAILABLE => {
                Err(WireError::from_code(format!("metadata of topic {topic}"), code))
            }
            _ => Ok(TopicSeen::of(seen)),
        }
    }

    /// Some of a topic's settings, the brokers' defaults included.
    ///
    /// # Errors
    /// [`WireError::NotAuthorised`] without the right to describe them, [`WireError::Unreachable`].
    pub async fn topic_settings(&self, topic: &str, names: &[&str]) -> Result<BTreeMap<String, String>, WireError> {
        let names = names.iter().map(|name| StrBytes::from_string((*name).to_owned())).collect();
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configuration_keys(Some(names));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let described = self.any().await?.call(&request, ..).await?;
        let mut settings = BTreeMap::new();
        for result in described.results {
            accepted(&format!("describe settings of topic {topic}"), result.error_code)?;
            let configs = result.configs.into_iter();
            settings.extend(configs.filter_map(|config| Some((config.name.to_string(), config.value?.to_string()))));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::metadata_response::MetadataResponsePartition;

    use super::*;

    fn partition(number: i32, leader: i32, in_sync: &[i32]) -> MetadataResponsePartition {
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_leader_id(leader.into())
            .with_isr_nodes(in_sync.iter().map(|id| (*id).into()).collect())
    }

    #[test]
    fn a_topic_can_be_written_to_where_all_partitions_have_leaders_and_the_user_has_the_right() {
        let seen = |partitions: Vec<MetadataResponsePartition>, operations: i32| {
            let topic = MetadataResponseTopic::default().with_partitions(partitions);
            TopicSeen::of(&topic.with_topic_authorized_operations(operations))
        };
        let fine = seen(vec![partition(0, 1, &[1, 2]), partition(1, 2, &[2])], 0b0001_1000);
        assert_eq!(fine, TopicSeen { is_internal: false, may_write: true, leaderless: None, least_in_sync: 1 });
        let unled = seen(vec![partition(0, 1, &[1, 2]), partition(1, -1, &[])], 0b0000_1000);
        assert_eq!((unled.may_write, unled.leaderless, unled.least_in_sync), (false, Some(1), 0));
    }
}
