//! Values as text for people and programs that speak JSON: what `/state` takes and gives.
//!
//! The types are erased here, since a request names a store by its name; what a value looks like remains its codec's matter.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::json::{describe, short_type_name};
use super::{Codec, DecodeError, EncodeError};

type Render = Arc<dyn Fn(&[u8]) -> Result<String, DecodeError> + Send + Sync>;
type Parse = Arc<dyn Fn(&str, &mut Vec<u8>) -> Result<(), EncodeError> + Send + Sync>;

/// A codec whose type was erased.
#[derive(Clone)]
pub struct Shown {
    /// The codec's name, such as `avro(RowKey)`.
    pub format: String,
    /// Whether a text's bytes are the value's, so that a prefix of the one is a prefix of the other.
    pub is_text: bool,
    render: Render,
    parse: Parse,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format)
    }
}

impl Shown {
    /// What a codec shows.
    pub fn of<T: 'static>(codec: &Arc<dyn Codec<T>>) -> Self {
        let (renders, parses) = (Arc::clone(codec), Arc::clone(codec));
        Shown {
            format: codec.name(),
            is_text: codec.is_text(),
            render: Arc::new(move |bytes| renders.to_json(bytes)),
            parse: Arc::new(move |text, out| parses.encode_text(text, out)),
        }
    }

    /// The value of these bytes as JSON.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn to_json(&self, bytes: &[u8]) -> Result<String, DecodeError> {
        (self.render)(bytes)
    }

    /// The bytes of a value that is given as text; see [`Codec::encode_text`].
    ///
    /// # Errors
    /// The text is none of this type, or the type has no text.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = Vec::new();
        (self.parse)(text, &mut bytes)?;
        Ok(bytes)
    }
}

/// Bytes that have no text of their own.
pub(super) fn base64(bytes: &[u8]) -> String {
    format!("{{\"base64\":\"{}\"}}", STANDARD.encode(bytes))
}

/// A value of any serde type as JSON.
pub(super) fn render<T: Serialize>(value: &T) -> Result<String, DecodeError> {
    let malformed = |_| DecodeError::Malformed(format!("{} can't be written as JSON", short_type_name::<T>()));
    serde_json::to_string(value).map_err(malformed)
}

/// A value of any serde type from JSON.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, EncodeError> {
    serde_json::from_str(text).map_err(|error| EncodeError::Malformed(describe(&error, short_type_name::<T>())))
}

#[cfg(test)]
mod tests {
    use super::super::{json, nullable, raw, text};
    use super::*;

    fn shown<T: 'static>(codec: impl Codec<T>) -> Shown {
        let codec: Arc<dyn Codec<T>> = Arc::new(codec);
        Shown::of(&codec)
    }

    #[test]
    fn a_text_is_itself_and_a_number_is_json() {
        let texts = shown(text());
        assert_eq!(texts.encode_text("a/b \"é").unwrap(), "a/b \"é".as_bytes());
        assert_eq!(texts.to_json("a\"é".as_bytes()).unwrap(), "\"a\\\"é\"");
        let numbers = shown(nullable(json::<u64>()));
        assert_eq!(numbers.encode_text("18446744073709551615").unwrap(), b"18446744073709551615");
        assert_eq!(numbers.to_json(b"17").unwrap(), "17");
        assert!(texts.is_text && !numbers.is_text);
    }

    #[test]
    fn raw_bytes_are_shown_as_base64_and_have_no_text() {
        let bytes = shown(raw());
        assert_eq!(bytes.to_json(&[0, 255]).unwrap(), "{\"base64\":\"AP8=\"}");
        assert!(bytes.encode_text("AP8=").unwrap_err().to_string().contains("key-base64"));
    }

    #[test]
    fn o5_an_error_quotes_no_value() {
        let error = shown(json::<u64>()).encode_text("secret").unwrap_err().to_string();
        assert_eq!(error, "not JSON, line 1 column 1");
        assert!(matches!(shown(text()).to_json(&[255]), Err(DecodeError::Malformed(text)) if !text.contains("255")));
    }
}
