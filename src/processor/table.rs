//! The source of a lookup table: what its topic has goes into the store, byte by byte.

use std::sync::Arc;

use crate::codec::{Codec, DecodeError};
use crate::error::{RecordError, Stage};
use crate::record::RawRecord;
use crate::store::StoreIndex;

use super::context::Scope;
use super::node::SourceEntry;
use super::punctuator::{Schedule, Tick};

/// Keeps a table.
#[derive(Debug)]
pub struct TableNode<K, V> {
    store: StoreIndex,
    key: Arc<dyn Codec<K>>,
    value: Arc<dyn Codec<V>>,
}

impl<K, V> TableNode<K, V> {
    /// A table over its store, with the codecs that its readers use.
    pub fn new(store: StoreIndex, key: Arc<dyn Codec<K>>, value: Arc<dyn Codec<V>>) -> Self {
        TableNode { store, key, value }
    }
}

impl<K: 'static, V: 'static> SourceEntry for TableNode<K, V> {
    /// What can't be decoded is told of, and kept: a restore takes it from the topic as it is, and the store must not depend
    /// on which of the two it came by.
    fn accept(&mut self, raw: &RawRecord<'_>, scope: &mut Scope) -> Result<(), DecodeError> {
        let readable = self.key.decode(raw.key).map(drop);
        let readable =
            readable.and_then(|()| raw.value.map_or(Ok(()), |value| self.value.decode(Some(value)).map(drop)));
        match readable {
            Err(DecodeError::SchemaNotLoaded(id)) => return Err(DecodeError::SchemaNotLoaded(id)),
            Err(error) => {
                let error = RecordError::new(Stage::Deserialize, error.class(), error.to_string());
                scope.set_aside.get_or_insert(error);
            }
            Ok(()) => {}
        }
        self.keep(raw, scope);
        Ok(())
    }

    /// A record without a key is of no table.
    fn keep(&mut self, raw: &RawRecord<'_>, scope: &mut Scope) -> bool {
        if let Some(key) = raw.key {
            scope.state.write(self.store, key, raw.value);
        }
        true
    }

    fn punctuate(&mut self, _: &Schedule, _: &Tick<'_>, _: &mut Scope) -> bool {
        false
    }
}
