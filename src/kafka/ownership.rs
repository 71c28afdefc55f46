//! Whether each input partition has an owner in the group, and the way out of it (KIP-345) if one has none.

use super::asking::ask;
use super::consumer::KafkaFailure;
use super::settings::Settings;
use crate::position::{Partition, TopicPartition};
use crate::wire::{assigned_in, remove_member};

/// Partitions of these topics that the group has told none of its members to read; `None` while it rebalances, or has no
/// members. Blocks for some requests.
///
/// # Errors
/// A broker is away or refuses, or a topic does not exist.
pub fn unowned(settings: &Settings, topics: &[String]) -> Result<Option<Vec<TopicPartition>>, KafkaFailure> {
    ask(settings, "ownership", |client| async move {
        let Some(assigned) = assigned_in(&client, &settings.application_id).await? else { return Ok(None) };
        let mut unowned = Vec::new();
        for topic in topics {
            let partitions = i32::try_from(client.partitions(topic).await?).unwrap_or(i32::MAX);
            let all = (0..partitions)
                .map(|number| TopicPartition { topic: topic.as_str().into(), partition: Partition(number) });
            unowned.extend(all.filter(|at| !assigned.contains(at)));
        }
        Ok(Some(unowned))
    })
}

/// Takes a stream thread's member out of the group, which rebalances at once. Blocks for some requests.
///
/// # Errors
/// The coordinator is away or refuses.
pub fn leave_group(settings: &Settings, thread: usize) -> Result<(), KafkaFailure> {
    let instance = settings.transactional_id(thread);
    ask(
        settings,
        "ownership",
        |client| async move { remove_member(&client, &settings.application_id, &instance).await },
    )
}
