//! Topic settings by which records would be lost, or never be acknowledged (rule R-21).

use std::collections::BTreeMap;

use crate::kafka::{Admin, TopicState};

use super::environment::Environment;

/// Settings that are looked at.
pub(super) const POLICY: &str = "cleanup.policy";
pub(super) const RETENTION: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const IN_SYNC: &str = "min.insync.replicas";
/// Whether share groups may have the brokers write dead letters to it (KIP-1191).
pub(super) const FOR_GROUPS: &str = "errors.deadletterqueue.group.enable";
/// What such topics' names begin with, as the brokers have it.
const LETTERS_PREFIX: &str = "errors.deadletterqueue.topic.name.prefix";
const LETTERS_PREFIX_DEFAULT: &str = "dlq.";
const COMPACTION_LAG: &str = "max.compaction.lag.ms";

/// One day: what was written over is read again by a restore for no longer than that, and so are deletes.
const COMPACTED_WITHIN_MS: &str = "86400000";

type Settings = BTreeMap<String, String>;

/// The settings with which `apply` makes a changelog.
pub(super) fn changelog_settings() -> Vec<(String, String)> {
    [(POLICY, "compact"), (COMPACTION_LAG, COMPACTED_WITHIN_MS)].map(|(key, value)| (key.into(), value.into())).into()
}

impl Environment {
    /// Where brokers write dead letters of share groups, if they do.
    pub(super) fn letters_by_brokers(&self) -> Option<&str> {
        let (topic, _) = self.topology.dead_letters()?;
        let by_brokers = self.options.dead_letters_by_brokers && !self.topology.workers().is_empty();
        self.topology.sink_topics().get(topic).map(String::as_str).filter(|_| by_brokers)
    }

    /// Settings by which records would be lost, or never be acknowledged. A cluster that does not let us look is trusted.
    pub(super) fn unfit_settings(&self, admin: &Admin, topics: &BTreeMap<String, TopicState>) -> Vec<String> {
        let logged = self.topology.stores().iter().filter(|store| store.spec.changelog);
        let changelogs: Vec<String> = logged.map(|store| self.changelog(&store.spec.name)).collect();
        let between = self.topology.repartitions().iter().map(|own| self.topology.repartition_name(own));
        let between: Vec<&str> = between.collect();
        let globals = self.topology.globals().iter().map(|table| &*table.topic);
        let tables = self.topology.stores().iter().filter_map(|store| store.table.as_deref());
        let sinks = self.topology.sink_topics().iter().map(String::as_str).filter(|topic| !between.contains(topic));
        let mut problems = Vec::new();
        let mut look = |topic: &str, is_written: bool, unfit: fn(&str, &Settings) -> Option<String>| {
            let Some(state) = topics.get(topic) else { return };
            let Ok(settings) = admin.settings(topic) else { return };
            problems.extend(unfit(topic, &settings));
            problems.extend(state.replicas.filter(|_| is_written).and_then(|own| unwritable(topic, &settings, own)));
        };
        changelogs.iter().for_each(|topic| look(topic, true, lossy_changelog));
        between.iter().for_each(|topic| look(topic, true, lossy_between));
        sinks.for_each(|topic| look(topic, true, |_, _| None));
        tables.chain(globals).for_each(|topic| look(topic, false, lossy_table));
        // Here not to know is as bad: brokers archive what they can't write a dead letter of.
        if let Some(topic) = self.letters_by_brokers().filter(|topic| topics.contains_key(*topic)) {
            problems.extend(barred(topic, &admin.settings(topic).unwrap_or_default()));
            problems.extend(misnamed(topic, &admin.broker_settings().unwrap_or_default()));
        }
        problems
    }
}

/// The brokers would drop dead letters of share groups.
fn barred(topic: &str, settings: &Settings) -> Option<String> {
    let found = settings.get(FOR_GROUPS).map_or("not known, without the right to describe it", String::as_str);
    (found != "true").then(|| {
        format!(
            "topic {topic}: {FOR_GROUPS} is {found}, and dead letters of share groups would be dropped; set it to true"
        )
    })
}

/// Brokers that find their dead letters' topic misnamed archive the records all the same (4.4.0).
fn misnamed(topic: &str, broker: &Settings) -> Option<String> {
    let prefix = broker.get(LETTERS_PREFIX).map_or(LETTERS_PREFIX_DEFAULT, String::as_str);
    (!topic.starts_with(prefix)).then(|| {
        format!(
            "topic {topic}: the brokers write dead letters to topics {prefix}… only ({LETTERS_PREFIX}), and would drop them; \
             give it such a name, or the brokers another prefix"
        )
    })
}

