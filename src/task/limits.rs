//! How large a produced record may be, topic by topic: known at the start, and lowered when a broker refuses one.

use crate::error::{RecordError, Stage};
use crate::processor::{Effects, Mark, TopicIndex};

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
}

impl TopicLimits {
    pub(super) fn new(topics: &[String], limits: Limits) -> Self {
        let outputs = topics.iter().map(|topic| (topic.clone(), limits.max_output_bytes)).collect();
        TopicLimits { outputs, changelogs: limits.max_output_bytes }
    }

    /// A topic takes no more than this, whatever was known of it. One that is none of the outputs is a changelog; the
    /// narrowest of these counts for all.
    pub(super) fn lower(&mut self, topic: &str, bytes: usize) {
        let output = self.outputs.iter_mut().find(|(name, _)| name == topic);
        let limit = output.map_or(&mut self.changelogs, |(_, limit)| limit);
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
            let (size, (topic, limit)) = (effects.size(output), &self.outputs[output.topic.0]);
            let reason =
                || format!("an output of {size} bytes to {topic}, limit {limit}; raise max.message.bytes of the topic");
            (size > *limit).then(|| RecordError::new(Stage::Produce, "output-too-large", reason()))
        })
    }
}
