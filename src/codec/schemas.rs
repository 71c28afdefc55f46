//! The cache of schemas by registry id that codecs look into and the I/O plane fills.
//!
//! Why a cache and not a client: a codec is pure. An id that is missing here is the runtime's to fetch, and the record
//! waits meanwhile; an id that the registry denied is remembered, so that a poison record does not ask again and again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apache_avro::Schema;
use apache_avro::rabin::Rabin;

use super::layout::Layout;

/// Schemas kept; one more evicts another, which is then fetched again when it is needed.
pub const MAX_KNOWN: usize = 16_384;

/// Ids kept as unknown or unusable; one more evicts another.
pub const MAX_UNKNOWN: usize = 4_096;

/// A schema's id in the registry, as the Confluent framing carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is not a usable Avro schema.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not a usable Avro schema: {0}")]
pub struct SchemaError(pub String);

/// A schema, parsed once.
#[derive(Debug)]
pub struct ParsedSchema {
    /// The schema.
    pub avro: Schema,
    /// Its text as it was registered.
    pub json: String,
    /// The Rabin fingerprint of its canonical form: equal for schemas that read the same bytes in the same way.
    pub fingerprint: u64,
    pub(super) layout: Layout,
    /// The column fingerprint of a change event's schema, computed when the first of its records is read.
    pub(super) columns: OnceLock<Option<u64>>,
}

impl ParsedSchema {
    /// Parses the text of an Avro schema that refers to nothing outside itself.
    pub fn parse(json: &str) -> Result<ParsedSchema, SchemaError> {
        let avro = Schema::parse_str(json).map_err(|error| SchemaError(error.to_string()))?;
        let layout = Layout::of(&avro).map_err(SchemaError)?;
        let digest = avro.fingerprint::<Rabin>().bytes;
        let fingerprint = digest.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(ParsedSchema { avro, json: json.to_owned(), fingerprint, layout, columns: OnceLock::new() })
    }
}

/// What the cache knows of an id.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// The schema.
    Known(Arc<ParsedSchema>),
    /// The registry has no such schema.
    Unknown,
    /// The registry has it, but it can't be used: not Avro, or it refers to other subjects. The reason.
    Unusable(Arc<str>),
    /// Nobody asked yet.
    NotLoaded,
}

/// Schemas by id, shared by all codecs of an application.
#[derive(Debug, Default)]
pub struct Schemas {
    known: RwLock<HashMap<SchemaId, Arc<ParsedSchema>, ahash::RandomState>>,
    /// `None` is an id that the registry does not have, `Some` one that can't be used and why.
    denied: RwLock<HashMap<SchemaId, Option<Arc<str>>, ahash::RandomState>>,
}

impl Schemas {
    /// What is known of this id.
    pub fn lookup(&self, id: SchemaId) -> Lookup {
        if let Some(schema) = read(&self.known).get(&id) {
            return Lookup::Known(Arc::clone(schema));
        }
        match read(&self.denied).get(&id) {
            Some(None) => Lookup::Unknown,
            Some(Some(reason)) => Lookup::Unusable(Arc::clone(reason)),
            None => Lookup::NotLoaded,
        }
    }

    /// Fills in a schema that the registry gave. One that does not parse is remembered as [`Lookup::Unusable`].
    pub fn insert(&self, id: SchemaId, json: &str) -> Result<(), SchemaError> {
        match ParsedSchema::parse(json) {
            Ok(schema) => {
                write(&self.denied).remove(&id);
                bounded_insert(&mut write(&self.known), MAX_KNOWN, id, Arc::new(schema));
                Ok(())
            }
            Err(error) => {
                self.mark_unusable(id, &error.to_string());
                Err(error)
            }
        }
    }

    /// Remembers that the registry has no such schema, until [`forget_unknown`](Schemas::forget_unknown).
    pub fn mark_unknown(&self, id: SchemaId) {
        bounded_insert(&mut write(&self.denied), MAX_UNKNOWN, id, None);
    }

    /// Remembers that the schema can't be used, until [`forget_unknown`](Schemas::forget_unknown).
    pub fn mark_unusable(&self, id: SchemaId, reason: &str) {
        bounded_insert(&mut write(&self.denied), MAX_UNKNOWN, id, Some(reason.into()));
    }

    /// Forgets all ids that are unknown or unusable, so that they are asked for again; the caller decides how often.
    pub fn forget_unknown(&self) {
        write(&self.denied).clear();
    }

