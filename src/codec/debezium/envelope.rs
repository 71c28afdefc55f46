//! The record codec: finds out the spelling of key, value and headers, each for itself, and puts the change together.
//!
//! Why it rarely fails: a value that can't be read beside a key that can is [`Change::Unreadable`], so that the topology
//! still invalidates the key (rule C13). Only a schema that is not loaded yet, and a key that nobody can read, are errors.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::parts::{Parts, unreadable};
use super::row::Key;
use super::{Change, Moved, Op, avro, columns, json};
use crate::codec::schemas::{read, write};
use crate::codec::text::escape_controls;
use crate::codec::{Binding, DecodeError, Limits, RecordCodec, Schemas, framing};
use crate::record::{Headers, RawRecord};

/// Schemas beside JSON payloads whose fingerprints are kept; when there are more, all are computed again.
const MAX_INLINE_SCHEMAS: usize = 1024;

/// Header on the delete of a primary-key update.
const NEW_KEY: &str = "__debezium.newkey";

/// Header on the create of a primary-key update.
const OLD_KEY: &str = "__debezium.oldkey";

/// See [`envelope`]. Clones share the binding.
#[derive(Debug, Clone)]
pub struct Envelope {
    shared: Arc<Shared>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Shared {
    schemas: RwLock<Option<Arc<Schemas>>>,
    inline: InlineSchemas,
}

/// A codec of Debezium's change events: Avro in the Confluent framing, JSON with its schema, or JSON alone, found out for
/// key and value of each record.
pub fn envelope() -> Envelope {
    Envelope { shared: Arc::default(), limits: Limits::DEFAULT }
}

impl Envelope {
    /// The same codec, and the same binding, with other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn framed<'b>(&self, bytes: &'b [u8]) -> Result<(Arc<crate::codec::ParsedSchema>, &'b [u8]), DecodeError> {
        let (id, datum) = framing::split(bytes)?;
        match read(&self.shared.schemas).as_ref() {
            Some(schemas) => Ok((schemas.require(id)?, datum)),
            None => Err(DecodeError::Malformed("the change event codec is not bound".into())),
        }
    }

    fn key(&self, bytes: Option<&[u8]>) -> Result<Option<Key>, DecodeError> {
        let Some(bytes) = bytes else { return Ok(None) };
        self.limits.check_len(bytes)?;
        if framing::is_framed(bytes) {
            let (schema, datum) = self.framed(bytes)?;
            return avro::key(&schema, datum, &self.limits);
        }
        json::key(bytes, &self.limits)
    }

    /// The value's parts and its schema's fingerprint; `None` is a null.
    fn parts(&self, bytes: &[u8]) -> Result<Option<(Parts, Option<u64>)>, DecodeError> {
        self.limits.check_len(bytes)?;
        if framing::is_framed(bytes) {
            let (schema, datum) = self.framed(bytes)?;
            return avro::envelope(&schema, datum, &self.limits);
        }
        let envelope = json::envelope(bytes, &self.limits)?;
        let Some(parts) = envelope.parts else { return Ok(None) };
        let columns = envelope.schema.filter(|schema| *schema != "null");
        Ok(Some((parts, columns.and_then(|schema| self.shared.inline.fingerprint(schema)))))
    }

    fn value(&self, record: &RawRecord<'_>) -> Result<Change, DecodeError> {
        let Some(bytes) = record.value else { return Ok(Change::Tombstone) };
        let (parts, columns) = match self.parts(bytes) {
            Ok(Some(parts)) => parts,
            Ok(None) => return Ok(Change::Tombstone),
            Err(error @ DecodeError::SchemaNotLoaded(_)) => return Err(error),
            Err(error) => return Ok(unreadable(error.class(), error.to_string())),
        };
        if parts.only_time() && self.is_heartbeat(record) {
            return Ok(Change::Watermark(None));
        }
        let mut change = parts.change(columns);
        if let Change::Row(row) = &mut change {
            row.moved = match row.op {
                Op::Delete => self.moved(record.headers, NEW_KEY)?.map(Moved::To),
                Op::Create => self.moved(record.headers, OLD_KEY)?.map(Moved::From),
                Op::Update | Op::Read => None,
            };
        }
        Ok(change)
    }

    /// Nothing but times: the topic's name or the key must say so too, for a flattened row could have such columns.
    fn is_heartbeat(&self, record: &RawRecord<'_>) -> bool {
        if record.topic.starts_with("__debezium-heartbeat") {
            return true;
        }
        let key = self.key(record.key).ok().flatten();
        key.is_some_and(|key| key.columns().any(|(name, _)| name == "serverName"))
    }

    /// The outer `None` is a header that is not there, the inner one a header that can't be read.
    fn moved(&self, headers: &Headers, name: &str) -> Result<Option<Option<Key>>, DecodeError> {
        if headers.is_empty() || !headers.iter().any(|header| header.name == name) {
            return Ok(None);
        }
        let Some(bytes) = headers.last(name) else { return Ok(Some(None)) };
        match self.key(Some(bytes)) {
            Ok(key) => Ok(Some(key)),
            Err(error @ DecodeError::SchemaNotLoaded(_)) => Err(error),
            Err(_) => {
                let escaped = std::str::from_utf8(bytes).ok().and_then(escape_controls);
                Ok(Some(escaped.and_then(|text| self.key(Some(text.as_bytes())).ok().flatten())))
            }
        }
    }
}

impl RecordCodec<Option<Key>, Change> for Envelope {
    fn name(&self) -> String {
        "debezium envelope".into()
    }

    fn bind(&self, binding: &Binding) {
        *write(&self.shared.schemas) = Some(Arc::clone(&binding.schemas));
    }

    fn decode(&self, record: &RawRecord<'_>) -> Result<(Option<Key>, Change), DecodeError> {
        let change = self.value(record)?;
        match (self.key(record.key), change) {
            (Ok(key), change) => Ok((key, change)),
            (Err(error @ DecodeError::SchemaNotLoaded(_)), _) => Err(error),
            // These concern no row, so their keys say nothing.
            (Err(_), change @ (Change::Truncate(_) | Change::Watermark(_))) => Ok((None, change)),
            (Err(error), _) => Err(error),
        }
    }
}

/// Fingerprints of the schemas that travel beside JSON payloads, by a hash of the schema's text.
#[derive(Debug, Default)]
struct InlineSchemas {
    hasher: ahash::RandomState,
    known: RwLock<HashMap<(u64, usize), Option<u64>, ahash::RandomState>>,
}

impl InlineSchemas {
    fn fingerprint(&self, schema: &str) -> Option<u64> {
        let id = (self.hasher.hash_one(schema), schema.len());
        if let Some(known) = read(&self.known).get(&id) {
            return *known;
        }
        let fingerprint = columns::of_connect(schema);
        let mut known = write(&self.known);
        if known.len() >= MAX_INLINE_SCHEMAS {
            known.clear();
        }
        known.insert(id, fingerprint);
        fingerprint
    }
}
