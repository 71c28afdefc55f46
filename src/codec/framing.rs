//! The Confluent wire format: a zero byte, the schema's id as four bytes big-endian, then the encoded value.
//!
//! Why apart: the typed Avro codec and the change-event codec read the same five bytes.

use super::{DecodeError, SchemaId};

/// The first byte of a framed key or value.
pub(super) const MAGIC: u8 = 0;

/// Bytes before the encoded value.
pub(super) const HEADER_BYTES: usize = 5;

/// Whether these bytes claim to be framed.
pub(super) fn is_framed(bytes: &[u8]) -> bool {
    bytes.first() == Some(&MAGIC)
}

/// The schema's id and the bytes after it.
pub(super) fn split(bytes: &[u8]) -> Result<(SchemaId, &[u8]), DecodeError> {
    let refuse = |why: String| Err(DecodeError::Malformed(why));
    let Some(magic) = bytes.first() else {
        return refuse("empty, where a schema id should be".into());
    };
    if *magic != MAGIC {
        return refuse(format!("not framed with a schema id: the first byte is {magic}, not {MAGIC}"));
    }
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return refuse(format!("{} bytes are too short for a schema id", bytes.len()));
    };
    let [_, a, b, c, d] = *header;
    Ok((SchemaId(u32::from_be_bytes([a, b, c, d])), body))
}

/// Appends the five bytes.
pub(super) fn write(id: SchemaId, out: &mut Vec<u8>) {
    out.push(MAGIC);
    out.extend_from_slice(&id.0.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_four_bytes_big_endian_after_a_zero() {
        let mut out = vec![9];
        write(SchemaId(0x0102_0304), &mut out);
        assert_eq!(out, [9, 0, 1, 2, 3, 4]);
        let (id, body) = split(&[0, 1, 2, 3, 4, 42]).unwrap();
        assert_eq!((id, body), (SchemaId(0x0102_0304), &[42_u8][..]));
    }

    #[test]
    fn what_is_not_framed_is_refused_with_the_reason() {
        for (bytes, reason) in [(&b""[..], "empty"), (b"{}", "first byte is 123"), (&[0, 1, 2], "too short")] {
            let error = split(bytes).unwrap_err();
            assert!(matches!(&error, DecodeError::Malformed(text) if text.contains(reason)), "{error}");
        }
    }
}
