//! Which instance has which partitions, as the groups' coordinator says.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::Result;
use crate::ground::Ground;

/// For one question to the broker.
const LOOK: Duration = Duration::from_secs(5);

/// The partitions of each stage's input that an instance has.
///
/// # Errors
/// The broker is away.
pub fn of(ground: &Ground, instance: &str) -> Result<[Vec<i32>; 2]> {
    let client: BaseConsumer = ground.client().create()?;
    let mut owned = [Vec::new(), Vec::new()];
    for (stage, owned) in ground.stages().iter().zip(&mut owned) {
        *owned = of_input(&client, &stage.application, &stage.input, instance)?;
    }
    Ok(owned)
}

/// The partitions of a topic that an instance of an application has.
///
/// # Errors
/// The broker is away.
pub fn of_input(client: &BaseConsumer, application: &str, input: &str, instance: &str) -> Result<Vec<i32>> {
    // Clients are called `<application>-<instance>-<role>`.
    let prefix = format!("{application}-{instance}-");
    let groups = client.fetch_group_list(Some(application), LOOK)?;
    let members = groups.groups().iter().flat_map(|group| group.members());
    let own = members.filter(|member| member.client_id().starts_with(&prefix));
    let mut owned: Vec<i32> =
        own.filter_map(|member| member.assignment()).flat_map(|bytes| partitions(bytes, input)).collect();
    owned.sort_unstable();
    Ok(owned)
}

/// Of a member's assignment (ConsumerProtocolAssignment): version, then each topic with its partitions.
fn partitions(bytes: &[u8], wanted: &str) -> Vec<i32> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    let mut found = Vec::new();
    let mut topics = number(&mut rest).unwrap_or(0);
    while topics > 0 {
        topics -= 1;
        let Some((length, after)) = rest.split_at_checked(2) else { break };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let Some((topic, after)) = after.split_at_checked(length) else { break };
        rest = after;
        let count = number(&mut rest).unwrap_or(0);
        let own = (0..count).map_while(|_| number(&mut rest));
        found.extend(own.filter(|_| topic == wanted.as_bytes()));
    }
    found
}

fn number(bytes: &mut &[u8]) -> Option<i32> {
    let (number, rest) = bytes.split_at_checked(4)?;
    *bytes = rest;
    Some(i32::from_be_bytes(number.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_topic_by_topic() {
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        for (topic, owned) in [("other", vec![7]), ("mine", vec![0, 3])] {
            bytes.extend((topic.len() as u16).to_be_bytes());
            bytes.extend(topic.as_bytes());
            bytes.extend((owned.len() as i32).to_be_bytes());
            owned.iter().for_each(|partition: &i32| bytes.extend(partition.to_be_bytes()));
        }
        assert_eq!(partitions(&bytes, "mine"), [0, 3]);
        assert_eq!(partitions(&bytes, "nobody's"), Vec::<i32>::new());
        assert_eq!(partitions(&[], "mine"), Vec::<i32>::new());
    }
}
