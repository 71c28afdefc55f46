//! Typed access: a store's handle encodes keys and decodes values, over the bytes of [`TaskState`].
//!
//! The handle is made where the topology is declared and cloned into the processors that use it, so that a store of the
//! wrong type does not compile. It holds no data.

use std::fmt;
use std::sync::Arc;

use super::error::{ReadError, StoreError};
use super::range::{Bounds, RangeScan};
use super::spec::{StoreIndex, StoreKind, StoreSpec};
use super::state::TaskState;
use crate::codec::{Codec, EncodeError};

/// Kinds of stores to declare: `Stores::rocks(key_codec, value_codec).without_changelog()`.
#[derive(Debug, Clone, Copy)]
pub struct Stores;

impl Stores {
    /// A store on disk.
    pub fn rocks<K: 'static, V: 'static>(key: impl Codec<K>, value: impl Codec<V>) -> StoreBuilder<K, V> {
        StoreBuilder::new(StoreKind::Rocks, Arc::new(key), Arc::new(value))
    }

    /// A store in memory, filled from its changelog when the task is opened.
    pub fn memory<K: 'static, V: 'static>(key: impl Codec<K>, value: impl Codec<V>) -> StoreBuilder<K, V> {
        StoreBuilder::new(StoreKind::Memory, Arc::new(key), Arc::new(value))
    }
}

/// A store that has no name yet. It has a changelog unless that is declined.
#[derive(Debug, Clone)]
pub struct StoreBuilder<K, V> {
    kind: StoreKind,
    changelog: bool,
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
}

impl<K: 'static, V: 'static> StoreBuilder<K, V> {
    fn new(kind: StoreKind, key: Arc<dyn Codec<K>>, value: Arc<dyn Codec<V>>) -> Self {
        StoreBuilder { kind, changelog: true, key, value }
    }

    /// Each write is produced to the store's changelog topic too; that is so anyway.
    #[must_use]
    pub fn with_changelog(mut self) -> Self {
        self.changelog = true;
        self
    }

    /// What is lost with the disk, or with the process for a store in memory, stays lost.
    #[must_use]
    pub fn without_changelog(mut self) -> Self {
        self.changelog = false;
        self
    }

    /// The declaration and the handle of the store, under its name and number in the topology.
    pub fn build(self, name: &str, index: StoreIndex) -> (StoreSpec, Store<K, V>) {
        let spec = StoreSpec { index, name: name.to_owned(), kind: self.kind, changelog: self.changelog };
        (spec, Store { name: name.into(), index, key: self.key, value: self.value })
    }
}

/// A typed handle of a store.
pub struct Store<K, V> {
    name: Arc<str>,
    index: StoreIndex,
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
}

impl<K, V> Clone for Store<K, V> {
    fn clone(&self) -> Self {
        Store {
            name: Arc::clone(&self.name),
            index: self.index,
            key: Arc::clone(&self.key),
            value: Arc::clone(&self.value),
        }
    }
}

impl<K, V> fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("name", &self.name).field("index", &self.index).finish_non_exhaustive()
    }
}

impl<K: 'static, V: 'static> Store<K, V> {
    /// The store's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store's number in the topology.
    pub fn index(&self) -> StoreIndex {
        self.index
    }

    /// How keys become bytes.
    pub fn key_codec(&self) -> &Arc<dyn Codec<K>> {
        &self.key
    }

    /// How values become bytes.
    pub fn value_codec(&self) -> &Arc<dyn Codec<V>> {
        &self.value
    }

    /// The value of a key, staged writes included.
    ///
    /// # Errors
    /// The store failed, the key has no bytes, or the stored bytes are not a value (yet: `SchemaNotLoaded`).
    pub fn read(&self, state: &mut TaskState, key: &K) -> Result<Option<V>, ReadError> {
        let mut bytes = std::mem::take(&mut state.scratch.0);
        let result = self.read_encoded(state, key, &mut bytes);
        state.scratch.0 = bytes;
        result
    }

