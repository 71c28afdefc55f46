//! Problems: what is wrong with a configuration, said so that it can be mended.
//!
//! Each has the place, the key, the reason and the way out; all that can be found are reported together, because a
//! person who mends one at a time starts the program as often as there are mistakes.

use std::fmt;
use std::path::PathBuf;

use crate::error::FatalError;

/// Path of a key from the top. A segment may hold dots (librdkafka's option names do), so it isn't a string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyPath(pub(super) Vec<String>);

impl KeyPath {
    pub(super) fn child(&self, segment: &str) -> KeyPath {
        let mut segments = self.0.clone();
        segments.push(segment.to_owned());
        KeyPath(segments)
    }

    /// Splits `section.key`; only for keys whose segments hold no dots.
    pub(super) fn dotted(text: &str) -> KeyPath {
        KeyPath(text.split('.').map(str::to_owned).collect())
    }

    pub(super) fn last(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }

    pub(super) fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    pub(super) fn parent(&self) -> KeyPath {
        KeyPath(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            match bare(segment) {
                true => write!(f, "{dot}{segment}")?,
                false => write!(f, "{dot}{segment:?}")?,
            }
        }
        Ok(())
    }
}

/// Whether TOML takes the key without quotes.
pub(super) fn bare(segment: &str) -> bool {
    !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Where a value comes from; a later variant overrides an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The defaults that the runtime's library is built with.
    RuntimeDefault,
    /// The topology's `default.toml`, compiled into the binary.
    TopologyDefault,
    /// A configuration file.
    File {
        /// The file, as it was named on the command line.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// An environment variable, by its name.
    Environment(String),
    /// A `--set` flag, by its key.
    Flag(String),
    /// The content of a file that a `…-file` key names.
    SecretFile {
        /// The file that holds the secret.
        path: PathBuf,
        /// Where that path comes from.
        named_by: Box<Origin>,
    },
}

impl Origin {
    pub(super) fn is_default(&self) -> bool {
        matches!(self, Origin::RuntimeDefault | Origin::TopologyDefault)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::RuntimeDefault => f.write_str("default"),
            Origin::TopologyDefault => f.write_str("default of the topology"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "env {name}"),
            Origin::Flag(key) => write!(f, "--set {key}"),
            Origin::SecretFile { path, named_by } => write!(f, "file {}, named by {named_by}", path.display()),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File and line, variable or flag.
    pub place: String,
    /// The key; empty where the problem is the whole file.
    pub key: String,
    /// What is wrong. Never holds a secret's value.
    pub reason: String,
    /// What to do about it.
    pub way_out: String,
}

impl Problem {
    pub(super) fn new(
        place: impl fmt::Display,
        key: impl fmt::Display,
        reason: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Self {
        Problem { place: place.to_string(), key: key.to_string(), reason: reason.into(), way_out: way_out.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.reason)?;
        if !self.way_out.is_empty() {
            write!(f, "; {}", self.way_out)?;
        }
        Ok(())
    }
}

/// All problems as one error; exit code 64.
pub(super) fn fatal(problems: &[Problem]) -> FatalError {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    FatalError::Config(match lines.len() {
        1 => format!("configuration: {}", lines[0]),
        count => format!("configuration: {count} problems\n  {}", lines.join("\n  ")),
    })
}

/// The candidate that was most likely meant, if any is near enough.
pub(super) fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (wrong.chars().count() / 3).max(2);
    candidates
        .map(|candidate| (distance(wrong, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's edit distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_a_misspelt_key_and_refuses_a_far_one() {
        let known = ["commit-interval", "stream-threads"];
        assert_eq!(nearest("comit-interval", known.into_iter()), Some("commit-interval"));
        assert_eq!(nearest("bananas", known.into_iter()), None);
    }

    #[test]
    fn key_with_dots_is_quoted() {
        let key = KeyPath::dotted("kafka.properties").child("socket.timeout.ms");
        assert_eq!(key.to_string(), "kafka.properties.\"socket.timeout.ms\"");
    }
}
