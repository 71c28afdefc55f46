//! Where a change stands: the envelope's `source` block.
//!
//! Why strict on positions: a wrong version is worse than none. An LSN that is text, or a snapshot marker that nobody
//! knows, makes the record unreadable, and unreadable records invalidate.

use std::borrow::Cow;

/// The `source` block: which table, and where in its database's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The connector, such as `postgresql`.
    pub connector: Box<str>,
    /// The database.
    pub database: Box<str>,
    /// The schema; empty for databases without schemas, such as MySQL.
    pub schema: Box<str>,
    /// The table, or collection; empty on watermarks.
    pub table: Box<str>,
    /// PostgreSQL: position of the change. It ascends per key only. Null on incremental-snapshot reads.
    pub lsn: Option<u64>,
    /// PostgreSQL: the transaction. Null on incremental-snapshot reads.
    pub tx_id: Option<u64>,
    /// PostgreSQL: the commit position of the last *earlier* transaction, and the LSN of this change; either may be null.
    pub sequence: (Option<u64>, Option<u64>),
    /// Whether a snapshot read it.
    pub snapshot: Snapshot,
    /// When the change was committed, in milliseconds since the epoch. Ties within a transaction: not a version.
    pub ts_ms: Option<i64>,
    /// The same in microseconds.
    pub ts_us: Option<i64>,
    /// MySQL and MariaDB: position in the binary log.
    pub binlog: Option<Box<Binlog>>,
    /// The table's set of columns. With a schema: names and types. Without: the names in their order. A change of it
    /// changes the generation of the table's content, because added columns send no events.
    pub fingerprint: Option<u64>,
}

/// A position in MySQL's or MariaDB's binary log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binlog {
    /// The file.
    pub file: Option<Box<str>>,
    /// The offset in the file.
    pub pos: Option<u64>,
    /// The row within the event.
    pub row: Option<u64>,
    /// The global transaction id.
    pub gtid: Option<Box<str>>,
    /// The server.
    pub server_id: Option<u64>,
}

/// Whether and how a snapshot read the row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Snapshot {
    /// Streamed from the log.
    #[default]
    No,
    /// Read by the initial, or a blocking, snapshot.
    Initial,
    /// Read by an incremental snapshot: it may invalidate, and must never raise a fence.
    Incremental,
}

impl Source {
    /// `schema.table`, or `database.table` where there are no schemas.
    pub fn table_name(&self) -> String {
        let space = if self.schema.is_empty() { &self.database } else { &self.schema };
        if space.is_empty() { self.table.to_string() } else { format!("{space}.{}", self.table) }
    }
}

/// A leaf of the `source` block, from JSON or Avro.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer above `i64::MAX`.
    Big(u64),
    Text(Cow<'a, str>),
    /// A fraction, an object or an array.
    Other,
}

impl Scalar<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Scalar::Null => "null",
            Scalar::Bool(_) => "a boolean",
            Scalar::Int(_) | Scalar::Big(_) => "an integer",
            Scalar::Text(_) => "a text",
            Scalar::Other => "neither text nor integer",
        }
    }
}

/// The fields of the `source` block that are read. The discriminant is a bit of [`SourceBuilder::seen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceField {
    Connector,
    Database,
    Schema,
    Table,
    Collection,
    Lsn,
    TxId,
    Sequence,
    Snapshot,
    TsMs,
    TsUs,
    File,
    Pos,
    Row,
    Gtid,
    ServerId,
}

impl SourceField {
    pub(super) fn named(name: &str) -> Option<SourceField> {
        Some(match name {
            "connector" => SourceField::Connector,
            "db" => SourceField::Database,
            "schema" => SourceField::Schema,
            "table" => SourceField::Table,
            "collection" => SourceField::Collection,
            "lsn" => SourceField::Lsn,
            "txId" => SourceField::TxId,
            "sequence" => SourceField::Sequence,
            "snapshot" => SourceField::Snapshot,
            "ts_ms" => SourceField::TsMs,
            "ts_us" => SourceField::TsUs,
            "file" => SourceField::File,
            "pos" => SourceField::Pos,
            "row" => SourceField::Row,
            "gtid" => SourceField::Gtid,
            "server_id" => SourceField::ServerId,
            _ => return None,
        })
    }
}

/// Collects a [`Source`] field by field.
#[derive(Debug, Default)]
pub(super) struct SourceBuilder {
    source: Source,
    binlog: Binlog,
    seen: u32,
}

