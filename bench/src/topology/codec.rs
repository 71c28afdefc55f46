//! Numbers as Kafka's own `LongSerializer` writes them, so that ours and the peer write the same bytes.

use headrace::codec::{Codec, DecodeError, EncodeError};

/// See [`number`].
#[derive(Debug, Clone, Copy)]
pub struct Number;

/// Eight bytes, big-endian; null is refused.
pub fn number() -> Number {
    Number
}

impl Codec<u64> for Number {
    fn name(&self) -> String {
        "number".into()
    }

    fn encode(&self, value: &u64, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&value.to_be_bytes());
        Ok(())
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<u64, DecodeError> {
        let bytes = bytes.ok_or(DecodeError::Null)?;
        let bytes = bytes.try_into().map_err(|_| DecodeError::Malformed(format!("{} bytes for 8", bytes.len())))?;
        Ok(u64::from_be_bytes(bytes))
    }
}