    fn read_encoded(&self, state: &mut TaskState, key: &K, bytes: &mut Vec<u8>) -> Result<Option<V>, ReadError> {
        bytes.clear();
        self.key.encode(key, bytes)?;
        let decode = |value: Option<&[u8]>| value.map(|value| self.value.decode(Some(value))).transpose();
        Ok(state.read_with(self.index, bytes, decode)??)
    }

    /// Stages a write; `None`, and a value that its codec takes for null, deletes.
    ///
    /// # Errors
    /// The key or the value does not fit its codec; nothing is staged then.
    pub fn write(&self, state: &mut TaskState, key: &K, value: Option<&V>) -> Result<(), ReadError> {
        let (mut key_bytes, mut value_bytes) = std::mem::take(&mut state.scratch);
        let value = value.filter(|value| !self.value.is_null(value));
        let encoded = self.encode(key, value, &mut key_bytes, &mut value_bytes);
        if encoded.is_ok() {
            state.write(self.index, &key_bytes, value.map(|_| value_bytes.as_slice()));
        }
        state.scratch = (key_bytes, value_bytes);
        Ok(encoded?)
    }

    fn encode(
        &self,
        key: &K,
        value: Option<&V>,
        key_bytes: &mut Vec<u8>,
        value_bytes: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        key_bytes.clear();
        value_bytes.clear();
        self.key.encode(key, key_bytes)?;
        value.map_or(Ok(()), |value| self.value.encode(value, value_bytes))
    }

    /// The entries within bounds of the keys' *bytes*, in their order, staged writes included. Which keys are neighbours
    /// is the key codec's matter.
    ///
    /// # Errors
    /// The store failed.
    pub fn range<'a>(&'a self, state: &'a mut TaskState, bounds: Bounds<'_>) -> Result<Entries<'a, K, V>, StoreError> {
        Ok(Entries { store: self, scan: state.range(self.index, bounds)? })
    }

    /// The entries whose key's bytes start with `prefix`, in their order, staged writes included.
    ///
    /// # Errors
    /// The store failed.
    pub fn prefix<'a>(&'a self, state: &'a mut TaskState, prefix: &[u8]) -> Result<Entries<'a, K, V>, StoreError> {
        Ok(Entries { store: self, scan: state.prefix(self.index, prefix)? })
    }
}

/// A typed handle of a lookup table: a store that is read and never written by processors.
pub struct Table<K, V>(Store<K, V>);

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Table(self.0.clone())
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: 'static, V: 'static> Table<K, V> {
    /// A table that is kept in this store.
    pub(crate) fn new(store: Store<K, V>) -> Self {
        Table(store)
    }

    /// The table's number among the stores of the topology; a processor that reads it names it there.
    pub fn index(&self) -> StoreIndex {
        self.0.index
    }

    /// To be read from.
    pub(crate) fn store(&self) -> &Store<K, V> {
        &self.0
    }

    /// The value of a key, for a test or a tool that has the state in hand.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read(&self, state: &mut TaskState, key: &K) -> Result<Option<V>, ReadError> {
        self.0.read(state, key)
    }
}

/// An ordered scan, decoded.
pub struct Entries<'a, K, V> {
    store: &'a Store<K, V>,
    scan: RangeScan<'a>,
}

impl<'a, K, V> Entries<'a, K, V> {
    pub(super) fn new(store: &'a Store<K, V>, scan: RangeScan<'a>) -> Self {
        Entries { store, scan }
    }
}

impl<K: 'static, V: 'static> Iterator for Entries<'_, K, V> {
    type Item = Result<(K, V), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let store = self.store;
        match self.scan.next() {
            Ok(Some((key, value))) => {
                let decode = || Ok((store.key.decode(Some(key))?, store.value.decode(Some(value))?));
                Some(decode().map_err(ReadError::Decode))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}