impl SourceBuilder {
    pub(super) fn set(&mut self, field: SourceField, value: Scalar<'_>) -> Result<(), String> {
        let bit = 1_u32 << field as u32;
        if self.seen & bit != 0 {
            return Err(format!("source.{field:?} occurs twice"));
        }
        self.seen |= bit;
        let mistaken = |kind: &str| format!("source.{field:?} is {kind}");
        let text = |value: Scalar<'_>| match value {
            Scalar::Null => Ok(None),
            Scalar::Text(text) => Ok(Some(Box::<str>::from(text))),
            other => Err(mistaken(other.kind())),
        };
        // Java has no unsigned type: a position above 2^63 would arrive negative.
        let position = |value: Scalar<'_>| match value {
            Scalar::Null => Ok(None),
            Scalar::Int(number) => Ok(Some(number as u64)),
            Scalar::Big(number) => Ok(Some(number)),
            other => Err(mistaken(other.kind())),
        };
        let time = |value: Scalar<'_>| match value {
            Scalar::Null => Ok(None),
            Scalar::Int(number) => Ok(Some(number)),
            other => Err(mistaken(other.kind())),
        };
        let source = &mut self.source;
        match field {
            SourceField::Connector => source.connector = text(value)?.unwrap_or_default(),
            SourceField::Database => source.database = text(value)?.unwrap_or_default(),
            SourceField::Schema => source.schema = text(value)?.unwrap_or_default(),
            SourceField::Table | SourceField::Collection => source.table = text(value)?.unwrap_or_default(),
            SourceField::Lsn => source.lsn = position(value)?,
            // Oracle's transactions have names.
            SourceField::TxId => source.tx_id = position(value).unwrap_or(None),
            SourceField::Sequence => source.sequence = sequence(value).ok_or_else(|| mistaken("not a pair"))?,
            SourceField::Snapshot => source.snapshot = snapshot(value).ok_or_else(|| mistaken("of no known kind"))?,
            SourceField::TsMs => source.ts_ms = time(value)?,
            SourceField::TsUs => source.ts_us = time(value)?,
            SourceField::File => self.binlog.file = text(value)?,
            SourceField::Pos => self.binlog.pos = position(value)?,
            SourceField::Row => self.binlog.row = position(value)?,
            SourceField::Gtid => self.binlog.gtid = text(value)?,
            SourceField::ServerId => self.binlog.server_id = position(value)?,
        }
        Ok(())
    }

    pub(super) fn build(self) -> Source {
        let mut source = self.source;
        if self.binlog != Binlog::default() {
            source.binlog = Some(Box::new(self.binlog));
        }
        source
    }
}

fn snapshot(value: Scalar<'_>) -> Option<Snapshot> {
    match value {
        Scalar::Null => Some(Snapshot::No),
        Scalar::Bool(read) => Some(if read { Snapshot::Initial } else { Snapshot::No }),
        Scalar::Text(text) => match text.as_ref() {
            "false" => Some(Snapshot::No),
            "true" | "first" | "first_in_data_collection" | "last" | "last_in_data_collection" => {
                Some(Snapshot::Initial)
            }
            "incremental" => Some(Snapshot::Incremental),
            _ => None,
        },
        _ => None,
    }
}

/// `"[\"24023128\",\"24023130\"]"`: a text that is an array of texts or nulls.
fn sequence(value: Scalar<'_>) -> Option<(Option<u64>, Option<u64>)> {
    let text = match value {
        Scalar::Null => return Some((None, None)),
        Scalar::Text(text) => text,
        _ => return None,
    };
    let inside = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let mut entries = inside.split(',').map(str::trim);
    let mut next = || match entries.next() {
        None | Some("" | "null") => Some(None),
        // Other connectors' sequences hold positions of other kinds; they are no LSNs.
        Some(entry) => Some(entry.strip_prefix('"')?.strip_suffix('"')?.parse().ok()),
    };
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(text: &str) -> Option<(Option<u64>, Option<u64>)> {
        sequence(Scalar::Text(text.into()))
    }

    #[test]
    fn f4_entries_of_a_sequence_may_be_null_and_are_64_bits_wide() {
        assert_eq!(pair(r#"["24023128","18446744073709551615"]"#), Some((Some(24_023_128), Some(u64::MAX))));
        assert_eq!(pair(r#"[null,"24023128"]"#), Some((None, Some(24_023_128))));
        assert_eq!(pair(r#"["1", null]"#), Some((Some(1), None)));
        assert_eq!(pair("[]"), Some((None, None)));
        assert_eq!(pair("24023128"), None);
        assert_eq!(pair(r#"[1,2]"#), None);
        assert_eq!(sequence(Scalar::Null), Some((None, None)));
        assert_eq!(sequence(Scalar::Int(1)), None);
    }

    #[test]
    fn f4_lsn_is_a_64_bit_number_not_text() {
        let mut builder = SourceBuilder::default();
        builder.set(SourceField::Lsn, Scalar::Int(1 << 40)).unwrap();
        assert_eq!(builder.build().lsn, Some(1 << 40));
        let error = SourceBuilder::default().set(SourceField::Lsn, Scalar::Text("99".into())).unwrap_err();
        assert_eq!(error, "source.Lsn is a text");
    }

    #[test]
    fn every_spelling_of_the_snapshot_marker_is_known_and_others_are_refused() {
        for (text, expected) in [
            ("true", Snapshot::Initial),
            ("first", Snapshot::Initial),
            ("first_in_data_collection", Snapshot::Initial),
            ("last_in_data_collection", Snapshot::Initial),
            ("last", Snapshot::Initial),
            ("false", Snapshot::No),
            ("incremental", Snapshot::Incremental),
        ] {
            assert_eq!(snapshot(Scalar::Text(text.into())), Some(expected));
        }
        assert_eq!(snapshot(Scalar::Bool(true)), Some(Snapshot::Initial));
        assert_eq!(snapshot(Scalar::Null), Some(Snapshot::No));
        assert_eq!(snapshot(Scalar::Text("maybe".into())), None);
    }

    #[test]
    fn a_table_is_named_by_its_schema_or_else_by_its_database() {
        let mut source =
            Source { database: "shop".into(), schema: "public".into(), table: "items".into(), ..Source::default() };
        assert_eq!(source.table_name(), "public.items");
        source.schema = "".into();
        assert_eq!(source.table_name(), "shop.items");
    }
}
