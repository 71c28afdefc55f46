//! Ends the transactions that a dead instance has left open in a changelog, for whoever has its tasks now (rule R-31).

use super::asking::ask;
use super::consumer::KafkaFailure;
use super::settings::Settings;
use crate::position::TopicPartition;
use crate::wire::end_open_transactions;

/// Aborts what other instances of the application have open in a changelog partition; gives their transactional ids. Only for
/// who was assigned the partition: before that the owner may be alive and in its right. Blocks for some requests.
///
/// # Errors
/// A broker is away or refuses; what is open is aborted by its time-out then.
pub fn end_transactions_of_others(settings: &Settings, at: &TopicPartition) -> Result<Vec<String>, KafkaFailure> {
    let (all, own) = (settings.transactional_ids(), settings.own_transactional_ids());
    // What is our own ends by itself: its producer is at work.
    let is_ours = |id: &str| id.starts_with(&all) && !id.starts_with(&own);
    ask(settings, "takeover", |client| async move {
        end_open_transactions(&client, at, is_ours, settings.transaction_timeout).await
    })
}
