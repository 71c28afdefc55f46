//! What the brokers are asked of a queue's share group.

use std::time::Duration;

use headrace::error::FatalError;
use headrace::wire::share::{
    GroupSetting, PartLag, ShareGroup, ShareLagRequest, describe_group, group_settings, share_lag,
};
use headrace::wire::{Client, Code};

use super::Console;

/// Patience with one answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// What the coordinator answers for a group that is not there.
const GROUP_ID_NOT_FOUND: i16 = 69;

/// The name of the share group that hands out a queue's tasks, as the runtime makes it of the workers' name.
pub(super) fn group_of(console: &Console, queue: &str) -> String {
    format!("{}-{queue}", console.runtime.application_id)
}

/// How far a group is in its partitions; none if it is not there.
pub(super) async fn lag(console: &Console, client: &Client, group: &str) -> Result<Option<Vec<PartLag>>, FatalError> {
    let connection = console.coordinator(client, group).await?;
    let request = ShareLagRequest { group: group.into(), topics: None };
    let lag = share_lag(&connection, &request, PATIENCE).await.map_err(|error| console.refused(error))?;
    match lag.error {
        None => {
            let mut parts = lag.parts;
            parts.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
            Ok(Some(parts))
        }
        Some(code) if code.number() == GROUP_ID_NOT_FOUND => Ok(None),
        Some(code) => Err(refusal(group, code, lag.message.as_deref())),
    }
}

fn refusal(group: &str, code: Code, message: Option<&str>) -> FatalError {
    let reason =
        format!("share group {group}: {}", message.map_or_else(|| code.to_string(), |text| format!("{text} ({code})")));
    if code.is_authorisation() { FatalError::Authorisation(reason) } else { FatalError::Environment(reason) }
}

/// A group as its coordinator sees it; none if it is not there.
pub(super) async fn describe(
    console: &Console,
    client: &Client,
    group: &str,
) -> Result<Option<ShareGroup>, FatalError> {
    let connection = console.coordinator(client, group).await?;
    describe_group(&connection, group).await.map_err(|error| console.refused(error))
}

/// The settings of a share group; those for groups of other kinds are left out.
pub(super) async fn settings(console: &Console, client: &Client, group: &str) -> Result<Vec<GroupSetting>, FatalError> {
    let connection = console.coordinator(client, group).await?;
    let mut settings = group_settings(&connection, group).await.map_err(|error| console.refused(error))?;
    settings.retain(|setting| setting.name.starts_with("share."));
    Ok(settings)
}
