//! Bytes and text as they are.
//!
//! Why: dead letters, pass-through topologies and plain string keys have no schema.

use super::{Codec, DecodeError, EncodeError, shown};

/// See [`raw`].
#[derive(Debug, Clone, Copy)]
pub struct Raw;

/// The bytes themselves; null is refused. For null use [`nullable`](super::nullable).
pub fn raw() -> Raw {
    Raw
}

impl Codec<Vec<u8>> for Raw {
    fn name(&self) -> String {
        "raw".into()
    }

    fn encode(&self, value: &Vec<u8>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(value);
        Ok(())
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Vec<u8>, DecodeError> {
        Ok(bytes.ok_or(DecodeError::Null)?.to_vec())
    }

    fn decode_into(&self, bytes: Option<&[u8]>, value: &mut Vec<u8>) -> Result<(), DecodeError> {
        value.clear();
        value.extend_from_slice(bytes.ok_or(DecodeError::Null)?);
        Ok(())
    }
}

/// See [`text`].
#[derive(Debug, Clone, Copy)]
pub struct Text;

/// UTF-8 text; null is refused. For null use [`nullable`](super::nullable).
pub fn text() -> Text {
    Text
}

impl Codec<String> for Text {
    fn name(&self) -> String {
        "text".into()
    }

    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<String, DecodeError> {
        checked(bytes).map(str::to_owned)
    }

    fn decode_into(&self, bytes: Option<&[u8]>, value: &mut String) -> Result<(), DecodeError> {
        value.clear();
        value.push_str(checked(bytes)?);
        Ok(())
    }

    fn to_json(&self, bytes: &[u8]) -> Result<String, DecodeError> {
        shown::render(&checked(Some(bytes))?)
    }

    fn encode_text(&self, text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn is_text(&self) -> bool {
        true
    }
}

fn checked(bytes: Option<&[u8]>) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(bytes.ok_or(DecodeError::Null)?);
    text.map_err(|error| DecodeError::Malformed(format!("not UTF-8 at byte {}", error.valid_up_to())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::nullable;

    #[test]
    fn raw_and_text_give_back_their_bytes_and_refuse_null() {
        let mut out = Vec::new();
        raw().encode(&vec![1, 0, 255], &mut out).unwrap();
        assert_eq!(raw().decode(Some(&out)).unwrap(), [1, 0, 255]);
        assert!(matches!(raw().decode(None), Err(DecodeError::Null)));
        assert_eq!(text().decode(Some("é".as_bytes())).unwrap(), "é");
        assert!(
            matches!(text().decode(Some(&[b'a', 255])), Err(DecodeError::Malformed(text)) if text == "not UTF-8 at byte 1")
        );
    }

    /// Over what another record has left, an error included.
    #[test]
    fn what_is_decoded_in_place_is_what_is_decoded_anew() {
        fn same<T: Clone + PartialEq + std::fmt::Debug + 'static>(codec: &impl Codec<T>, mut value: T) {
            for bytes in [Some(&b"long enough"[..]), Some(b"a"), None, Some(&[255]), Some(b""), None, Some(b"b")] {
                match (codec.decode(bytes), codec.decode_into(bytes, &mut value)) {
                    (Ok(anew), Ok(())) => assert_eq!(value, anew),
                    (Err(anew), Err(in_place)) => assert_eq!(in_place.to_string(), anew.to_string()),
                    (anew, in_place) => panic!("{anew:?} and {in_place:?} of {bytes:?}"),
                }
            }
        }
        same(&raw(), vec![7; 3]);
        same(&text(), "left over".to_owned());
        same(&nullable(raw()), None);
        same(&nullable(text()), Some("left over".to_owned()));
    }

    #[test]
    fn null_and_empty_are_different_values_of_a_nullable_codec() {
        let codec = nullable(text());
        assert_eq!(codec.decode(None).unwrap(), None);
        assert_eq!(codec.decode(Some(b"")).unwrap(), Some(String::new()));
        assert!(codec.is_null(&None) && !codec.is_null(&Some(String::new())));
        assert!(codec.encode(&None, &mut Vec::new()).is_err());
    }
}
