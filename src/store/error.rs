//! Why a store can't be opened, read or written.
//!
//! The class decides what the runtime does: wait for the holder of a lock, quarantine what is proven unusable
//! (rule R-19), or close the task and reconcile it. No text holds a key or a value (rule O5).

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::codec::{DecodeError, EncodeError};
use crate::error::TaskError;

/// What the data on disk was written by: the store's own format and the topology's stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Version of the layout of keys and of the meta column family.
    pub version: u32,
    /// Identity of the topology's stores, given by the topology.
    pub topology: u64,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} of topology {:016x}", self.version, self.topology)
    }
}

/// A store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another task of this process, has the task's directory open.
    #[error("task {task} is locked by {}", holder.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    Locked {
        /// The task.
        task: String,
        /// Process id of the holder, if it had written it yet.
        holder: Option<u32>,
    },
    /// The data was written by another layout or another topology. Quarantine it and restore.
    #[error("state is of {found}, not of {expected}")]
    Format {
        /// What is on disk.
        found: Format,
        /// What was asked for.
        expected: Format,
    },
    /// The data is damaged. Quarantine it and restore.
    #[error("state at {} is corrupt: {reason}", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// Which file or structure, without keys or values.
        reason: String,
    },
    /// A file could not be used.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused: disk full, not readable, shut down.
    #[error("state at {}: {reason}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What it said, without keys or values.
        reason: String,
    },
}

impl StoreError {
    /// A short stable class, for metrics and for the decision what comes next.
    pub fn class(&self) -> &'static str {
        match self {
            StoreError::Locked { .. } => "locked",
            StoreError::Format { .. } => "format",
            StoreError::Corrupt { .. } => "corrupt",
            StoreError::File { .. } => "file",
            StoreError::Database { .. } => "database",
        }
    }

    /// Whether the data is proven unusable, so that the directory may be quarantined (rule R-19).
    pub fn is_unusable(&self) -> bool {
        matches!(self, StoreError::Format { .. } | StoreError::Corrupt { .. })
    }
}

impl From<StoreError> for TaskError {
    fn from(error: StoreError) -> Self {
        TaskError::Store(Box::new(error))
    }
}

/// Why a typed read or write of a store failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored bytes are not a value (yet: the schema may have to be loaded first).
    #[error("stored value: {0}")]
    Decode(#[from] DecodeError),
    /// The key or the value has no bytes.
    #[error("store key or value: {0}")]
    Encode(#[from] EncodeError),
}
