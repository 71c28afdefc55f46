//! Row images and keys, kept as the JSON text they came as.
//!
//! Why text: numbers above 2^53, decimals and JSON columns must come out exactly as they went in, and most rows are only
//! passed on, so their columns are found on demand.

use std::borrow::Cow;
use std::fmt;

use super::json;
use crate::codec::text::{canonical, string_end};
use crate::codec::{DecodeError, Limits};

/// The strings that stand for a column that was not sent because it did not change (TOAST), as Debezium's PostgreSQL
/// connector spells them: text, bytea as base64, and the element of a `uuid[]`.
const PLACEHOLDER_STRINGS: [&str; 3] = [
    "\"__debezium_unavailable_value\"",
    "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"",
    "\"b68a35a7-17ad-35b3-af2a-ae46edb4545a\"",
];

/// The same in arrays of numbers: one element per byte.
const PLACEHOLDER_INTS: &str =
    "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]";

/// The same in arrays of floating-point numbers; its beginning, which nothing else plausibly has.
const PLACEHOLDER_FLOATS: &str = "[95.0,95.0,100.0,101.0,98.0,101.0,122.0,105.0,117.0,109.0,95.0,";

/// A row image: the text of a JSON object, its columns in the order they came in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Row(Box<str>);

impl Row {
    /// A row of a JSON object's text.
    pub fn parse(text: &str) -> Result<Row, DecodeError> {
        json::row(text, &Limits::DEFAULT)
    }

    /// The text must be that of a JSON object.
    pub(super) fn of_valid(text: String) -> Row {
        Row(text.into_boxed_str())
    }

    /// The JSON object's text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The columns' names and the JSON texts of their values, in order.
    pub fn columns(&self) -> Columns<'_> {
        Columns { rest: self.0.trim_start().get(1..).unwrap_or("") }
    }

    /// The JSON text of one column's value.
    pub fn column(&self, name: &str) -> Option<&str> {
        self.columns().find(|(column, _)| column == name).map(|(_, value)| value)
    }

    /// Whether any column, or element of an array, is a placeholder for a value that was not sent.
    pub fn has_placeholder(&self) -> bool {
        Row::is_placeholder(&self.0)
    }

    /// Whether a column's JSON text is, or holds as an element, the placeholder. A text that merely contains the word is
    /// not one.
    pub fn is_placeholder(text: &str) -> bool {
        PLACEHOLDER_STRINGS.iter().any(|placeholder| holds_string(text, placeholder))
            || text.contains("[95,95,100,101,98,101,122,105,") && text.contains(PLACEHOLDER_INTS)
            || text.contains("[95.0,95.0,100.0,101.0,98.0,") && text.contains(PLACEHOLDER_FLOATS)
    }
}

/// Whether that whole string, quotes included, stands in the JSON text. Inside another string its first quote would be
/// escaped, and so preceded by a backslash; the quote that opens a string never is.
fn holds_string(text: &str, quoted: &str) -> bool {
    // Needles of at most 32 bytes are searched for with SIMD.
    let needle = quoted.get(..32).unwrap_or(quoted);
    text.contains(needle)
        && text.match_indices(quoted).any(|(at, _)| at == 0 || text.as_bytes().get(at - 1) != Some(&b'\\'))
}

impl fmt::Debug for Row {
    /// The size only: a row must not slip into a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({} bytes)", self.0.len())
    }
}

/// See [`Row::columns`].
#[derive(Debug, Clone)]
pub struct Columns<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Columns<'a> {
    type Item = (Cow<'a, str>, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let quoted = self.rest.trim_start_matches([' ', '\t', '\n', '\r', ',']);
        if !quoted.starts_with('"') {
            return None;
        }
        let (name, rest) = quoted.split_at(string_end(quoted));
        let value = rest.trim_start().strip_prefix(':')?.trim_start();
        let (value, rest) = value.split_at(value_end(value));
        self.rest = rest;
        let plain = name.get(1..name.len().saturating_sub(1)).unwrap_or("");
        if !plain.contains('\\') {
            return Some((Cow::Borrowed(plain), value));
        }
        Some((serde_json::from_str::<String>(name).map_or(Cow::Borrowed(plain), Cow::Owned), value))
    }
}

/// The length of the JSON value that the text starts with.
fn value_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += string_end(&text[at..]) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => break,
            b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            break;
        }
    }
    at.min(bytes.len())
}

/// A row's key: the canonical text of a JSON object, its columns in the order they came in.
///
/// Canonical means that whitespace is gone and that every string is escaped in one way, so that keys of one row are equal
/// whichever way they travelled. Numbers stay as they were.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Row);

impl Key {
    /// A key of a JSON object's text.
    pub fn parse(text: &str) -> Result<Key, DecodeError> {
        Row::parse(text).map(Key::of)
    }

    pub(super) fn of(row: Row) -> Key {
        match canonical(row.text()) {
            Cow::Borrowed(_) => Key(row),
            Cow::Owned(text) => Key(Row::of_valid(text)),
        }
    }

    /// The canonical text.
    pub fn text(&self) -> &str {
        self.0.text()
    }

    /// The key's columns and the JSON texts of their values, in order.
    pub fn columns(&self) -> Columns<'_> {
        self.0.columns()
    }

    /// The key as a row.
    pub fn row(&self) -> &Row {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.text().len())
    }
}
