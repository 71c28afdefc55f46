//! SQL for a row and its fence: one statement, so that both change together or neither does, in one round trip.
//!
//! Columns are those of the JSON object that is put, and no others: what it does not name stays as it is. PostgreSQL itself makes
//! their types of them (`jsonb_populate_record`), so that numbers, times, arrays and nulls are what the table says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::settings::Settings;
use crate::call::Call;
use crate::mutation::Operation;

/// PostgreSQL cuts longer names off, without a word.
const LONGEST_IDENTIFIER: usize = 63;
/// More than any table has.
const MOST_COLUMNS: usize = 1_600;

/// Where fences are kept; one row by ordering key and key.
pub(super) const FENCES: &str = "\
create table if not exists headrace_wal_fences (
    namespace text not null,
    target text not null,
    ordering text not null,
    key text not null,
    number bigint not null,
    token text not null,
    applied_at timestamptz not null default now(),
    primary key (namespace, target, ordering, key)
)";

/// What a fence says; parameters as of a [`Statement`].
pub(super) const FENCE: &str = "\
select number, token from headrace_wal_fences where namespace = $1 and target = $2 and ordering = $3 and key = $4";

/// The same mutation again under a new number: what comes late from between the two is stale.
pub(super) const RAISE: &str = "\
update headrace_wal_fences set number = $5, applied_at = now()
where namespace = $1 and target = $2 and ordering = $3 and key = $4 and number < $5 and token = $6";

/// Sets the fence if the number may pass, and gives a row then. Under concurrency the row's lock decides.
const PASS: &str = "\
with fence as (
    insert into headrace_wal_fences as f (namespace, target, ordering, key, number, token) values ($1, $2, $3, $4, $5, $6)
    on conflict (namespace, target, ordering, key)
    do update set number = excluded.number, token = excluded.token, applied_at = now()
    where f.number < excluded.number and f.token <> excluded.token
    returning 1 as passed
)";

/// A statement of the parameters namespace, target, ordering, key, number, token, and the row as JSON. It gives one row: whether the
/// fence was passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) text: String,
    /// Its seventh parameter.
    pub(super) row: String,
}

/// A table and the column of its keys, quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    name: String,
    /// As it is in the JSON.
    key: String,
}

impl Table {
    pub(super) fn of(settings: &Settings<'_>) -> Result<Self, String> {
        let table = settings.text("table").ok_or("table: is not set; name the table, as schema.table or table")?;
        let key = settings.text("key").ok_or("key: is not set; name the column that has the mutation's key")?;
        let parts: Vec<&str> = table.split('.').collect();
        if parts.len() > 2 {
            return Err("table: has more than one dot; name it as schema.table or table".to_owned());
        }
        let parts: Result<Vec<String>, String> = parts.into_iter().map(quoted).collect();
        let name = parts.map_err(|reason| format!("table: {reason}"))?.join(".");
        quoted(key).map_err(|reason| format!("key: {reason}"))?;
        Ok(Table { name, key: key.to_owned() })
    }

    /// Its name, quoted.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// The mutation's value makes no row; without the value in the text.
    pub(super) fn statement(&self, call: &Call) -> Result<Statement, String> {
        match call.operation {
            Operation::Put => self.put(call),
            Operation::Delete => self.delete(call),
        }
    }

    fn put(&self, call: &Call) -> Result<Statement, String> {
        let value = call.value.as_deref().ok_or("a put without a value")?;
        let mut row: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(value).map_err(|error| {
            // Its own words may quote the value.
            format!("value: no JSON object of columns (line {}, column {})", error.line(), error.column())
        })?;
        if row.len() > MOST_COLUMNS {
            return Err(format!("value: {} columns, of at most {MOST_COLUMNS}", row.len()));
        }
        if row.get(&self.key).is_some_and(|own| !is_key(own, &call.key)) {
            return Err(format!(
                "value: its {} is not the mutation's key; leave it out, or make them the same",
                self.key
            ));
        }
        row.insert(self.key.clone(), json_text(&call.key)?);
        let columns: Result<Vec<String>, String> = row.keys().map(|name| quoted(name)).collect();
        let columns = columns.map_err(|reason| format!("value: a column {reason}"))?;
        let (name, key) = (&self.name, quoted(&self.key)?);
        let mut text = format!("{PASS}, written as (\n    insert into {name} ({})\n    select ", columns.join(", "));
        let fields: Vec<String> = columns.iter().map(|column| format!("r.{column}")).collect();
        _ = write!(text, "{} from jsonb_populate_record(null::{name}, $7::text::jsonb) r ", fields.join(", "));
        _ = write!(text, "where exists (select from fence)\n    on conflict ({key}) do ");
        let changed =
            columns.iter().filter(|column| **column != key).map(|column| format!("{column} = excluded.{column}"));
        match changed.collect::<Vec<_>>() {
            changed if changed.is_empty() => text.push_str("nothing"),
            changed => _ = write!(text, "update set {}", changed.join(", ")),
        }
        text.push_str("\n)\nselect exists (select from fence)");
        let row = serde_json::to_string(&row).map_err(|error| error.to_string())?;
        Ok(Statement { text, row })
    }

