//! Layers: defaults < file < environment < flags, merged by key, each key with every place that sets it.
//!
//! The defaults are the list of what may be set: a key that they don't have is a mistake, found before any connection.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::document::Document;
use super::problem::{KeyPath, Origin, Problem, fatal, nearest};
use super::runtime::{RUNTIME_DEFAULTS, RuntimeConfig};
use super::source::{self, Leaf, Source, Text, Value};
use crate::error::FatalError;

/// Prefix of the environment variables.
const PREFIX: &str = "HEADRACE__";

/// The places that a configuration is put together from.
///
/// Conventions of the defaults: every key is there, an optional one as `""` (which means "not set" in every layer); a
/// secret `x` has an `x-file` beside it; a section without keys takes any key.
#[derive(Debug, Clone)]
pub struct Layers {
    defaults: String,
    file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    flags: Vec<String>,
}

/// A configuration that is whole and valid.
#[derive(Debug)]
pub struct Loaded<T> {
    /// What every binary has.
    pub runtime: RuntimeConfig,
    /// The topology's own sections.
    pub topology: T,
    /// Every key with its origin.
    pub document: Document,
}

impl Layers {
    /// Starts from the topology's `default.toml`, above the runtime's own defaults.
    pub fn new(topology_defaults: impl Into<String>) -> Self {
        Layers { defaults: topology_defaults.into(), file: None, environment: Vec::new(), flags: Vec::new() }
    }

    /// Adds a file, as `--config` names it.
    #[must_use]
    pub fn file(mut self, path: Option<PathBuf>) -> Self {
        self.file = path;
        self
    }

    /// Adds environment variables, usually `std::env::vars_os()`; those without the prefix `HEADRACE__` are left alone.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = |(name, _): &(OsString, OsString)| name.to_string_lossy().starts_with(PREFIX);
        self.environment.extend(variables.into_iter().filter(ours));
        self.environment.sort();
        self
    }

    /// Adds `section.key=value` flags; a later one wins.
    #[must_use]
    pub fn flags(mut self, assignments: impl IntoIterator<Item = String>) -> Self {
        self.flags.extend(assignments);
        self
    }

    /// Merges, deserialises and validates. Touches no network.
    ///
    /// # Errors
    /// [`FatalError::Config`] with every problem that was found, each with place, key, reason and way out.
    pub fn load<T: DeserializeOwned>(self) -> Result<Loaded<T>, FatalError> {
        let mut problems = Vec::new();
        let mut document = self.merge(&mut problems);
        let runtime: Option<RuntimeConfig> = document.deserialise(true, &mut problems);
        let topology: Option<T> = document.deserialise(false, &mut problems);
        if let Some(runtime) = &runtime {
            runtime.validate(&document, &mut problems);
        }
        match (runtime, topology) {
            (Some(runtime), Some(topology)) if problems.is_empty() => Ok(Loaded { runtime, topology, document }),
            _ => Err(fatal(&problems)),
        }
    }

    fn merge(&self, problems: &mut Vec<Problem>) -> Document {
        let runtime = source::toml(RUNTIME_DEFAULTS, &Text::Runtime, problems);
        let topology = source::toml(&self.defaults, &Text::Topology, problems);
        let mut merge = Merge::from_defaults(runtime, topology, problems);
        if let Some(path) = &self.file {
            merge.read_file(path);
        }
        merge.apply_environment(&self.environment);
        merge.apply_flags(&self.flags);
        merge.resolve_secret_files();
        merge.document
    }
}

