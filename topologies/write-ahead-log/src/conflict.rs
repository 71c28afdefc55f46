//! A mutation that lost against another region's; its schema is the file in `schemas/`.

use headrace::codec::AvroSchema;
use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::mutation::Operation;
use crate::version::Version;

/// Something that was not applied, because another region has written its key later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Its namespace.
    pub namespace: String,
    /// The target that it was not applied at.
    pub target: String,
    /// What it was about.
    pub key: String,
    /// Its token.
    pub token: String,
    /// What was to be done.
    pub operation: Operation,
    /// What was to be put.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub value: Option<Vec<u8>>,
    /// When and where it was written.
    pub lost: Version,
    /// The same of what the target keeps; none if it is older than anything that is remembered.
    pub kept: Option<Version>,
    /// When that was found out, in milliseconds since the epoch.
    pub found: i64,
}

impl AvroSchema for Conflict {
    const SCHEMA: &'static str = include_str!("../../../schemas/write-ahead-log.conflicts-value.avsc");
}

impl Conflict {
    /// Of an entry against what its target keeps.
    pub(crate) fn new(entry: &Entry, lost: Version, kept: Option<Version>, found: i64) -> Self {
        let mutation = &entry.mutation;
        Conflict {
            namespace: mutation.namespace.clone(),
            target: entry.target().to_owned(),
            key: mutation.key.clone(),
            token: mutation.token.clone(),
            operation: mutation.operation,
            value: mutation.value.clone(),
            lost,
            kept,
            found,
        }
    }
}
