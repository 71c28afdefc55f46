//! Shows members out of a group that were there under the same name: those of a process that was killed, which can't leave.
//!
//! Beside the member's own work: it joins meanwhile, and goes on without it if nobody answers.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::wire::share::{Beat, describe_group, heartbeat, member_prefix};
use crate::wire::{Client, CoordinatorKind, WireError};

/// By then the group has noticed by itself.
const PATIENCE: Duration = Duration::from_secs(45);
const LEAVE: i32 = -1;
const UNKNOWN_MEMBER_ID: i16 = 25;

/// Has all members of this name leave, but for `own`. One that still runs notices at its next beat, and joins again.
pub(super) async fn show_out(client: Client, group: String, name: String, own: String) {
    let (until, mut attempt) = (Instant::now() + PATIENCE, 0);
    loop {
        match leave_for(&client, &group, &member_prefix(&name), &own).await {
            Ok(members) if members.is_empty() => return,
            Ok(members) => {
                tracing::info!(
                    target: "headrace::share", group, name, ?members,
                    "members of the same name were in the group, and are shown out"
                );
                return;
            }
            Err(error) if error.is_retriable() && Instant::now() < until => {
                client.forget_coordinator(CoordinatorKind::Group, &group);
                sleep(Backoff::BROKER.delay(attempt, fastrand::f64())).await;
                attempt += 1;
            }
            Err(error) => {
                tracing::info!(
                    target: "headrace::share", group, name, %error,
                    "whether members of the same name are in the group is not known; it notices by itself"
                );
                return;
            }
        }
    }
}

async fn leave_for(client: &Client, group: &str, prefix: &str, own: &str) -> Result<Vec<String>, WireError> {
    let connection = client.coordinating(CoordinatorKind::Group, group).await?;
    let members = describe_group(&connection, group).await?.map(|group| group.members).unwrap_or_default();
    let mut shown_out = Vec::new();
    for member in members.into_iter().map(|member| member.id).filter(|id| id.starts_with(prefix) && id != own) {
        let beat = Beat { group: group.to_owned(), member: member.clone(), epoch: LEAVE, rack: None, topics: None };
        match heartbeat(&connection, &beat).await?.error {
            None => shown_out.push(member),
            // It has left by itself.
            Some(code) if code.number() == UNKNOWN_MEMBER_ID => {}
            Some(code) => return Err(WireError::from_code(format!("leave share group {group} for {member}"), code)),
        }
    }
    Ok(shown_out)
}
