//! Cache keys from row keys: `order:{id}`, `{table}:{pk}`.
//!
//! Values are escaped where they could run into each other or into the template (`:` `%` `{` `}`), so two rows never
//! share a cache key; everything else, newlines and emoji included, is taken as it is (fact F13).

use std::fmt;

use headrace::codec::debezium::Key;
use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `{table}`: schema.table
    Table,
    /// `{pk}`: all key columns, joined by `:`
    PrimaryKey,
    /// `{column}`
    Column(String),
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyTemplate {
    parts: Vec<Part>,
}

/// Why a key can't be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The row's key has no such column.
    #[error("the key template names column {0}, which the row's key does not have")]
    NoColumn(String),
    /// The row's key is no JSON object.
    #[error("the row's key can't be read")]
    Unreadable,
}

impl KeyTemplate {
    /// The cache key of a row.
    ///
    /// # Errors
    /// The template names a column that the key lacks.
    pub fn render(&self, table: &str, key: &Key) -> Result<String, KeyError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Table => text.push_str(table),
                Part::Column(name) => {
                    let value = key.row().column(name).ok_or_else(|| KeyError::NoColumn(name.clone()))?;
                    escape(value, &mut text);
                }
                Part::PrimaryKey => {
                    for (index, (_, value)) in key.columns().enumerate() {
                        if index > 0 {
                            text.push(':');
                        }
                        escape(value, &mut text);
                    }
                }
            }
        }
        Ok(text)
    }
}

/// Appends a JSON value: strings by their content, everything else by its text.
fn escape(json: &str, out: &mut String) {
    if json == "null" {
        out.push_str("%00");
        return;
    }
    let unquoted: Option<String> = json.starts_with('"').then(|| serde_json::from_str(json).ok()).flatten();
    for c in unquoted.as_deref().unwrap_or(json).chars() {
        match c {
            '%' => out.push_str("%25"),
            ':' => out.push_str("%3A"),
            '{' => out.push_str("%7B"),
            '}' => out.push_str("%7D"),
            other => out.push(other),
        }
    }
}

impl TryFrom<String> for KeyTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some(open) = rest.find('{') {
            if !rest[..open].is_empty() {
                parts.push(Part::Text(rest[..open].to_owned()));
            }
            let close = rest[open..].find('}').ok_or_else(|| format!("{text}: a {{ is not closed"))? + open;
            parts.push(match &rest[open + 1..close] {
                "" => return Err(format!("{text}: {{}} names no column; write {{pk}}, {{table}} or a column")),
                "table" => Part::Table,
                "pk" => Part::PrimaryKey,
                column => Part::Column(column.to_owned()),
            });
            rest = &rest[close + 1..];
        }
        if rest.contains('}') {
            return Err(format!("{text}: a }} was not opened"));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if !parts.iter().any(|part| matches!(part, Part::PrimaryKey | Part::Column(_))) {
            return Err(format!("{text}: names no column of the key, so all rows would share one entry; add {{pk}}"));
        }
        Ok(KeyTemplate { parts })
    }
}

impl fmt::Display for KeyTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Table => f.write_str("{table}"),
            Part::PrimaryKey => f.write_str("{pk}"),
            Part::Column(name) => write!(f, "{{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, key: &str) -> Result<String, KeyError> {
        KeyTemplate::try_from(template.to_owned()).unwrap().render("public.t", &Key::parse(key).unwrap())
    }

    #[test]
    fn f13_keys_of_any_text_stay_apart() {
        let keys = [
            r#"{"id":""}"#,
            r#"{"id":"null"}"#,
            r#"{"id":null}"#,
            r#"{"id":"a\nb"}"#,
            r#"{"id":"🦀"}"#,
            r#"{"id":"%00"}"#,
            r#"{"id":9007199254740993}"#,
            r#"{"id":9007199254740992}"#,
            r#"{"id":"a:b"}"#,
            r#"{"id":"a%3Ab"}"#,
        ];
        let rendered: std::collections::BTreeSet<_> = keys.iter().map(|key| render("t:{pk}", key).unwrap()).collect();
        assert_eq!(rendered.len(), keys.len(), "{rendered:?}");
        assert!(rendered.contains("t:9007199254740993") && rendered.contains("t:🦀") && rendered.contains("t:a\nb"));
    }

    #[test]
    fn composite_keys_do_not_run_into_each_other() {
        let one = render("{table}:{pk}", r#"{"a":"x:y","b":"z"}"#).unwrap();
        assert_ne!(one, render("{table}:{pk}", r#"{"a":"x","b":"y:z"}"#).unwrap());
        assert_eq!(one, "public.t:x%3Ay:z");
    }

    #[test]
    fn template_mistakes_are_named() {
        for (template, word) in [("a{", "closed"), ("a}", "opened"), ("a{}", "names no column"), ("all", "share")] {
            let error = KeyTemplate::try_from(template.to_owned()).unwrap_err();
            assert!(error.contains(word), "{template}: {error}");
        }
        assert_eq!(render("t:{x}", r#"{"id":1}"#), Err(KeyError::NoColumn("x".into())));
    }
}
