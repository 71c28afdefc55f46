//! Sources: reads one layer (TOML text, environment variables, `--set` flags) into leaves with their place.
//!
//! The layers are read apart from each other and before anything is merged, so that each mistake has one place.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problem::{KeyPath, Origin, Problem};

/// A value as a layer spells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A quoted string.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Boolean(bool),
    /// An array; overridden as a whole.
    Array(Vec<Value>),
    /// A table inside of an array.
    Table(Vec<(String, Value)>),
    /// Text from a variable or a flag: its type is what the key wants.
    Bare(String),
}

impl Value {
    /// Whether it stands for "not set": TOML has no null, so an empty string does.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Value::Text(text) | Value::Bare(text) if text.is_empty())
    }

    /// The text of a string.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Bare(text) => Some(text),
            _ => None,
        }
    }
}

/// One key's value in one layer.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) path: KeyPath,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What a TOML layer holds.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) leaves: Vec<Leaf>,
    /// Sections, with whether they are empty, and where.
    pub(super) sections: Vec<(KeyPath, bool, Origin)>,
}

/// Which text is being read, to make places of byte offsets.
pub(super) enum Text<'a> {
    Runtime,
    Topology,
    File(&'a Path),
}

impl Text<'_> {
    fn origin(&self, line: usize) -> Origin {
        match self {
            Text::Runtime => Origin::RuntimeDefault,
            Text::Topology => Origin::TopologyDefault,
            Text::File(path) => Origin::File { path: path.to_path_buf(), line },
        }
    }
}

/// Reads TOML; every syntax error becomes a problem of its own.
pub(super) fn toml(text: &str, whose: &Text<'_>, problems: &mut Vec<Problem>) -> Source {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let (line, column) = error.span().map_or((1, 1), |span| position(text, span.start));
        let place = match whose {
            Text::File(path) => format!("{}:{line}:{column}", path.display()),
            _ => format!("{}, line {line}", whose.origin(line)),
        };
        problems.push(Problem::new(place, "", format!("not valid TOML: {}", error.message()), ""));
    }
    let mut reader = Reader { text, whose, source: Source::default(), problems };
    if errors.is_empty() {
        reader.table(&KeyPath::default(), table.get_ref());
    }
    reader.source
}

struct Reader<'a> {
    text: &'a str,
    whose: &'a Text<'a>,
    source: Source,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, path: &KeyPath, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = path.child(key.get_ref());
            let origin = self.whose.origin(position(self.text, key.span().start).0);
            if let DeValue::Table(inner) = value.get_ref() {
                self.source.sections.push((path.clone(), inner.is_empty(), origin));
                self.table(&path, inner);
                continue;
            }
            match value_of(value.get_ref()) {
                Ok(value) => self.source.leaves.push(Leaf { path, value, origin }),
                Err(reason) => self.problems.push(Problem::new(origin, path, reason, "")),
            }
        }
    }
}

fn value_of(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| format!("{number} is out of range"))?,
        ),
        DeValue::Float(number) => {
            Value::Float(number.as_str().parse().map_err(|_| format!("{} is not a number", number.as_str()))?)
        }
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(moment) => Value::Text(moment.to_string()),
        DeValue::Array(values) => {
            Value::Array(values.iter().map(|value| value_of(value.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Ok((key.to_string(), value_of(value.get_ref())?))
            };
            Value::Table(table.iter().map(entry).collect::<Result<_, String>>()?)
        }
    })
}

/// A value in TOML's syntax, if the text is one.
pub(super) fn parse_value(text: &str) -> Option<Value> {
    DeValue::parse(text).ok().and_then(|value| value_of(value.get_ref()).ok())
}

/// Line and column of a byte, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Splits a `--set section.key=value`; quoted strings and arrays are TOML, all else is bare text.
pub(super) fn flag(assignment: &str) -> Result<(KeyPath, Value), Problem> {
    let wrong = |reason: &str| {
        Problem::new("--set", "", reason, "write it as --set section.key=value, such as --set log.filter=debug")
    };
    // The value may be a secret put in the wrong place: no message repeats it.
    let (key, value) = assignment.split_once('=').ok_or_else(|| wrong("a flag has no `=`"))?;
    let segments = key_segments(key).ok_or_else(|| wrong("the text before `=` is not a key"))?;
    let value = match parse_value(value) {
        Some(value @ (Value::Text(_) | Value::Array(_))) => value,
        _ => Value::Bare(value.to_owned()),
    };
    Ok((KeyPath(segments), value))
}

/// `kafka.properties."socket.timeout.ms"` → three segments.
fn key_segments(key: &str) -> Option<Vec<String>> {
    let table = format!("{key} = 0");
    let (parsed, errors) = DeTable::parse_recoverable(&table);
    if !errors.is_empty() {
        return None;
    }
    let mut segments = Vec::new();
    let mut table = parsed.get_ref();
    loop {
        let (key, value) = table.iter().next()?;
        segments.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return (table.len() == 1).then_some(segments),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_take_toml_or_bare_text() {
        assert_eq!(flag("log.filter=info").unwrap(), (KeyPath::dotted("log.filter"), Value::Bare("info".into())));
        assert_eq!(flag("a.b=\"x y\"").unwrap().1, Value::Text("x y".into()));
        assert_eq!(flag("a.b=[1]").unwrap().1, Value::Array(vec![Value::Integer(1)]));
        assert_eq!(flag("a.b=5").unwrap().1, Value::Bare("5".into()));
        assert_eq!(flag("a.\"b.c\"=5").unwrap().0.0, ["a", "b.c"]);
    }

    #[test]
    fn a_flag_without_a_value_is_refused_without_repeating_it() {
        assert!(!flag("canary").unwrap_err().to_string().contains("canary"));
        assert!(flag("=5").is_err());
        assert!(flag("a\nb=5").is_err());
    }

    #[test]
    fn toml_errors_have_line_and_column() {
        let mut problems = Vec::new();
        toml("a = 1\nb = = 2\n", &Text::File(Path::new("x.toml")), &mut problems);
        assert!(problems[0].to_string().starts_with("x.toml:2:"), "{problems:?}");
    }
}
