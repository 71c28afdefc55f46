//! The topics that an application has for itself between its sub-topologies, and those of its tables: how many partitions they
//! have to have.

use std::collections::BTreeMap;

use crate::kafka::{TopicState, TopicWanted};
use crate::topology::{Repartition, Topology};

use super::environment::Environment;
use super::topic_settings::{POLICY, RETENTION};

impl Environment {
    /// The topics that are there, and the repartition topics as `apply` makes them.
    pub(super) fn planned(&self, topics: &BTreeMap<String, TopicState>) -> BTreeMap<String, TopicState> {
        let mut planned = topics.clone();
        // How many partitions one has may depend on another.
        for _ in self.topology.repartitions() {
            for own in self.topology.repartitions() {
                let name = self.topology.repartition_name(own);
                if !planned.contains_key(name)
                    && let Some(partitions) = wanted_partitions(&self.topology, own, &planned)
                {
                    planned.insert(name.to_owned(), TopicState { partitions, replicas: None });
                }
            }
        }
        planned
    }

    /// The repartition topics that `apply` makes. Their records have timestamps of any age, so time must not take them.
    pub(super) fn repartition_topics(&self, planned: &BTreeMap<String, TopicState>) -> Vec<TopicWanted> {
        let own = self.topology.repartitions().iter().map(|own| self.topology.repartition_name(own));
        let wanted = |name: &str| TopicWanted {
            name: name.to_owned(),
            partitions: planned.get(name).map_or(self.options.topic_partitions, |topic| topic.partitions),
            replication: self.options.topic_replication,
            config: vec![(POLICY.to_owned(), "delete".to_owned()), (RETENTION.to_owned(), "-1".to_owned())],
        };
        own.map(wanted).collect()
    }

    /// What is wrong with the repartition topics that are there, as far as names and numbers go.
    pub(super) fn repartition_problems(&self, topics: &BTreeMap<String, TopicState>) -> Vec<String> {
        let missing = |topic: &str| format!("topic {topic} of a global table is missing; whoever writes it makes it");
        let globals = self.topology.globals().iter().map(|table| &*table.topic);
        let mut problems: Vec<String> = globals.filter(|topic| !topics.contains_key(*topic)).map(missing).collect();
        for (number, own) in self.topology.repartitions().iter().enumerate() {
            let name = self.topology.repartition_name(own);
            let mut others = self.topology.sources().iter().enumerate().filter(|(source, _)| *source != own.source);
            if let Some((_, other)) = others.find(|(_, source)| source.topics.matches(name)) {
                problems.push(format!(
                    "the pattern of source {} matches {name}, which is the application's own; narrow it",
                    other.name
                ));
            }
            let mut sinks = self.topology.sink_topics().iter().enumerate();
            if sinks.any(|(topic, other)| other == name && topic != own.topic.0) {
                problems.push(format!(
                    "topic {name} is written by a sink, and is the application's own (repartition {number})"
                ));
            }
            if let (Some(found), Some(declared)) = (topics.get(name), own.partitions)
                && found.partitions != declared
            {
                problems.push(format!(
                    "repartition topic {name} has {} partitions, the topology says {declared}; equal keys would meet \
                     elsewhere, so change it back, or delete the topic, the changelogs behind it and the state directory",
                    found.partitions
                ));
            }
        }
        problems
    }
}

/// As many as the topics that its records are joined with; else as many as the sources above it.
fn wanted_partitions(topology: &Topology, own: &Repartition, topics: &BTreeMap<String, TopicState>) -> Option<i32> {
    let most = |part: u32| {
        let read = topics.iter().filter(|(topic, _)| topology.reads(part, topic));
        read.map(|(_, state)| state.partitions).max()
    };
    own.partitions.or_else(|| most(own.to)).or_else(|| most(own.from))
}
