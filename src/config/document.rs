//! The merged document: every key with its values and where each comes from.
//!
//! It answers "why is this value what it is?" (`config show --origin`) and puts a place into every message about a key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::de::DeserializeOwned;

use super::de::{De, Node};
use super::problem::{KeyPath, Origin, Problem, bare, fatal};
use super::properties;
use super::source::Value;
use super::value::MASK;
use crate::error::FatalError;

/// Keys, values and origins.
#[derive(Clone, Default)]
pub struct Document {
    /// Every value that a key was given, the lowest layer first; the last counts.
    pub(super) leaves: BTreeMap<KeyPath, Vec<(Value, Origin)>>,
    /// Every section, with whether it takes any key.
    pub(super) sections: BTreeMap<KeyPath, bool>,
    /// Top-level names that belong to the runtime, not to the topology.
    pub(super) shared: BTreeSet<String>,
    /// Keys that are masked, and refused in files and flags.
    pub(super) secrets: BTreeSet<KeyPath>,
    /// The `…-file` keys: shown, but not part of any struct.
    pub(super) hidden: BTreeMap<KeyPath, (Value, Origin)>,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.show(true))
    }
}

impl Document {
    pub(super) fn is_open(&self, section: &KeyPath) -> bool {
        self.sections.get(section).copied().unwrap_or(false)
    }

    /// Whether a section above it takes any key.
    pub(super) fn in_open_section(&self, path: &KeyPath) -> bool {
        let mut section = path.parent();
        while !section.0.is_empty() {
            if self.is_open(&section) {
                return true;
            }
            section = section.parent();
        }
        false
    }

    pub(super) fn is_secret(&self, path: &KeyPath) -> bool {
        let property = path.parent() == KeyPath::dotted("kafka.properties") && properties::is_secret(path.last());
        property || self.secrets.contains(path)
    }

    /// Deserialises the runtime's sections or the topology's. A value that doesn't fit is reported and taken away, so
    /// that the value below it lets the rest be looked at.
    pub(super) fn deserialise<T: DeserializeOwned>(&mut self, shared: bool, problems: &mut Vec<Problem>) -> Option<T> {
        let mut attempt = self.clone();
        let before = problems.len();
        loop {
            let node = attempt.tree(shared);
            let de = De { node: &node, path: KeyPath::default(), secrets: &attempt.secrets };
            let fault = match T::deserialize(de) {
                Ok(value) => return (problems.len() == before).then_some(value),
                Err(fault) => fault,
            };
            drop(node);
            let path = fault.path.unwrap_or_default();
            let taken = attempt.leaves.get_mut(&path).and_then(Vec::pop);
            if attempt.leaves.get(&path).is_some_and(Vec::is_empty) {
                attempt.leaves.remove(&path);
            }
            let Some((_, origin)) = taken else {
                problems.push(Problem::new("the defaults", path, fault.reason, ""));
                return None;
            };
            let default = origin.is_default();
            problems.push(Problem::new(origin, path, fault.reason, ""));
            if default {
                return None;
            }
        }
    }

    /// The last value of each key as a tree.
    fn tree(&self, shared: bool) -> Node<'_> {
        let mut root = BTreeMap::new();
        let ours = |path: &KeyPath| self.shared.contains(path.first()) == shared;
        for section in self.sections.keys().filter(|path| ours(path)) {
            insert(&mut root, &section.0, Node::Section(BTreeMap::new()));
        }
        for (path, values) in self.leaves.iter().filter(|(path, _)| ours(path)) {
            if let Some((value, _)) = values.last() {
                insert(&mut root, &path.0, Node::Leaf(value));
            }
        }
        Node::Section(root)
    }

    /// A key's place and the rest as one error, for rules that only the caller knows. `key` is written with dots.
    pub fn problem(&self, key: &str, reason: impl Into<String>, way_out: impl Into<String>) -> FatalError {
        fatal(&[self.problem_at(key, reason, way_out)])
    }

    pub(super) fn problem_at(&self, key: &str, reason: impl Into<String>, way_out: impl Into<String>) -> Problem {
        let place = self.origin(key).map_or_else(|| "default".to_owned(), Origin::to_string);
        Problem::new(place, key, reason, way_out)
    }

    /// Where the value of a key, written with dots, comes from.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        let path = KeyPath::dotted(key);
        let values = self.leaves.get(&path).and_then(|values| values.last());
        values.or_else(|| self.hidden.get(&path)).map(|(_, origin)| origin)
    }

    /// The whole document as TOML, a line for each key, secrets masked; with where each value comes from, if asked.
    pub fn show(&self, origins: bool) -> String {
        let mut sections: BTreeMap<KeyPath, Vec<(&KeyPath, String, &Origin)>> = BTreeMap::new();
        for (path, values) in &self.leaves {
            if let Some((value, origin)) = values.last() {
                let masked = self.is_secret(path) && !value.is_empty();
                let text = if masked { format!("\"{MASK}\"") } else { literal(value) };
                sections.entry(path.parent()).or_default().push((path, text, origin));
            }
        }
        for (path, (value, origin)) in &self.hidden {
            sections.entry(path.parent()).or_default().push((path, literal(value), origin));
        }
        let mut out = String::new();
        for (section, mut lines) in sections {
            if !section.0.is_empty() {
                // Writing to a String can't fail.
                let _ = writeln!(out, "\n[{section}]");
            }
            lines.sort_by_key(|(path, ..)| *path);
            for (path, text, origin) in lines {
                let key = if bare(path.last()) { path.last().to_owned() } else { format!("{:?}", path.last()) };
                let _ = match origins {
                    true => writeln!(out, "{:<56} # {origin}", format!("{key} = {text}")),
                    false => writeln!(out, "{key} = {text}"),
                };
            }
        }
        out
    }
}

fn insert<'a>(into: &mut BTreeMap<&'a str, Node<'a>>, path: &'a [String], node: Node<'a>) {
    match path {
        [] => {}
        [last] => {
            into.entry(last).or_insert(node);
        }
        [first, rest @ ..] => {
            if let Node::Section(inner) = into.entry(first).or_insert_with(|| Node::Section(BTreeMap::new())) {
                insert(inner, rest, node);
            }
        }
    }
}

/// A value in TOML's syntax.
fn literal(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Bare(text) => toml::Value::String(text.clone()).to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => toml::Value::Float(*number).to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Table(entries) => {
            let entry = |(key, value): &(String, Value)| match bare(key) {
                true => format!("{key} = {}", literal(value)),
                false => format!("{key:?} = {}", literal(value)),
            };
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}
