//! A model of the cache: what `headrace_apply` and `headrace_truncate` do, written down a second time.

use std::collections::BTreeMap;

/// What a reader sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum View {
    /// Content.
    Content(String),
    /// The row is known to be gone.
    Absent,
    /// Nothing: the reader asks the database.
    Miss,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    version: Option<String>,
    position: String,
    generation: u64,
    content: Option<String>,
    absent: bool,
}

#[derive(Debug, Clone, Default)]
struct Table {
    truncated: Option<String>,
    generation: u64,
    columns: Option<Columns>,
}

#[derive(Debug, Clone)]
struct Columns {
    fingerprint: String,
    high: String,
    old: Option<String>,
}

/// Entries and tables by their Redis keys, and the answers that were given.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: BTreeMap<String, Entry>,
    tables: BTreeMap<String, Table>,
    pub(crate) answers: Vec<&'static str>,
}

impl Cache {
    /// Carries out a packed command.
    pub(crate) fn call(&mut self, packed: &[u8]) {
        let arguments = unpack(packed);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let answer = match arguments.as_slice() {
            ["FCALL", "headrace_truncate", "1", table, position] => self.truncate(table, position),
            ["FCALL", "headrace_apply", "3", entry, table, _realm, rest @ ..] => self.apply(entry, table, rest),
            other => panic!("not a call of ours: {other:?}"),
        };
        self.answers.push(answer);
    }

    fn truncate(&mut self, table: &str, position: &str) -> &'static str {
        let table = self.tables.entry(table.to_owned()).or_default();
        match table.truncated.as_deref() {
            Some(known) if known == position => "equal",
            Some(known) if position < known => "stale",
            _ => {
                table.truncated = Some(position.to_owned());
                "applied"
            }
        }
    }

    fn apply(&mut self, key: &str, table: &str, arguments: &[&str]) -> &'static str {
        let [action, version, position, fingerprint, schema_position, _ttl, _tombstone_ttl, content] = arguments else {
            panic!("headrace_apply takes eight arguments: {arguments:?}")
        };
        let entry = self.entries.entry(key.to_owned()).or_default();
        if *action == "DROP" {
            (entry.content, entry.absent) = (None, false);
            return "applied";
        }
        let table = self.tables.entry(table.to_owned()).or_default();
        let current = table.observe(fingerprint, schema_position);
        if table.truncated.as_deref().is_some_and(|truncated| *position <= truncated) {
            return "stale";
        }
        match entry.version.as_deref() {
            Some(known) if known == *version => return "equal",
            Some(known) if *version < known => return "stale",
            _ => {}
        }
        *entry = Entry {
            version: Some((*version).to_owned()),
            position: (*position).to_owned(),
            generation: table.generation,
            content: (*action == "SET" && current).then(|| (*content).to_owned()),
            absent: *action == "DELETE" && current,
        };
        "applied"
    }

    /// What `headrace_read` would give.
    pub(crate) fn view(&self, key: &str, table: &str) -> View {
        let Some(entry) = self.entries.get(key) else { return View::Miss };
        let none = Table::default();
        let table = self.tables.get(table).unwrap_or(&none);
        let truncated = table.truncated.as_ref().is_some_and(|truncated| entry.position <= *truncated);
        match (&entry.content, entry.absent) {
            _ if entry.generation != table.generation || truncated => View::Miss,
            (Some(content), _) => View::Content(content.clone()),
            (None, true) => View::Absent,
            (None, false) => View::Miss,
        }
    }

    /// The version that fences the entry.
    pub(crate) fn version(&self, key: &str) -> Option<&str> {
        self.entries.get(key)?.version.as_deref()
    }
}

impl Table {
    /// Whether content with this fingerprint is of the current columns; other columns start a new generation.
    fn observe(&mut self, fingerprint: &str, position: &str) -> bool {
        let Some(columns) = &mut self.columns else {
            if !fingerprint.is_empty() {
                let fresh = Columns { fingerprint: fingerprint.to_owned(), high: position.to_owned(), old: None };
                self.columns = Some(fresh);
            }
            return true;
        };
        if fingerprint.is_empty() {
            return true;
        }
        if columns.fingerprint == fingerprint {
            if columns.old.as_deref().is_some_and(|old| position <= old) {
                return false;
            }
            columns.high = position.to_owned().max(std::mem::take(&mut columns.high));
            return true;
        }
        if position <= columns.high.as_str() {
            return false;
        }
        let old = Some(std::mem::take(&mut columns.high));
        *columns = Columns { fingerprint: fingerprint.to_owned(), high: position.to_owned(), old };
        self.generation += 1;
        true
    }
}

/// The arguments of a packed command: `*2\r\n$5\r\nFCALL\r\n…`.
fn unpack(packed: &[u8]) -> Vec<String> {
    let mut rest = packed;
    let line = |rest: &mut &[u8]| {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let text = String::from_utf8(rest[1..end].to_vec()).unwrap();
        *rest = &rest[end + 2..];
        text.parse::<usize>().unwrap()
    };
    let count = line(&mut rest);
    let arguments = (0..count).map(|_| {
        let length = line(&mut rest);
        let text = String::from_utf8(rest[..length].to_vec()).unwrap();
        rest = &rest[length + 2..];
        text
    });
    arguments.collect()
}
