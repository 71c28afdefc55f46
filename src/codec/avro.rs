//! Avro values of one Rust type in the Confluent framing, written with the type's own schema and read with whatever
//! schema wrote them.
//!
//! Why the schema comes from a file and not from a derive: the `.avsc` is what other languages read and what the registry
//! judges for compatibility; the Rust type follows it. Values go straight between bytes and serde when writer and reader
//! have the same canonical form; only an older or newer writer pays for resolution through generic values.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, RwLock};

use apache_avro::Schema;
use apache_avro::error::Details;
use apache_avro::reader::datum::{GenericDatumReader, SpecificDatumReader};
use apache_avro::schema::NamesRef;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::json::short_type_name;
use super::schemas::{ParsedSchema, read, write};
use super::{Binding, Codec, DecodeError, EncodeError, Limits, framing, shown};

/// A type whose Avro schema is a file of the repository.
///
/// ```
/// # use headrace::codec::AvroSchema;
/// struct RowKey { /* … */ }
/// impl AvroSchema for RowKey {
///     const SCHEMA: &'static str = r#"{"type":"record","name":"RowKey","fields":[]}"#; // include_str!("….avsc")
/// }
/// ```
pub trait AvroSchema {
    /// The text of the `.avsc` file.
    const SCHEMA: &'static str;
}

/// See [`avro`].
pub struct Avro<T: AvroSchema> {
    shared: Arc<Shared<T>>,
    limits: Limits,
}

struct Shared<T: AvroSchema> {
    /// Or why the type's schema is none: a mistake in the program, reported wherever the codec is used.
    own: Result<Own<T>, String>,
    binding: RwLock<Option<Binding>>,
}

struct Own<T: AvroSchema> {
    schema: ParsedSchema,
    /// The schema's text without whitespace.
    text: String,
    reader: SpecificDatumReader<Typed<T>>,
    value: PhantomData<fn() -> T>,
}

/// A codec of `T` as Avro, within [`Limits::DEFAULT`]. Clones share the binding.
pub fn avro<T: AvroSchema>() -> Avro<T> {
    Avro { shared: Arc::new(Shared { own: Own::parse(), binding: RwLock::new(None) }), limits: Limits::DEFAULT }
}

impl<T: AvroSchema> Own<T> {
    fn parse() -> Result<Self, String> {
        let schema = ParsedSchema::parse(T::SCHEMA).map_err(|error| error.to_string())?;
        let text: serde_json::Value = serde_json::from_str(T::SCHEMA).map_err(|error| error.to_string())?;
        let reader = SpecificDatumReader::builder().build().map_err(|error| error.to_string())?;
        Ok(Own { schema, text: text.to_string(), reader, value: PhantomData })
    }
}

impl<T: AvroSchema> Avro<T> {
    /// The same codec, and the same binding, with other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Why the type's schema can't be used, if so; a topology's builder asks before anything runs.
    pub fn schema_error(&self) -> Option<&str> {
        self.shared.own.as_ref().err().map(String::as_str)
    }
}

impl<T: AvroSchema> Clone for Avro<T> {
    fn clone(&self) -> Self {
        Avro { shared: Arc::clone(&self.shared), limits: self.limits }
    }
}

impl<T: AvroSchema> fmt::Debug for Avro<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "avro({})", short_type_name::<T>())
    }
}

