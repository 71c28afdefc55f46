//! Debezium's change events: one envelope of many spellings, read as one [`Change`].
//!
//! Why one type: the same change arrives as Avro, as JSON with its schema or as bare JSON, and everything that decides
//! about freshness must not care which. A record that can't be read still names its key where that is possible, so that
//! a cache can fail to a miss and never to a stale value.
//!
//! ```text
//!  key   ─┬ Avro ──────────┐                     ┌ Row(RowChange)  c u d r, with before, after, source
//!         ├ JSON + schema ─┼─▶ Option<Key>       ├ Truncate        t: the whole table, by its LSN
//!         └ JSON ──────────┘                ─▶   ├ Tombstone       null: no version, no news
//!  value ── the same three ──▶ parts ────────────┼ Watermark       m, heartbeats, BEGIN and END
//!  headers ─ __debezium.newkey / oldkey ─────────└ Unreadable      and why
//! ```

mod avro;
mod columns;
mod envelope;
mod json;
mod parts;
mod row;
mod source;

pub use envelope::{Envelope, envelope};
pub use row::{Columns, Key, Row};
pub use source::{Binlog, Snapshot, Source};

/// What one record of a change topic says.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A row was created, updated, deleted, or read by a snapshot.
    Row(RowChange),
    /// The whole table was emptied. Its key is null and its partition arbitrary.
    Truncate(Source),
    /// The null after a delete: it has no version, and must not delete a newer row.
    Tombstone,
    /// Nothing changed, but the connector got this far: a logical message, a heartbeat, a transaction's BEGIN or END.
    Watermark(Option<Source>),
    /// The value can't be read while the key could, or is null.
    Unreadable {
        /// A short stable class, by which dead letters are grouped.
        class: &'static str,
        /// Why, without payload.
        reason: String,
    },
}

/// A change of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    /// What happened.
    pub op: Op,
    /// The row before. With the default replica identity it is null on most updates, and on a delete its columns
    /// outside the key are invented.
    pub before: Option<Row>,
    /// The row after; null exactly on a delete.
    pub after: Option<Row>,
    /// Where the change stands in the database's log.
    pub source: Source,
    /// Set on the two halves of a primary-key update.
    pub moved: Option<Moved>,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `c`
    Create,
    /// `u`
    Update,
    /// `d`
    Delete,
    /// `r`, from a snapshot.
    Read,
}

/// The other half of a primary-key update. The key is `None` where the header is there and can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// On the delete of the old key: the row's new key.
    To(Option<Key>),
    /// On the create of the new key: the row's old key. Columns that did not change may be placeholders here.
    From(Option<Key>),
}

/// Class of a value that is well formed but no change event, such as one that a transform has flattened.
pub const NOT_AN_ENVELOPE: &str = "not-an-envelope";

/// Class of a change event with an operation that this version does not know.
pub const UNKNOWN_OP: &str = "unknown-op";

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
