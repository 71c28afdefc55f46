//! Global tables as workers see them: read at any time, and waited for.
//!
//! ```text
//!  global table's thread ─▶ GlobalState ◀─ read ─ Lookups ◀─ until(key, wanted) ─ Worker::run, Worker::hold
//!                               └────── a write to the key ──▶ read again
//! ```

use std::fmt;
use std::sync::Arc;

use super::external::BoxFuture;
use crate::codec::{DecodeError, SchemaId};
use crate::store::{GlobalState, GlobalTable, ReadError};

/// Fetches a schema; done when the registry has answered.
pub type LoadSchema = Arc<dyn Fn(SchemaId) -> BoxFuture<'static, ()> + Send + Sync>;

/// The global tables of a process. Clones are the same.
#[derive(Clone)]
pub struct Lookups {
    state: Arc<GlobalState>,
    load: LoadSchema,
}

impl Lookups {
    /// Of these tables.
    pub fn new(state: Arc<GlobalState>, load: LoadSchema) -> Self {
        Lookups { state, load }
    }

    /// The value of a key, the newest that has come. Waits for nothing but the schema that it was written with.
    ///
    /// # Errors
    /// The database failed, or what the topic has for the key can't be decoded.
    pub async fn read<K: 'static, V: 'static>(
        &self,
        table: &GlobalTable<K, V>,
        key: &K,
    ) -> Result<Option<V>, ReadError> {
        loop {
            match table.read(&self.state, key, &mut Vec::new()) {
                Err(ReadError::Decode(DecodeError::SchemaNotLoaded(id))) => (self.load)(id).await,
                read => return read,
            }
        }
    }

    /// Waits until a key has a value that is wanted, or until it has none, if that is; returns what it has.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn until<K: 'static, V: 'static>(
        &self,
        table: &GlobalTable<K, V>,
        key: &K,
        wanted: impl Fn(Option<&V>) -> bool,
    ) -> Result<Option<V>, ReadError> {
        // From here on no write is missed.
        let mut changes = table.changes(&self.state, key)?;
        loop {
            let value = self.read(table, key).await?;
            if wanted(value.as_ref()) {
                return Ok(value);
            }
            drop(value);
            changes.next().await;
        }
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookups").finish_non_exhaustive()
    }
}
