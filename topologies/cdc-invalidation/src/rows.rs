//! The values on the edges and in the store; their schemas are the files in `schemas/`.

use headrace::codec::AvroSchema;
use serde::{Deserialize, Serialize};

/// Identity of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowKey {
    /// `schema.table`.
    pub table: String,
    /// Primary key as canonical JSON text; empty for a change of the whole table.
    pub key: String,
}

impl AvroSchema for RowKey {
    const SCHEMA: &'static str = include_str!("../../../schemas/cdc-invalidation.invalidations-key.avsc");
}

/// The newest version of a row that has been seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowVersion {
    /// See [`Version`](crate::version::Version).
    pub version: String,
    /// Whether it is the row's deletion.
    pub deleted: bool,
    /// Full content, in write-through mode.
    pub image: Option<String>,
    /// Offset of the record that set this version.
    pub offset: Option<i64>,
}

impl AvroSchema for RowVersion {
    const SCHEMA: &'static str = include_str!("../../../schemas/cdc-invalidation-row-versions-changelog-value.avsc");
}

/// What happens to the cache entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Content is written.
    Set,
    /// Content is dropped; the version fences.
    Invalidate,
    /// The row is known to be gone.
    Delete,
    /// Every older row of the table is void.
    Truncate,
    /// Content is dropped, without a version.
    Drop,
}

/// What a change of the database does to the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalidation {
    /// What to do.
    pub action: Action,
    /// The entry.
    pub cache_key: String,
    /// The change's version.
    pub version: String,
    /// Commit time in milliseconds.
    pub commit_ms: Option<i64>,
    /// The table's columns.
    pub fingerprint: Option<String>,
    /// Where in the log, as [`fence`](crate::version::fence), the table had these columns.
    #[serde(skip)]
    pub schema_fence: String,
    /// New content for [`Action::Set`]; goes to the cache, not to the topic.
    #[serde(skip)]
    pub image: Option<String>,
}

impl AvroSchema for Invalidation {
    const SCHEMA: &'static str = include_str!("../../../schemas/cdc-invalidation.invalidations-value.avsc");
}
