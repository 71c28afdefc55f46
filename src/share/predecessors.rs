//! Shows members out of a group that were there under the same name: those of a process that was killed, which can't leave.

use std::time::Duration;

use tokio::time::timeout;

use crate::wire::share::{Beat, describe_group, heartbeat, member_prefix};
use crate::wire::{Client, CoordinatorKind, WireError};

/// Whoever joins is held up no longer: without it the group notices by itself, only later.
const PATIENCE: Duration = Duration::from_secs(5);
const LEAVE: i32 = -1;

/// Has all members of this name leave, but for `own`. One that still runs notices at its next beat, and joins again.
pub(super) async fn show_out(client: &Client, group: &str, name: &str, own: &str) {
    let shown = timeout(PATIENCE, leave_for(client, group, &member_prefix(name), own)).await;
    let reason = match shown {
        Ok(Ok(members)) if members.is_empty() => return,
        Ok(Ok(members)) => {
            return tracing::info!(target: "headrace::share", group, ?members, "were there under this name, and are shown out");
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    tracing::info!(target: "headrace::share", group, reason, "who was there under this name is not known; the group notices by itself");
}

async fn leave_for(client: &Client, group: &str, prefix: &str, own: &str) -> Result<Vec<String>, WireError> {
    let connection = client.coordinating(CoordinatorKind::Group, group).await?;
    let members = describe_group(&connection, group).await?.map(|group| group.members).unwrap_or_default();
    let mut shown_out = Vec::new();
    for member in members.into_iter().map(|member| member.id).filter(|id| id.starts_with(prefix) && id != own) {
        let beat = Beat { group: group.to_owned(), member: member.clone(), epoch: LEAVE, rack: None, topics: None };
        // Refused: it is gone by itself.
        heartbeat(&connection, &beat).await?;
        shown_out.push(member);
    }
    Ok(shown_out)
}
