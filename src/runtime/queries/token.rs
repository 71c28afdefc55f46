//! Freshness tokens: up to which offsets of the input an answer goes (KIP-796's position, as text).

use std::collections::BTreeMap;
use std::fmt;

use crate::position::{Offset, Partition, TopicPartition};

/// Entries of one token: as many as a request's line holds.
const MAX_ENTRIES: usize = 1024;

/// The same as JSON: topic, partition, next offset. Partitions are texts, as keys of JSON are.
pub(super) type PositionJson = BTreeMap<String, BTreeMap<String, i64>>;

/// Next input offsets. As text `topic:partition:offset,…`: a topic's name has neither a colon nor a comma.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Token(BTreeMap<TopicPartition, Offset>);

impl Token {
    /// Reads the text form.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut token = Token::default();
        for entry in text.split(',').filter(|entry| !entry.is_empty()) {
            let mut parts = entry.rsplitn(3, ':');
            let (offset, partition, topic) = (parts.next(), parts.next(), parts.next());
            let number = |part: Option<&str>| part.and_then(|part| part.parse::<i64>().ok()).filter(|n| *n >= 0);
            let partition = number(partition).and_then(|partition| i32::try_from(partition).ok());
            let (Some(topic), Some(partition), Some(offset)) = (topic, partition, number(offset)) else {
                return Err("is not topic:partition:offset, parted by commas".to_owned());
            };
            token.raise(TopicPartition { topic: topic.into(), partition: Partition(partition) }, Offset(offset));
            if token.0.len() > MAX_ENTRIES {
                return Err(format!("has more than {MAX_ENTRIES} entries"));
            }
        }
        Ok(token)
    }

    /// The offset of a partition, unless a higher one is known.
    pub(super) fn raise(&mut self, at: TopicPartition, next: Offset) {
        let known = self.0.entry(at).or_insert(next);
        *known = (*known).max(next);
    }

    /// All of another token too.
    pub(super) fn merge(&mut self, other: &Token) {
        other.0.iter().for_each(|(at, next)| self.raise(at.clone(), *next));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The topics that it speaks of.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|at| &*at.topic)
    }

    /// Whether a task of this partition that stands at `reached` has what the token asks of it. What the token says of
    /// other partitions is for other tasks.
    pub(super) fn is_reached(&self, reached: &Token, partition: Partition) -> bool {
        let own = self.0.iter().filter(|(at, _)| at.partition == partition);
        own.into_iter().all(|(at, wanted)| reached.0.get(at).is_some_and(|next| next >= wanted))
    }

    pub(super) fn to_json(&self) -> PositionJson {
        let mut json = PositionJson::new();
        for (at, next) in &self.0 {
            json.entry(at.topic.to_string()).or_default().insert(at.partition.to_string(), next.0);
        }
        json
    }
}

impl FromIterator<(TopicPartition, Offset)> for Token {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, Offset)>>(positions: I) -> Self {
        let mut token = Token::default();
        positions.into_iter().for_each(|(at, next)| token.raise(at, next));
        token
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (at, next)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}:{next}", at.topic, at.partition)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_keeps_the_highest_offset() {
        let token = Token::parse("a.b_c-d:0:5,a.b_c-d:11:7,a.b_c-d:0:3").unwrap();
        assert_eq!(token.to_string(), "a.b_c-d:0:5,a.b_c-d:11:7");
        assert_eq!(Token::parse(&token.to_string()).unwrap(), token);
        assert_eq!(serde_json::to_string(&token.to_json()).unwrap(), r#"{"a.b_c-d":{"0":5,"11":7}}"#);
        for wrong in ["a", "a:0", "a:0:x", "a:-1:0", "a:0:-1", "a:3000000000:1"] {
            assert!(Token::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_task_is_asked_for_its_own_partition_only() {
        let wanted = Token::parse("in:0:5,in:1:900,other:0:1").unwrap();
        let reached = |text| wanted.is_reached(&Token::parse(text).unwrap(), Partition(0));
        assert!(reached("in:0:5,other:0:1") && reached("in:0:6,other:0:9"));
        assert!(!reached("in:0:4,other:0:1") && !reached("in:0:5") && !reached(""));
        assert!(Token::default().is_reached(&Token::default(), Partition(0)));
    }
}
