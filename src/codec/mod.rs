//! Codecs: bytes to values and back, one value at a time, without touching the network.
//!
//! A codec is pure. Where the bytes name a schema by its id, the schema is looked up in a cache that the I/O plane fills;
//! an id that is not there yet is [`DecodeError::SchemaNotLoaded`], which the runtime answers by asking the registry and
//! decoding again. So a registry that is away pauses the input and never drops a record.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::fmt::Debug;
use std::sync::Arc;

use crate::record::RawRecord;

mod avro;
pub mod debezium;
mod framing;
mod json;
mod layout;
mod limits;
mod nullable;
mod raw;
pub mod registry;
mod schemas;
mod shown;
mod text;

pub use avro::{Avro, AvroSchema, avro};
pub use json::{Json, json};
pub use limits::Limits;
pub use nullable::{Nullable, nullable};
pub use raw::{Raw, Text, raw, text};
pub use schemas::{Lookup, MAX_KNOWN, MAX_UNKNOWN, ParsedSchema, SchemaError, SchemaId, Schemas};
pub use shown::Shown;

/// Why bytes are not a value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The schema has to be fetched first: not the record's fault; the runtime fetches it and tries again.
    #[error("schema id {0} is not loaded yet")]
    SchemaNotLoaded(SchemaId),
    /// The registry says that there is no such schema.
    #[error("schema id {0} is unknown to the registry")]
    UnknownSchema(SchemaId),
    /// Null where a value must be.
    #[error("null")]
    Null,
    /// Longer, or nested deeper, than the limit.
    #[error("{0}")]
    Limit(String),
    /// Malformed, or not of the expected schema. The text holds schema paths and types, never values.
    #[error("{0}")]
    Malformed(String),
}

impl DecodeError {
    /// A short stable class, by which dead letters are grouped.
    pub fn class(&self) -> &'static str {
        match self {
            DecodeError::SchemaNotLoaded(_) => "schema-not-loaded",
            DecodeError::UnknownSchema(_) => "unknown-schema-id",
            DecodeError::Null => "null",
            DecodeError::Limit(_) => "limit",
            DecodeError::Malformed(_) => "malformed",
        }
    }
}

/// Why a value has no bytes.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The codec was used before [`Codec::bind`].
    #[error("codec {0} is not bound to a schema id")]
    Unbound(String),
    /// The value does not fit its schema.
    #[error("{0}")]
    Malformed(String),
}

/// What a codec is bound to before the first record.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The shared cache of schemas by id.
    pub schemas: Arc<Schemas>,
    /// The id under which [`Codec::writer_schema`] is registered; `None` for a codec that only reads.
    pub writer: Option<SchemaId>,
}

/// Bytes to values of one type and back. `None` is Kafka's null.
pub trait Codec<T>: Debug + Send + Sync + 'static {
    /// Its name as `describe` prints it, such as `avro(RowKey)`.
    fn name(&self) -> String;

    /// The schema (canonical JSON) that must be registered under the topic's subject before this codec can encode.
    fn writer_schema(&self) -> Option<String> {
        None
    }

    /// Called once before the first record; clones of the codec share the binding. A second call replaces the first.
    fn bind(&self, _binding: &Binding) {}

    /// Whether this value is Kafka's null, so that [`encode`](Codec::encode) is not asked.
    fn is_null(&self, _value: &T) -> bool {
        false
    }

    /// Appends the value's bytes to `out`.
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// The value of these bytes.
    fn decode(&self, bytes: Option<&[u8]>) -> Result<T, DecodeError>;

    /// The same in place of another value, whose memory a codec may reuse. After an error `value` is any value of its type.
    fn decode_into(&self, bytes: Option<&[u8]>, value: &mut T) -> Result<(), DecodeError> {
        *value = self.decode(bytes)?;
        Ok(())
    }

    /// The value of these bytes as JSON, for interactive queries. What has no text of its own is `{"base64":"…"}`.
    fn to_json(&self, bytes: &[u8]) -> Result<String, DecodeError> {
        Ok(shown::base64(bytes))
    }

    /// Appends the bytes of a value that is given as text: a text as it is, everything else as JSON.
    fn encode_text(&self, _text: &str, _out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let reason = format!("{} has no text; give its bytes, as key-base64 or key-hex", self.name());
        Err(EncodeError::Malformed(reason))
    }

    /// Whether a text's bytes are the value's.
    fn is_text(&self) -> bool {
        false
    }
}

/// Decodes a whole record: key, value and what else the format spreads over them and the headers.
///
/// A pair of codecs `(key, value)` is one.
pub trait RecordCodec<K, V>: Debug + Send + Sync + 'static {
    /// Its name as `describe` prints it.
    fn name(&self) -> String;

    /// Called once before the first record.
    fn bind(&self, binding: &Binding);

    /// The record's key and value.
    fn decode(&self, record: &RawRecord<'_>) -> Result<(K, V), DecodeError>;

    /// The same in place of those of another record, as [`Codec::decode_into`].
    fn decode_into(&self, record: &RawRecord<'_>, key: &mut K, value: &mut V) -> Result<(), DecodeError> {
        (*key, *value) = self.decode(record)?;
        Ok(())
    }
}

impl<K, V, KC, VC> RecordCodec<K, V> for (KC, VC)
where
    KC: Codec<K>,
    VC: Codec<V>,
    K: 'static,
    V: 'static,
{
    fn name(&self) -> String {
        format!("{}, {}", self.0.name(), self.1.name())
    }

    fn bind(&self, binding: &Binding) {
        self.0.bind(binding);
        self.1.bind(binding);
    }

    fn decode(&self, record: &RawRecord<'_>) -> Result<(K, V), DecodeError> {
        Ok((self.0.decode(record.key)?, self.1.decode(record.value)?))
    }

    fn decode_into(&self, record: &RawRecord<'_>, key: &mut K, value: &mut V) -> Result<(), DecodeError> {
        self.0.decode_into(record.key, key)?;
        self.1.decode_into(record.value, value)
    }
}
