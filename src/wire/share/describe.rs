//! ShareGroupDescribe: a share group as its coordinator sees it, with who is in it and who was told to read what.

use kafka_protocol::messages::share_group_describe_response::{DescribedGroup, Member};
use kafka_protocol::messages::{GroupId, ShareGroupDescribeRequest};
use kafka_protocol::protocol::StrBytes;

use crate::wire::error::accepted;
use crate::wire::{Connection, WireError};

/// The only stable version; 0 was of the early access in Kafka 4.0.
const VERSION: std::ops::RangeInclusive<i16> = 1..=1;
/// What the coordinator answers for a group that is not there.
const GROUP_ID_NOT_FOUND: i16 = 69;

/// A share group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareGroup {
    /// `Stable` with members, `Empty` without.
    pub state: String,
    /// Grows with each change of the members or of their subscriptions.
    pub epoch: i32,
    /// The epoch that the assignment was computed for; behind `epoch` for a moment.
    pub assignment_epoch: i32,
    /// Who assigns.
    pub assignor: String,
    /// The members, by client id and host.
    pub members: Vec<ShareMember>,
}

/// A member of a share group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareMember {
    /// Its own id, for its whole life.
    pub id: String,
    /// What it calls itself (`client.id`).
    pub client_id: String,
    /// Where the coordinator sees it, as it writes addresses: `/10.0.0.7`.
    pub host: String,
    /// Its epoch.
    pub epoch: i32,
    /// The topics that it reads.
    pub topics: Vec<String>,
    /// What it was told to read: topics, and of each the partitions. Others may have been told the same (KIP-932).
    pub assigned: Vec<(String, Vec<i32>)>,
}

/// Describes a group; none if there is no share group of this name. The group's coordinator is who to ask.
///
/// # Errors
/// [`WireError::Unsupported`] by a broker without share groups, a refusal, or an error of the connection.
pub async fn describe_group(connection: &Connection, group: &str) -> Result<Option<ShareGroup>, WireError> {
    let id = GroupId(StrBytes::from_string(group.to_owned()));
    let request = ShareGroupDescribeRequest::default().with_group_ids(vec![id]);
    let answer = connection.call(&request, VERSION).await?;
    let found = answer.groups.into_iter().find(|found| &*found.group_id.0 == group);
    let found = found.ok_or_else(|| WireError::Protocol {
        address: connection.address().to_string(),
        reason: format!("group {group} is not in the answer"),
    })?;
    described(group, found)
}

fn described(group: &str, found: DescribedGroup) -> Result<Option<ShareGroup>, WireError> {
    if found.error_code == GROUP_ID_NOT_FOUND {
        return Ok(None);
    }
    accepted(&format!("describe share group {group}"), found.error_code)?;
    let mut members: Vec<ShareMember> = found.members.into_iter().map(member).collect();
    members.sort_by(|one, other| (&one.client_id, &one.host, &one.id).cmp(&(&other.client_id, &other.host, &other.id)));
    Ok(Some(ShareGroup {
        state: found.group_state.to_string(),
        epoch: found.group_epoch,
        assignment_epoch: found.assignment_epoch,
        assignor: found.assignor_name.to_string(),
        members,
    }))
}

fn member(found: Member) -> ShareMember {
    let topics = found.assignment.topic_partitions.into_iter().map(|topic| {
        let mut partitions = topic.partitions;
        partitions.sort_unstable();
        (topic.topic_name.0.to_string(), partitions)
    });
    let mut assigned: Vec<_> = topics.collect();
    assigned.sort();
    ShareMember {
        id: found.member_id.to_string(),
        client_id: found.client_id.to_string(),
        host: found.client_host.to_string(),
        epoch: found.member_epoch,
        topics: found.subscribed_topic_names.iter().map(|topic| topic.0.to_string()).collect(),
        assigned,
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::share_group_describe_response::{Assignment, TopicPartitions};

    use super::*;

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    #[test]
    fn members_come_in_their_order_with_what_they_were_told_to_read() {
        let of_topic = |name, partitions: &[i32]| {
            TopicPartitions::default().with_topic_name(TopicName(text(name))).with_partitions(partitions.to_vec())
        };
        let told = Assignment::default().with_topic_partitions(vec![of_topic("b", &[2, 0]), of_topic("a", &[1])]);
        let one = Member::default().with_client_id(text("x")).with_assignment(told);
        let other = Member::default().with_client_id(text("w")).with_client_host(text("/10.0.0.7"));
        let group = DescribedGroup::default().with_group_state(text("Stable")).with_members(vec![one, other]);
        let found = described("g", group).unwrap().unwrap();
        assert_eq!(found.state, "Stable");
        assert_eq!(found.members[0].host, "/10.0.0.7");
        assert_eq!(found.members[1].assigned, [("a".to_owned(), vec![1]), ("b".to_owned(), vec![0, 2])]);
    }

    #[test]
    fn a_group_that_is_not_there_is_none_and_one_that_may_not_be_seen_is_an_error() {
        let refused = |code| described("g", DescribedGroup::default().with_error_code(code));
        assert_eq!(refused(69).unwrap(), None);
        assert!(matches!(refused(30), Err(WireError::NotAuthorised { .. })));
    }
}