impl<T> Codec<T> for Avro<T>
where
    T: AvroSchema + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    fn name(&self) -> String {
        format!("avro({})", short_type_name::<T>())
    }

    fn writer_schema(&self) -> Option<String> {
        self.shared.own.as_ref().ok().map(|own| own.text.clone())
    }

    fn bind(&self, binding: &Binding) {
        *write(&self.shared.binding) = Some(binding.clone());
    }

    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let own = self.shared.own.as_ref().map_err(|error| EncodeError::Malformed(error.clone()))?;
        let writer = read(&self.shared.binding).as_ref().and_then(|binding| binding.writer);
        let id = writer.ok_or_else(|| EncodeError::Unbound(self.name()))?;
        let start = out.len();
        framing::write(id, out);
        write_datum(&own.schema, value, out).map_err(|error| {
            out.truncate(start);
            EncodeError::Malformed(format!("{}: {}", short_type_name::<T>(), describe(&error)))
        })
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T, DecodeError> {
        let bytes = bytes.ok_or(DecodeError::Null)?;
        let own = self.shared.own.as_ref().map_err(|error| DecodeError::Malformed(error.clone()))?;
        self.limits.check_len(bytes)?;
        let (id, datum) = framing::split(bytes)?;
        let writer = match read(&self.shared.binding).as_ref() {
            Some(binding) => binding.schemas.require(id)?,
            None => {
                return Err(DecodeError::Malformed(format!("codec {} is not bound", self.name())));
            }
        };
        // Before the Avro crate sees the datum: it believes lengths, recurses freely and takes an early end for null.
        writer.layout.check(datum, &self.limits)?;
        read_datum(own, &writer, datum)
            .map_err(|error| DecodeError::Malformed(format!("{}: {}", short_type_name::<T>(), describe(&error))))
    }

    fn to_json(&self, bytes: &[u8]) -> Result<String, DecodeError> {
        shown::render(&self.decode(Some(bytes))?)
    }

    fn encode_text(&self, text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encode(&shown::parse::<T>(text)?, out)
    }
}

fn write_datum<T: Serialize>(schema: &ParsedSchema, value: &T, out: &mut Vec<u8>) -> Result<(), apache_avro::Error> {
    if schema.layout.has_references {
        GenericDatumWriter::builder(&schema.avro).build()?.write_ser(out, value)?;
    } else {
        // Without references the table of names is never looked into: no need to build it for each value.
        apache_avro::write_avro_datum_ref(&schema.avro, &NamesRef::new(), value, out)?;
    }
    Ok(())
}

fn read_datum<T>(own: &Own<T>, writer: &ParsedSchema, mut datum: &[u8]) -> Result<T, apache_avro::Error>
where
    T: AvroSchema + DeserializeOwned,
{
    if writer.fingerprint == own.schema.fingerprint {
        return Ok(own.reader.read(&mut datum)?.0);
    }
    let reader = GenericDatumReader::builder(&writer.avro).reader_schema(&own.schema.avro).build()?;
    apache_avro::from_value(&reader.read_value(&mut datum)?)
}

/// What kind of mismatch it is. The crate's own texts quote values.
fn describe(error: &apache_avro::Error) -> String {
    match error.details() {
        Details::GetField(field) => {
            format!("the writer's schema has no field {field}, and the reader's no default")
        }
        Details::SerializeRecordFieldWithSchema { field_name, .. } => {
            format!("field {field_name} does not fit its schema")
        }
        Details::DeserializeSchemaAware { value_type, .. } => {
            format!("a {value_type} that does not fit the Rust type")
        }
        Details::MemoryAllocation { .. } => "larger than the Avro library's allocation limit".into(),
        Details::DeserializeValue(_) => "fits the schema and not the Rust type".into(),
        Details::SerializeValue(_) | Details::SerializeValueWithSchema { .. } => "does not fit its schema".into(),
        _ => "the writer's schema does not resolve to the reader's".into(),
    }
}

/// Lends `T` to the Avro crate's reader, which wants the schema from its own trait.
struct Typed<T>(T);

impl<T: AvroSchema> apache_avro::AvroSchema for Typed<T> {
    fn get_schema() -> Schema {
        // Only reached for a text that has been parsed before.
        Schema::parse_str(T::SCHEMA).unwrap_or(Schema::Null)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Typed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Typed)
    }
}

#[cfg(test)]
#[path = "avro_tests.rs"]
mod tests;
