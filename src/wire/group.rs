//! What a consumer group's coordinator says of the group, and how a static member is taken out of it (KIP-345).

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{ConsumerProtocolAssignment, DescribeGroupsRequest, LeaveGroupRequest};
use kafka_protocol::protocol::{Decodable as _, StrBytes};

use super::error::{WireError, accepted};
use super::{BrokerId, Client, CoordinatorKind};
use crate::position::{Partition, TopicPartition};

/// The state of a group that has no rebalance under way.
const STABLE: &str = "Stable";
/// Bytes before an assignment: the version in which it is written.
const VERSION: usize = 2;
/// The first version that names members by their instance ids.
const BY_INSTANCE: i16 = 3;
/// What DescribeGroups answers for a group that is not there, from version 6 on; before, such a one is merely dead.
const GROUP_ID_NOT_FOUND: i16 = 69;
/// What LeaveGroup answers for a member that is not there.
const UNKNOWN_MEMBER_ID: i16 = 25;

/// Partitions that the members of a group have been told to read; `None` while the group rebalances, or is empty.
///
/// # Errors
/// The coordinator is away or refuses.
pub async fn assigned_in(client: &Client, group: &str) -> Result<Option<BTreeSet<TopicPartition>>, WireError> {
    let coordinator = coordinator(client, group).await?;
    let request = DescribeGroupsRequest::default().with_groups(vec![StrBytes::from_string(group.to_owned()).into()]);
    let described = client.connection(coordinator).await?.call(&request, ..).await?;
    let mut assigned = BTreeSet::new();
    for described in described.groups {
        if described.error_code != GROUP_ID_NOT_FOUND {
            accepted(&format!("describe group {group}"), described.error_code)?;
        }
        if &*described.group_state != STABLE {
            return Ok(None);
        }
        for member in described.members {
            assigned.extend(partitions(member.member_assignment).ok_or_else(|| WireError::Protocol {
                address: format!("broker {coordinator}"),
                reason: format!("group {group}: the assignment of {} can't be read", &*member.member_id),
            })?);
        }
    }
    Ok(Some(assigned))
}

/// Takes a static member out of its group, which is rebalanced at once. One that is not there is no error.
///
/// # Errors
/// The coordinator is away or refuses.
pub async fn remove_member(client: &Client, group: &str, instance: &str) -> Result<(), WireError> {
    let coordinator = coordinator(client, group).await?;
    let member = MemberIdentity::default().with_group_instance_id(Some(StrBytes::from_string(instance.to_owned())));
    let request = LeaveGroupRequest::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_members(vec![member]);
    let answer = client.connection(coordinator).await?.call(&request, BY_INSTANCE..).await?;
    let what = format!("take {instance} out of group {group}");
    accepted(&what, answer.error_code)?;
    let mut codes = answer.members.iter().map(|member| member.error_code);
    codes.try_for_each(|code| if code == UNKNOWN_MEMBER_ID { Ok(()) } else { accepted(&what, code) })
}

async fn coordinator(client: &Client, group: &str) -> Result<BrokerId, WireError> {
    client.coordinator(CoordinatorKind::Group, group).await
}

/// What a member was told, as the assignor has written it. Nothing at all is an assignment of nothing.
fn partitions(mut assignment: Bytes) -> Option<Vec<TopicPartition>> {
    if assignment.is_empty() {
        return Some(Vec::new());
    }
    if assignment.len() < VERSION {
        return None;
    }
    let version = assignment.split_to(VERSION);
    let version = i16::from_be_bytes([version[0], version[1]]);
    let decoded = ConsumerProtocolAssignment::decode(&mut assignment, version).ok()?;
    let of_topic = |topic: kafka_protocol::messages::consumer_protocol_assignment::TopicPartition| {
        let name = topic.topic.0.to_string();
        topic
            .partitions
            .into_iter()
            .map(move |partition| TopicPartition { topic: name.as_str().into(), partition: Partition(partition) })
    };
    Some(decoded.assigned_partitions.into_iter().flat_map(of_topic).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition: Partition(partition) }
    }

    #[test]
    fn an_assignment_is_read_in_the_version_that_it_names() {
        // Version 1: one topic, `in`, with partitions 0 and 3; no user data.
        let written = [0, 1, 0, 0, 0, 1, 0, 2, b'i', b'n', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 255, 255, 255, 255];
        assert_eq!(partitions(Bytes::copy_from_slice(&written)), Some(vec![at("in", 0), at("in", 3)]));
    }

    #[test]
    fn nothing_is_an_assignment_of_nothing_and_a_part_of_one_is_none() {
        assert_eq!(partitions(Bytes::new()), Some(Vec::new()));
        assert_eq!(partitions(Bytes::from_static(&[0])), None);
        assert_eq!(partitions(Bytes::from_static(&[0, 1, 0, 0, 0, 1, 0, 2, b'i'])), None);
    }
}
