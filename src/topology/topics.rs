//! Which topics a source reads: names, or a pattern that new topics join by themselves.

use std::fmt;

/// Topic names and patterns; a pattern starts with `^`, as in librdkafka's subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics(Vec<String>);

impl Topics {
    /// Names and patterns as given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Only the plain names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().filter(|topic| !topic.starts_with('^'))
    }

    /// Whether the topic is read by this source.
    pub fn matches(&self, topic: &str) -> bool {
        self.iter().any(|wanted| wanted == topic || (wanted.starts_with('^') && pattern_matches(wanted, topic)))
    }

    /// Patterns that are no regular expressions, with the reason.
    pub fn invalid_patterns(&self) -> Vec<String> {
        let patterns = self.iter().filter(|topic| topic.starts_with('^'));
        patterns
            .filter_map(|pattern| regex_lite::Regex::new(pattern).err().map(|error| format!("{pattern}: {error}")))
            .collect()
    }
}

fn pattern_matches(pattern: &str, topic: &str) -> bool {
    regex_lite::Regex::new(pattern).is_ok_and(|regex| regex.is_match(topic))
}

impl fmt::Display for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl From<&str> for Topics {
    fn from(topic: &str) -> Self {
        Topics(vec![topic.to_owned()])
    }
}

impl From<&String> for Topics {
    fn from(topic: &String) -> Self {
        Topics(vec![topic.clone()])
    }
}

impl From<&Vec<String>> for Topics {
    fn from(topics: &Vec<String>) -> Self {
        Topics(topics.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_like_the_subscription() {
        let topics = Topics(vec!["a".into(), r"^shop\.public\..*".into()]);
        assert!(topics.matches("a") && topics.matches("shop.public.orders"));
        assert!(!topics.matches("ab") && !topics.matches("x.shop.public.orders"));
        assert_eq!(Topics(vec!["^(".into()]).invalid_patterns().len(), 1);
    }
}