struct Merge<'a> {
    document: Document,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Merge<'a> {
    fn from_defaults(runtime: Source, topology: Source, problems: &'a mut Vec<Problem>) -> Self {
        let first = |path: &KeyPath| path.first().to_owned();
        let mut document =
            Document { shared: runtime.leaves.iter().map(|leaf| first(&leaf.path)).collect(), ..Document::default() };
        document.shared.extend(runtime.sections.iter().map(|(path, ..)| first(path)));
        let known: BTreeSet<KeyPath> = runtime.leaves.iter().map(|leaf| leaf.path.clone()).collect();
        for source in [runtime, topology] {
            for (path, empty, origin) in source.sections {
                if origin == Origin::RuntimeDefault || !document.shared.contains(path.first()) {
                    document.sections.insert(path, empty);
                }
            }
            for leaf in source.leaves {
                let fits = leaf.origin == Origin::RuntimeDefault
                    || !document.shared.contains(leaf.path.first())
                    || known.contains(&leaf.path)
                    || document.is_open(&leaf.path.parent());
                if fits {
                    document.leaves.entry(leaf.path).or_default().push((leaf.value, leaf.origin));
                } else {
                    let reason = format!("is not a key of the runtime's section `{}`", leaf.path.first());
                    problems.push(Problem::new(
                        leaf.origin,
                        leaf.path,
                        reason,
                        "choose a section of the topology's own",
                    ));
                }
            }
        }
        let is_secret = |path: &KeyPath| {
            let file = path.parent().child(&format!("{}-file", path.last()));
            document.leaves.contains_key(&file)
        };
        document.secrets = document.leaves.keys().filter(|path| is_secret(path)).cloned().collect();
        let mut merge = Merge { document, problems };
        merge.refuse_default_secrets();
        merge
    }

    fn refuse_default_secrets(&mut self) {
        for path in &self.document.secrets {
            for (value, origin) in self.document.leaves.get(path).into_iter().flatten() {
                if !value.is_empty() {
                    let reason = "a secret has no default: it would be in every copy of the program";
                    self.problems.push(Problem::new(origin, path, reason, "set it to \"\""));
                }
            }
        }
    }

    fn read_file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let reason = format!("can't be read: {error}");
                self.problems.push(Problem::new(path.display(), "", reason, "check the path given to --config"));
                return;
            }
        };
        let source = source::toml(&text, &Text::File(path), self.problems);
        for (section, _, origin) in &source.sections {
            let known = self.document.sections.contains_key(section) || self.document.in_open_section(section);
            let has_keys = source.leaves.iter().any(|leaf| leaf.path.0.starts_with(&section.0));
            // A section with keys is reported key by key.
            if !known && !has_keys {
                self.unknown(section, origin);
            }
        }
        for leaf in source.leaves {
            self.apply(leaf);
        }
    }

    fn apply(&mut self, mut leaf: Leaf) {
        let document = &mut self.document;
        if document.sections.contains_key(&leaf.path) {
            let reason = "is a section, not a key";
            let way_out = format!("set a key in it, such as `{}.…`", leaf.path);
            self.problems.push(Problem::new(leaf.origin, leaf.path, reason, way_out));
            return;
        }
        if !document.leaves.contains_key(&leaf.path) && !document.in_open_section(&leaf.path) {
            self.unknown(&leaf.path, &leaf.origin);
            return;
        }
        let from_environment = matches!(leaf.origin, Origin::Environment(_) | Origin::SecretFile { .. });
        if document.is_secret(&leaf.path) && !leaf.value.is_empty() && !from_environment {
            let way_out = self.secret_way_out(&leaf.path);
            let reason = match leaf.origin {
                Origin::Flag(_) => "secrets come only from a file or the environment: arguments are seen by every user",
                _ => "secrets come only from a file or the environment: this file is copied and committed",
            };
            self.problems.push(Problem::new(leaf.origin, leaf.path, reason, way_out));
            return;
        }
        if let Some(default) = document.leaves.get(&leaf.path).and_then(|values| values.first()) {
            leaf.value = as_kind_of(leaf.value, &default.0);
        }
        document.leaves.entry(leaf.path).or_default().push((leaf.value, leaf.origin));
    }

    fn secret_way_out(&self, path: &KeyPath) -> String {
        let variable = variable_name(path);
        match self.document.secrets.contains(path) {
            true => format!("set {variable}, or put it into a file and name that in `{path}-file`"),
            false => format!("set {variable}"),
        }
    }

    fn unknown(&mut self, path: &KeyPath, origin: &Origin) {
        let wrong = path.to_string();
        let known: Vec<String> =
            self.document.leaves.keys().chain(self.document.sections.keys()).map(KeyPath::to_string).collect();
        let way_out = match nearest(&wrong, known.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`config show` lists every key".to_owned(),
        };
        self.problems.push(Problem::new(origin, path, "unknown key", way_out));
    }

    fn apply_environment(&mut self, variables: &[(OsString, OsString)]) {
        let names = self.variable_names();
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            let Some(value) = value.to_str() else {
                self.problems.push(Problem::new(format!("env {name}"), "", "is not UTF-8", ""));
                continue;
            };
            let path = names.get(&name).cloned().or_else(|| self.open_key(&name));
            let Some(path) = path else {
                let way_out = match nearest(&name, names.keys().map(String::as_str)) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => {
                        "`config show` lists every key; `-` becomes `_`, and `__` parts section from key".to_owned()
                    }
                };
                self.problems.push(Problem::new(format!("env {name}"), "", "no key has this name", way_out));
                continue;
            };
            self.apply(Leaf { path, value: Value::Bare(value.to_owned()), origin: Origin::Environment(name) });
        }
    }

    /// Every key and section by its variable; two keys with the same one are a mistake of the topology's.
    fn variable_names(&mut self) -> BTreeMap<String, KeyPath> {
        let mut names: BTreeMap<String, KeyPath> = BTreeMap::new();
        for path in self.document.leaves.keys().chain(self.document.sections.keys()) {
            let name = variable_name(path);
            if let Some(other) = names.insert(name.clone(), path.clone()) {
                let reason = format!("`{other}` has the same variable, {name}");
                self.problems.push(Problem::new("the defaults", path, reason, "rename one of the two"));
            }
        }
        names
    }

    /// A key in a section that takes any: `SOCKET_TIMEOUT_MS` is `socket.timeout.ms` among librdkafka's options, and
    /// `socket-timeout-ms` elsewhere.
    fn open_key(&self, name: &str) -> Option<KeyPath> {
        let open = self.document.sections.iter().filter(|(_, open)| **open).map(|(path, _)| path);
        open.filter_map(|section| {
            let key = name.strip_prefix(&variable_name(section))?.strip_prefix("__")?;
            let separator = if section == &KeyPath::dotted("kafka.properties") { "." } else { "-" };
            (!key.is_empty()).then(|| section.child(&key.to_lowercase().replace('_', separator)))
        })
        .next()
    }

    fn apply_flags(&mut self, flags: &[String]) {
        for assignment in flags {
            match source::flag(assignment) {
                Ok((path, value)) => {
                    let origin = Origin::Flag(path.to_string());
                    self.apply(Leaf { path, value, origin });
                }
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    /// Reads what `…-file` keys name, and takes these keys away: the structs know only the secrets.
    fn resolve_secret_files(&mut self) {
        for secret in self.document.secrets.clone() {
            let key = secret.parent().child(&format!("{}-file", secret.last()));
            let Some((named, origin)) = self.document.leaves.remove(&key).and_then(|mut values| values.pop()) else {
                continue;
            };
            self.document.hidden.insert(key.clone(), (named.clone(), origin.clone()));
            if named.is_empty() {
                continue;
            }
            let set = self.document.leaves.get(&secret).and_then(|values| values.last());
            if let Some((_, other)) = set.filter(|(value, _)| !value.is_empty()) {
                let reason = format!("`{secret}` is set as well, by {other}");
                self.problems.push(Problem::new(&origin, key, reason, "keep one of the two"));
                continue;
            }
            let Some(path) = named.text().map(PathBuf::from) else {
                self.problems.push(Problem::new(&origin, key, "has to be a path, as text", ""));
                continue;
            };
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let value = Value::Text(text.trim_end_matches(['\n', '\r']).to_owned());
                    let origin = Origin::SecretFile { path, named_by: Box::new(origin) };
                    self.apply(Leaf { path: secret, value, origin });
                }
                Err(error) => {
                    let reason = format!("{} can't be read: {error}", path.display());
                    self.problems.push(Problem::new(&origin, key, reason, "check the path and its permissions"));
                }
            }
        }
    }
}

/// Bare text becomes what the default is, where that tells; else the field's type decides.
fn as_kind_of(value: Value, default: &Value) -> Value {
    let Value::Bare(text) = &value else { return value };
    match (source::parse_value(text), default) {
        (Some(parsed @ Value::Integer(_)), Value::Integer(_) | Value::Float(_)) => parsed,
        (Some(parsed @ Value::Float(_)), Value::Float(_)) => parsed,
        (Some(parsed @ Value::Boolean(_)), Value::Boolean(_)) => parsed,
        (Some(parsed @ Value::Array(_)), Value::Array(_)) => parsed,
        _ => value,
    }
}

/// `kafka.bootstrap-servers` → `HEADRACE__KAFKA__BOOTSTRAP_SERVERS`.
pub(super) fn variable_name(path: &KeyPath) -> String {
    let segments: Vec<String> = path.0.iter().map(|segment| segment.replace(['-', '.'], "_").to_uppercase()).collect();
    format!("{PREFIX}{}", segments.join("__"))
}
