//! `nullable(codec)`: the same bytes, with Kafka's null as `None`.
//!
//! Why a wrapper: whether a topic holds tombstones is the topic's matter, not the format's.

use super::{Binding, Codec, DecodeError, EncodeError};

/// See [`nullable`].
#[derive(Debug, Clone)]
pub struct Nullable<C>(C);

/// A codec of `Option<T>`: `None` is Kafka's null, `Some` is what the inner codec says.
pub fn nullable<C>(codec: C) -> Nullable<C> {
    Nullable(codec)
}

impl<T, C> Codec<Option<T>> for Nullable<C>
where
    C: Codec<T>,
    T: 'static,
{
    fn name(&self) -> String {
        format!("nullable({})", self.0.name())
    }

    fn writer_schema(&self) -> Option<String> {
        self.0.writer_schema()
    }

    fn bind(&self, binding: &Binding) {
        self.0.bind(binding);
    }

    fn is_null(&self, value: &Option<T>) -> bool {
        value.as_ref().is_none_or(|value| self.0.is_null(value))
    }

    fn encode(&self, value: &Option<T>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.0.encode(value, out),
            None => Err(EncodeError::Malformed("null has no bytes".into())),
        }
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Option<T>, DecodeError> {
        bytes.map(|bytes| self.0.decode(Some(bytes))).transpose()
    }

    fn decode_into(&self, bytes: Option<&[u8]>, value: &mut Option<T>) -> Result<(), DecodeError> {
        if let (Some(_), Some(value)) = (bytes, &mut *value) {
            return self.0.decode_into(bytes, value);
        }
        *value = self.decode(bytes)?;
        Ok(())
    }

    fn to_json(&self, bytes: &[u8]) -> Result<String, DecodeError> {
        self.0.to_json(bytes)
    }

    fn encode_text(&self, text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.0.encode_text(text, out)
    }

    fn is_text(&self) -> bool {
        self.0.is_text()
    }
}
