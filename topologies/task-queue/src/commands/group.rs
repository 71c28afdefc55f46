//! `group describe`: the share groups that hand out the queues' tasks, as the brokers see them.

use std::process::ExitCode;

use clap::Subcommand;
use headrace::error::FatalError;
use headrace::wire::Client;
use headrace::wire::share::{GroupSetting, PartLag, ShareGroup, ShareMember};

use super::table::table;
use super::{Console, known_queue, share};

/// See [`Command::Group`](super::Command::Group).
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Print state, members, partitions and settings.
    Describe {
        /// The queue; by default all of them.
        queue: Option<String>,
    },
}

impl GroupCommand {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode, FatalError> {
        let GroupCommand::Describe { queue } = self;
        let queues = match queue {
            Some(queue) => {
                known_queue(console, &queue)?;
                vec![queue]
            }
            None => console.config.queues().into_keys().collect(),
        };
        let client = console.client()?;
        let mut missing = Vec::new();
        for queue in queues {
            let group = share::group_of(console, &queue);
            match console.block_on(seen(console, &client, &group))? {
                Some(seen) => print!("{}", seen.shown(&group)),
                None => missing.push(group),
            }
        }
        if missing.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let reason = "not there: no instance has worked on the queue yet, or nobody has for long (share groups without \
                      members and without state are forgotten)";
        Err(FatalError::Environment(format!("share group {}: {reason}", missing.join(", "))))
    }
}

/// What is known of a group.
struct Seen {
    group: ShareGroup,
    parts: Vec<PartLag>,
    settings: Vec<GroupSetting>,
}

async fn seen(console: &Console, client: &Client, group: &str) -> Result<Option<Seen>, FatalError> {
    let Some(found) = share::describe(console, client, group).await? else { return Ok(None) };
    let parts = share::lag(console, client, group).await?.unwrap_or_default();
    let settings = share::settings(console, client, group).await?;
    Ok(Some(Seen { group: found, parts, settings }))
}

impl Seen {
    fn shown(&self, name: &str) -> String {
        let ShareGroup { state, epoch, assignment_epoch, assignor, members } = &self.group;
        let mut text =
            format!("share group {name}: {state}, epoch {epoch}, assigned at {assignment_epoch} by {assignor}\n");
        text.push_str(&part(
            "members",
            &["client id", "host", "member", "epoch", "assigned"],
            members.iter().map(member),
        ));
        let columns = ["topic", "partition", "start", "lag", "leader epoch", ""];
        text.push_str(&part("partitions", &columns, self.parts.iter().map(progress)));
        text.push_str(&part("settings", &["name", "value", "from"], self.settings.iter().map(setting)));
        text
    }
}

/// A table under a heading, indented.
fn part(heading: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut all = vec![columns.iter().map(|column| column.to_uppercase()).collect()];
    all.extend(rows);
    if all.len() == 1 {
        return format!("  {heading}: none\n");
    }
    let lines = table(&all);
    format!("  {heading}:\n{}", lines.lines().map(|line| format!("    {line}\n")).collect::<String>())
}

fn member(member: &ShareMember) -> Vec<String> {
    let partitions = |numbers: &[i32]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let of_topic = |(topic, numbers): &(String, Vec<i32>)| format!("{topic} [{}]", partitions(numbers));
    let assigned: Vec<String> = member.assigned.iter().map(of_topic).collect();
    let host = member.host.trim_start_matches('/').to_owned();
    let assigned = if assigned.is_empty() { "-".to_owned() } else { assigned.join(" ") };
    vec![member.client_id.clone(), host, member.id.clone(), member.epoch.to_string(), assigned]
}

fn progress(part: &PartLag) -> Vec<String> {
    let known = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let remark = match (part.error, part.start) {
        (Some(code), _) => code.to_string(),
        (None, None) => "not begun".to_owned(),
        (None, Some(_)) => String::new(),
    };
    let epoch = known(part.leader_epoch.map(i64::from));
    vec![part.topic.to_string(), part.partition.to_string(), known(part.start), known(part.lag), epoch, remark]
}

fn setting(setting: &GroupSetting) -> Vec<String> {
    let from = if setting.own { "the group" } else { "the brokers' default" };
    vec![setting.name.clone(), setting.value.clone().unwrap_or_else(|| "?".to_owned()), from.to_owned()]
}

#[cfg(test)]
mod tests {
    use headrace::wire::TopicId;

    use super::*;

    fn seen(members: Vec<ShareMember>) -> Seen {
        let part = |partition, start, lag| PartLag {
            topic: "ready".into(),
            id: TopicId::default(),
            partition,
            leader_epoch: Some(2),
            start,
            lag,
            error: None,
        };
        let (epoch, assignment_epoch) = (3, 3);
        let group = ShareGroup { state: "Stable".into(), epoch, assignment_epoch, assignor: "simple".into(), members };
        let own = |name: &str, own| GroupSetting { name: name.into(), value: Some("x".into()), own };
        let settings = vec![own("share.auto.offset.reset", true), own("share.session.timeout.ms", false)];
        Seen { group, parts: vec![part(0, Some(7), Some(0)), part(1, None, None)], settings }
    }

    #[test]
    fn a_group_is_shown_with_its_members_partitions_and_settings() {
        let member = ShareMember {
            id: "m".into(),
            client_id: "q-one".into(),
            host: "/10.0.0.7".into(),
            epoch: 3,
            topics: vec!["ready".into()],
            assigned: vec![("ready".into(), vec![0, 1])],
        };
        let expected = "\
share group g: Stable, epoch 3, assigned at 3 by simple
  members:
    CLIENT ID  HOST      MEMBER  EPOCH  ASSIGNED
    q-one      10.0.0.7  m       3      ready [0,1]
  partitions:
    TOPIC  PARTITION  START  LAG  LEADER EPOCH
    ready  0          7      0    2
    ready  1          ?      ?    2             not begun
  settings:
    NAME                      VALUE  FROM
    share.auto.offset.reset   x      the group
    share.session.timeout.ms  x      the brokers' default
";
        assert_eq!(seen(vec![member]).shown("g"), expected);
        assert!(seen(Vec::new()).shown("g").contains("  members: none\n"));
    }
}