    fn delete(&self, call: &Call) -> Result<Statement, String> {
        let (name, key) = (&self.name, quoted(&self.key)?);
        let text = format!(
            "{PASS}, gone as (\n    delete from {name} as t using fence\n    where t.{key} = (select r.{key} \
             from jsonb_populate_record(null::{name}, $7::text::jsonb) r)\n)\nselect exists (select from fence)"
        );
        let row = BTreeMap::from([(&self.key, json_text(&call.key)?)]);
        let row = serde_json::to_string(&row).map_err(|error| error.to_string())?;
        Ok(Statement { text, row })
    }
}

/// As an identifier, whatever is in it.
fn quoted(name: &str) -> Result<String, String> {
    match () {
        () if name.is_empty() => Err("has no name".to_owned()),
        () if name.len() > LONGEST_IDENTIFIER => {
            Err(format!("has a name of {} bytes, of at most {LONGEST_IDENTIFIER}", name.len()))
        }
        () if name.contains('\0') => Err("has a zero byte in its name".to_owned()),
        () => Ok(format!("\"{}\"", name.replace('"', "\"\""))),
    }
}

fn json_text(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::value::to_raw_value(text).map_err(|error| error.to_string())
}

/// Whether a JSON value is the key: the same text, or a number that is written so.
fn is_key(value: &RawValue, key: &str) -> bool {
    match serde_json::from_str::<String>(value.get()) {
        Ok(text) => text == key,
        Err(_) => value.get() == key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::{Address, TargetKind, TargetSpec};

    fn table(name: &str, key: &str) -> Result<Table, String> {
        let settings = BTreeMap::from([("table", name), ("key", key)].map(|(k, v)| (k.to_owned(), v.to_owned())));
        Table::of(&Settings(&settings))
    }

    fn call(key: &str, value: Option<&str>) -> Call {
        Call {
            target: TargetSpec {
                name: "rows".to_owned(),
                kind: TargetKind::Postgres,
                address: Address::new("postgres://h/db"),
                settings: BTreeMap::new(),
            },
            namespace: "shop".to_owned(),
            token: "t".to_owned(),
            number: 1,
            attempt: 1,
            key: key.to_owned(),
            order: None,
            operation: if value.is_some() { Operation::Put } else { Operation::Delete },
            value: value.map(|value| value.as_bytes().to_vec()),
            headers: BTreeMap::new(),
            created_at: 1,
            version: None,
        }
    }

    #[test]
    fn names_are_quoted_and_values_are_parameters() {
        let table = table("a\"b.c;d", "i\"d").unwrap();
        let statement = table.statement(&call("'; drop", Some(r#"{"x\"); --": 1}"#))).unwrap();
        assert!(statement.text.contains(r#"insert into "a""b"."c;d" ("i""d", "x""); --")"#), "{}", statement.text);
        assert!(!statement.text.contains("drop"));
        assert_eq!(statement.row, r#"{"i\"d":"'; drop","x\"); --":1}"#);
        assert!(table.statement(&call("k", None)).unwrap().text.contains(r#"delete from "a""b"."c;d" as t"#));
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        let exact = "123456789012345678901234567890.12345";
        let statement =
            table("t", "id").unwrap().statement(&call("5", Some(&format!(r#"{{"n": {exact}, "id": 5}}"#)))).unwrap();
        assert_eq!(statement.row, format!(r#"{{"id":"5","n":{exact}}}"#));
    }

    #[test]
    fn what_makes_no_row_is_refused_without_a_payload() {
        let table = table("t", "id").unwrap();
        for (value, reason) in [
            ("[\"canary\"]", "no JSON object"),
            ("{\"canary", "no JSON object"),
            (r#"{"id": "canary"}"#, "its id is not the mutation's key"),
            (r#"{"": 1}"#, "has no name"),
        ] {
            let error = table.statement(&call("5", Some(value))).unwrap_err();
            assert!(error.contains(reason) && !error.contains("canary"), "{error}");
        }
        let long = format!(r#"{{"{}": 1}}"#, "x".repeat(64));
        assert!(table.statement(&call("5", Some(&long))).unwrap_err().contains("64 bytes, of at most 63"));
        assert!(super::tests::table("a.b.c", "id").unwrap_err().contains("more than one dot"));
        assert!(super::tests::table("", "id").unwrap_err().contains("no name"));
    }

    #[test]
    fn a_row_of_nothing_but_its_key_is_put_too() {
        assert!(table("t", "id").unwrap().statement(&call("5", Some("{}"))).unwrap().text.contains("do nothing"));
    }
}