/// A state that is restored from it would not have what is older.
fn lossy_changelog(topic: &str, settings: &Settings) -> Option<String> {
    let policy = settings.get(POLICY).filter(|policy| policy.contains("delete"))?;
    let (key, value) = limit(settings)?;
    Some(format!(
        "changelog topic {topic} has {POLICY}={policy} and {key}={value}, by which state goes that a restore needs; set \
         {POLICY} to compact"
    ))
}

/// Records with equal keys are different ones, and their timestamps, which are those of the input, are of any age.
fn lossy_between(topic: &str, settings: &Settings) -> Option<String> {
    let policy = settings.get(POLICY).filter(|policy| policy.contains("compact"));
    let compacted = policy.map(|policy| {
        format!(
            "repartition topic {topic} has {POLICY}={policy}, which would lose records of equal keys; set it to delete"
        )
    });
    let expired = limit(settings).map(|(key, value)| {
        format!(
            "repartition topic {topic} has {key}={value}, which would lose records before they are processed, for their \
             timestamps are those of the input; set it to -1"
        )
    });
    compacted.or(expired)
}

/// Its topic is all that a table has.
fn lossy_table(topic: &str, settings: &Settings) -> Option<String> {
    let policy = settings.get(POLICY).filter(|policy| !policy.contains("compact"))?;
    Some(format!(
        "topic {topic} of a table has {POLICY}={policy}, by which entries go that the table should keep; set it to compact"
    ))
}

/// What bounds the age or the size of a log.
fn limit(settings: &Settings) -> Option<(&'static str, &str)> {
    [RETENTION, RETENTION_BYTES].into_iter().find_map(|key| {
        let value = settings.get(key).filter(|value| *value != "-1")?;
        Some((key, value.as_str()))
    })
}

/// Each write is to be acknowledged by all replicas that are in sync.
fn unwritable(topic: &str, settings: &Settings, replicas: usize) -> Option<String> {
    let least = settings.get(IN_SYNC)?.parse::<usize>().ok()?;
    if least > replicas {
        return Some(format!(
            "topic {topic} has {IN_SYNC}={least} and {replicas} replicas, so no write to it would ever be acknowledged; \
             set {IN_SYNC} to {replicas} at most, or give it more replicas"
        ));
    }
    if least == 1 && replicas > 1 {
        tracing::warn!(
            target: "headrace::runtime", topic, replicas,
            "min.insync.replicas is 1: what was acknowledged may be lost with one broker; 2 is safer"
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(of: &[(&str, &str)]) -> Settings {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn r21_a_changelog_keeps_the_last_write_of_each_key_however_old() {
        let kept = [
            settings(&changelog_settings().iter().map(|(key, value)| (&**key, &**value)).collect::<Vec<_>>()),
            settings(&[(POLICY, "compact"), (RETENTION, "604800000"), (RETENTION_BYTES, "-1")]),
            settings(&[(POLICY, "delete"), (RETENTION, "-1"), (RETENTION_BYTES, "-1")]),
            settings(&[]),
        ];
        assert!(kept.iter().all(|settings| lossy_changelog("log", settings).is_none()));
        for (policy, key) in [("delete", RETENTION), ("compact,delete", RETENTION), ("delete", RETENTION_BYTES)] {
            let text = lossy_changelog("log", &settings(&[(POLICY, policy), (key, "1000")])).expect("a problem");
            assert!(text.contains(&format!("log has {POLICY}={policy} and {key}=1000")), "{text}");
        }
    }

    #[test]
    fn dead_letters_that_brokers_would_drop_are_a_problem() {
        for unfit in [&[(FOR_GROUPS, "false")][..], &[]] {
            let text = barred("dlq.a", &settings(unfit)).expect("a problem");
            assert!(text.contains("errors.deadletterqueue.group.enable") && text.contains("set it to true"), "{text}");
        }
        assert_eq!(barred("dlq.a", &settings(&[(FOR_GROUPS, "true")])), None);
        let text = misnamed("a", &settings(&[(LETTERS_PREFIX, "dlq.")])).expect("a problem");
        assert!(text.contains("topics dlq.… only"), "{text}");
        assert_eq!(misnamed("dlq.a", &settings(&[(LETTERS_PREFIX, "dlq.")])), None);
        assert_eq!(misnamed("a", &settings(&[(LETTERS_PREFIX, "")])), None);
        assert!(misnamed("a", &settings(&[])).is_some(), "what is not known is as by default");
    }

    #[test]
    fn r21_more_replicas_in_sync_than_there_are_is_a_problem() {
        let text = unwritable("log", &settings(&[(IN_SYNC, "3")]), 2).expect("a problem");
        assert!(text.contains("min.insync.replicas=3 and 2 replicas"), "{text}");
        assert_eq!(unwritable("log", &settings(&[(IN_SYNC, "2")]), 2), None);
        assert_eq!(unwritable("log", &settings(&[(IN_SYNC, "1")]), 3), None);
        assert_eq!(unwritable("log", &settings(&[]), 1), None);
    }
}
