//! How large a produced record may be, topic by topic: known at the start, and lowered when a broker refuses one.

use std::collections::BTreeMap;

use crate::error::{RecordError, Stage};
use crate::processor::{Destination, Effects, Mark, TopicIndex};
use crate::topology::Topology;

/// Limits that the broker sets and the task has to keep.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest key + value + headers of a produced record, in bytes.
    pub max_output_bytes: usize,
}

/// The same for each topic that a task produces to. All in bytes of key + value + headers.
#[derive(Debug)]
pub(super) struct TopicLimits {
    /// Name and limit, by the topic's number in the topology.
    outputs: Vec<(String, usize)>,
    changelogs: usize,
    /// What changelogs are called.
    changelog_names: Vec<String>,
    /// Of topics that records name: those of which something else is known than `unnamed`.
    named: BTreeMap<String, usize>,
    unnamed: usize,
}

impl TopicLimits {
    pub(super) fn new(topology: &Topology, application: &str, limits: Limits) -> Self {
        let most = limits.max_output_bytes;
        let outputs = topology.sink_topics().iter().map(|topic| (topic.clone(), most)).collect();
        let changelog = |store: &str| Topology::changelog_topic(application, store);
        let changelog_names = topology.stores().iter().map(|store| changelog(&store.spec.name)).collect();
        TopicLimits { outputs, changelogs: most, changelog_names, named: BTreeMap::new(), unnamed: most }
    }

    /// A topic takes no more than this, whatever was known of it. Of changelogs the narrowest counts for all.
    pub(super) fn lower(&mut self, topic: &str, bytes: usize) {
        let output = self.outputs.iter_mut().find(|(name, _)| name == topic);
        let limit = match output {
            Some((_, limit)) => limit,
            None if self.changelog_names.iter().any(|name| name == topic) => &mut self.changelogs,
            None => self.named.entry(topic.to_owned()).or_insert(self.unnamed),
        };
        *limit = bytes.min(*limit);
    }

    pub(super) fn of(&self, topic: TopicIndex) -> usize {
        self.outputs[topic.0].1
    }

    pub(super) fn name(&self, topic: TopicIndex) -> &str {
        &self.outputs[topic.0].0
    }

    /// What the broker would refuse for ever is the record's fault, and found before it is produced: the outputs since the
    /// mark, and the largest write to a store with a changelog.
    pub(super) fn exceeded(&self, effects: &Effects, mark: Mark, largest_write: usize) -> Option<RecordError> {
        if largest_write > self.changelogs {
            let reason = format!(
                "a changelog record of {largest_write} bytes, limit {}; raise max.message.bytes of the changelog topics",
                self.changelogs
            );
            return Some(RecordError::new(Stage::Produce, "state-too-large", reason));
        }
        effects.outputs_since(mark).iter().find_map(|output| {
            let size = effects.size(output);
            let limit = match &output.topic {
                Destination::Known(topic) => self.of(*topic),
                Destination::Named(name) => self.named.get(&**name).copied().unwrap_or(self.unnamed),
            };
            let reason = || {
                let topic = match &output.topic {
                    Destination::Known(topic) => self.name(*topic),
                    Destination::Named(name) => name,
                };
                format!("an output of {size} bytes to {topic}, limit {limit}; raise max.message.bytes of the topic")
            };
            (size > limit).then(|| RecordError::new(Stage::Produce, "output-too-large", reason()))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::raw;
    use crate::record::{Headers, Timestamp};

    fn limits() -> TopicLimits {
        let mut builder = Topology::builder("bench");
        let source = builder.source("in", "in", (raw(), raw()));
        builder.sink("out", source, "out", raw(), raw());
        TopicLimits::new(&builder.build().unwrap(), "app", Limits { max_output_bytes: 100 })
    }

    /// Whether a record of this size may go to a topic.
    fn takes(limits: &TopicLimits, topic: impl Into<Destination>, bytes: usize) -> bool {
        let mut effects = Effects::default();
        let mark = effects.mark();
        effects.output(topic, None, None, Some(&vec![0; bytes]), Timestamp(0), Headers::new());
        limits.exceeded(&effects, mark, 0).is_none()
    }

    #[test]
    fn a_topic_that_records_name_has_the_common_limit_until_it_refuses_one() {
        let mut limits = limits();
        let named = |name: &str| Destination::Named(Arc::from(name));
        assert!(takes(&limits, named("a"), 100) && !takes(&limits, named("a"), 101));
        limits.lower("a", 50);
        limits.lower("a", 70);
        assert!(takes(&limits, named("a"), 50) && !takes(&limits, named("a"), 51), "the narrowest counts");
        assert!(takes(&limits, named("b"), 100) && takes(&limits, TopicIndex(0), 100), "it is nobody else's");
        limits.lower("out", 10);
        assert!(!takes(&limits, TopicIndex(0), 11) && takes(&limits, named("b"), 100));
        assert_eq!(limits.changelogs, 100);
    }
}
