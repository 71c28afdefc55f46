//! What the workers' share groups have to be told at the brokers, since a member can only look and refuse.
//!
//! By the brokers' defaults a group begins at the end of a topic as it is when the first member joins, so what was written before would be
//! handed to nobody; and it is handed the records of transactions that are open or were aborted.

use crate::error::{Dependency, FatalError, Retriable};
use crate::wire::share::{group_setting, set_group_setting};
use crate::wire::{Client, Connection, CoordinatorKind, WireError};

use super::super::environment::{Environment, Plan, Problem};

/// A setting, what it has to be, and what would happen else.
struct Wanted {
    name: &'static str,
    value: String,
    otherwise: &'static str,
    /// Whether records would be lost else, so that not to know is as bad.
    has_to_be: bool,
}

const START: &str = "share.auto.offset.reset";
const ISOLATION: &str = "share.isolation.level";
/// KIP-1191.
const DEAD_LETTERS: &str = "errors.deadletterqueue.topic.name";
const COPIES: &str = "errors.deadletterqueue.copy.record.enable";
/// The level of the cluster's feature `share.version` at which brokers write dead letters.
const WRITES_DEAD_LETTERS: i16 = 2;

impl Environment {
    /// Groups with settings that they must not have, in words.
    pub(in super::super) async fn group_problems(&self) -> Result<Vec<String>, Problem> {
        let (wrong, name) = (self.wrong_settings().await?, self.topology.name());
        let words =
            |(group, wanted): (String, Wanted)| format!("share group {group} {}; run: {name} apply", wanted.otherwise);
        Ok(wrong.into_iter().map(words).collect())
    }

    /// Gives the groups their settings; with `dry_run` only says which would be given.
    pub(in super::super) async fn apply_groups(&self, dry_run: bool) -> Result<Vec<Plan>, Problem> {
        let mut plans = Vec::new();
        for (group, Wanted { name, value, .. }) in self.wrong_settings().await? {
            if !dry_run {
                let connection = self.coordinator(&group).await.map_err(problem)?;
                set_group_setting(&connection, &group, name, &value).await.map_err(problem)?;
            }
            plans.push(Plan::SetGroup { group, setting: format!("{name}={value}") });
        }
        Ok(plans)
    }

    /// Brokers that would write no dead letters, though they are to.
    ///
    /// # Errors
    /// What has to be done.
    pub(in super::super) async fn check_letters(&self) -> Result<(), Problem> {
        let Some(workers) = self.topology.workers().first().filter(|_| self.letters_by_brokers().is_some()) else {
            return Ok(());
        };
        let connection = self.coordinator(&workers.group(&self.options.kafka.application_id)).await.map_err(problem)?;
        let level = connection.feature("share.version").unwrap_or(0);
        if level >= WRITES_DEAD_LETTERS {
            return Ok(());
        }
        Err(FatalError::Environment(format!(
            "dead-letters.by-brokers needs share.version {WRITES_DEAD_LETTERS} (KIP-1191, Kafka 4.4), and the cluster has \
             {level}; run kafka-features.sh upgrade --feature share.version={WRITES_DEAD_LETTERS}, or set it to false"
        ))
        .into())
    }

    async fn wrong_settings(&self) -> Result<Vec<(String, Wanted)>, Problem> {
        let mut wrong = Vec::new();
        for workers in self.topology.workers() {
            let group = workers.group(&self.options.kafka.application_id);
            let connection = self.coordinator(&group).await.map_err(problem)?;
            for wanted in self.wanted() {
                let found = match group_setting(&connection, &group, wanted.name).await {
                    // Brokers without share groups know no such setting, and refuse the member in words of their own.
                    Ok(found) => found,
                    // Without the right to look, what the broker has is trusted, where nothing is lost by it.
                    Err(WireError::NotAuthorised { .. }) if !wanted.has_to_be => None,
                    Err(error) => return Err(problem(error)),
                };
                if found.map_or(wanted.has_to_be, |found| found != wanted.value) {
                    wrong.push((group.clone(), wanted));
                }
            }
        }
        Ok(wrong)
    }

    fn wanted(&self) -> Vec<Wanted> {
        let want =
            |name, value: &str, otherwise, has_to_be| Wanted { name, value: value.to_owned(), otherwise, has_to_be };
        let begins =
            "begins at the end of its topics, and what is written before its first member joins is handed to nobody";
        let mut wanted =
            vec![want(ISOLATION, "read_committed", "is handed records of transactions that were aborted", false)];
        if self.options.kafka.from_beginning {
            wanted.push(want(START, "earliest", begins, false));
        }
        if let Some(topic) = self.letters_by_brokers() {
            wanted.push(want(DEAD_LETTERS, topic, "has no dead letters of what is rejected", true));
            wanted.push(want(COPIES, "true", "has dead letters without the values of their records", true));
        }
        wanted
    }

    async fn coordinator(&self, group: &str) -> Result<Connection, WireError> {
        let client = Client::new(self.options.kafka.wire("groups")?);
        client.coordinating(CoordinatorKind::Group, group).await
    }
}

fn problem(error: WireError) -> Problem {
    match error {
        WireError::Property { .. } => FatalError::Config(format!("kafka.properties: {error}")).into(),
        WireError::Authentication { .. } | WireError::NotAuthorised { .. } => {
            FatalError::Authorisation(error.to_string()).into()
        }
        error if error.is_retriable() => {
            Problem::Away(Retriable { dependency: Dependency::Kafka, reason: error.to_string() })
        }
        error => FatalError::Environment(error.to_string()).into(),
    }
}