    /// Gives a schema an id without a registry, for tests and the topology driver. The same text gets the same id.
    pub fn register_local(&self, json: &str) -> Result<SchemaId, SchemaError> {
        let schema = ParsedSchema::parse(json)?;
        let mut known = write(&self.known);
        if let Some((id, _)) = known.iter().find(|(_, known)| known.json == json) {
            return Ok(*id);
        }
        let next = known.keys().map(|id| id.0).max().unwrap_or(0);
        let id = SchemaId(next.checked_add(1).ok_or_else(|| SchemaError("no id is left".into()))?);
        bounded_insert(&mut known, MAX_KNOWN, id, Arc::new(schema));
        Ok(id)
    }

    /// The schema, or why a record that names this id can't be decoded now.
    pub(super) fn require(&self, id: SchemaId) -> Result<Arc<ParsedSchema>, super::DecodeError> {
        use super::DecodeError;
        match self.lookup(id) {
            Lookup::Known(schema) => Ok(schema),
            Lookup::Unknown => Err(DecodeError::UnknownSchema(id)),
            Lookup::Unusable(reason) => Err(DecodeError::Malformed(format!("schema id {id}: {reason}"))),
            Lookup::NotLoaded => Err(DecodeError::SchemaNotLoaded(id)),
        }
    }
}

type Map<V> = HashMap<SchemaId, V, ahash::RandomState>;

/// A panic elsewhere leaves a map of complete entries, so a poisoned lock is still good.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// See [`read`].
pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn bounded_insert<V>(map: &mut Map<V>, most: usize, id: SchemaId, value: V) {
    if map.len() >= most && !map.contains_key(&id) {
        let evicted = map.keys().next().copied();
        evicted.and_then(|evicted| map.remove(&evicted));
    }
    map.insert(id, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_not_loaded_then_known() {
        let schemas = Schemas::default();
        assert!(matches!(schemas.lookup(SchemaId(7)), Lookup::NotLoaded));
        schemas.insert(SchemaId(7), r#""long""#).unwrap();
        let Lookup::Known(schema) = schemas.lookup(SchemaId(7)) else { panic!("not known") };
        assert_eq!(schema.json, r#""long""#);
    }

    #[test]
    fn an_unknown_id_stays_unknown_until_it_is_forgotten() {
        let schemas = Schemas::default();
        schemas.mark_unknown(SchemaId(7));
        assert!(matches!(schemas.lookup(SchemaId(7)), Lookup::Unknown));
        schemas.forget_unknown();
        assert!(matches!(schemas.lookup(SchemaId(7)), Lookup::NotLoaded));
        schemas.mark_unknown(SchemaId(7));
        schemas.insert(SchemaId(7), r#""long""#).unwrap();
        assert!(matches!(schemas.lookup(SchemaId(7)), Lookup::Known(_)));
    }

    #[test]
    fn a_schema_that_does_not_parse_is_unusable_and_not_asked_for_again() {
        let schemas = Schemas::default();
        assert!(schemas.insert(SchemaId(1), "{}").is_err());
        assert!(schemas.insert(SchemaId(2), r#"{"type":"array","items":"elsewhere.Type"}"#).is_err());
        for id in [1, 2] {
            assert!(matches!(schemas.lookup(SchemaId(id)), Lookup::Unusable(_)));
        }
    }

    #[test]
    fn local_ids_are_stable_by_text_and_never_taken_twice() {
        let schemas = Schemas::default();
        schemas.insert(SchemaId(1), r#""string""#).unwrap();
        let long = schemas.register_local(r#""long""#).unwrap();
        assert_ne!(long, SchemaId(1));
        assert_eq!(schemas.register_local(r#""long""#).unwrap(), long);
        assert_ne!(schemas.register_local(r#""int""#).unwrap(), long);
    }

    #[test]
    fn both_sides_of_the_cache_are_bounded() {
        let schemas = Schemas::default();
        for id in 0..(MAX_UNKNOWN as u32 + 10) {
            schemas.mark_unknown(SchemaId(id));
        }
        assert_eq!(read(&schemas.denied).len(), MAX_UNKNOWN);
        let mut map = Map::default();
        for id in 0..10 {
            bounded_insert(&mut map, 3, SchemaId(id), id);
        }
        assert_eq!(map.len(), 3);
        assert!(map.contains_key(&SchemaId(9)));
    }

    #[test]
    fn equal_canonical_forms_have_equal_fingerprints() {
        let plain =
            ParsedSchema::parse(r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#).unwrap();
        let commented = ParsedSchema::parse(
            r#"{"type":"record","name":"R","doc":"d","fields":[{"name":"a","type":"long","default":0,"doc":"x"}]}"#,
        )
        .unwrap();
        assert_eq!(plain.fingerprint, commented.fingerprint);
        assert_ne!(plain.fingerprint, ParsedSchema::parse(r#""long""#).unwrap().fingerprint);
    }
}
