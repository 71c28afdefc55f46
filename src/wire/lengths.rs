//! Lengths that a response states, held against what there is of it.
//!
//! `kafka-protocol` reserves memory for as many elements as an array says it has, before it reads the first: five bytes of a
//! broken broker make it ask for hundreds of gigabytes, which ends the process. An element has at least a byte, so a length
//! beyond what is left of the frame is a lie, and is refused here, as the bytes are read.
//!
//! In flexible versions (KIP-482) whatever is read as single unsigned bytes is a variable-length number: a length, or a small
//! number of a tag. Older ones state lengths as 32-bit numbers, like any other number; those of the handshake have no others.
//! Left are old versions of other responses (Metadata before 9, which only a broker before 2.4 asks for).

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::buf::ByteBuf;

/// Up to here a number may be no length at all, and as a length it does no harm.
const HARMLESS: usize = 1024;
/// A 32-bit number in seven bits a byte.
const LONGEST: usize = 5;

/// A frame that is being decoded.
pub(super) struct Checked<'a> {
    rest: &'a mut Bytes,
    /// Whether all 32-bit numbers are lengths.
    int32: bool,
}

impl<'a> Checked<'a> {
    pub(super) fn new(rest: &'a mut Bytes, key: ApiKey) -> Self {
        Checked { rest, int32: matches!(key, ApiKey::ApiVersions | ApiKey::SaslHandshake) }
    }

    /// Refuses `stated` elements where there can't be so many.
    fn check(&self, stated: usize) -> Result<(), TryGetError> {
        let available = self.rest.len();
        if stated > available.max(HARMLESS) { Err(TryGetError { requested: stated, available }) } else { Ok(()) }
    }

    /// The variable-length number that begins here, or the rest of one that began before.
    fn varint(&self) -> usize {
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(LONGEST).enumerate() {
            value |= usize::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
}

impl Buf for Checked<'_> {
    fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn chunk(&self) -> &[u8] {
        self.rest
    }

    fn advance(&mut self, count: usize) {
        self.rest.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        // A compact length is one more than what it states, and null is 0.
        self.check(self.varint().saturating_sub(1))?;
        self.rest.try_get_u8()
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let number = self.rest.try_get_i32()?;
        if self.int32 {
            self.check(usize::try_from(number).unwrap_or(0))?;
        }
        Ok(number)
    }
}

impl ByteBuf for Checked<'_> {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.rest.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.rest.split_to(size)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{ApiVersionsResponse, MetadataResponse, SaslHandshakeResponse};
    use kafka_protocol::protocol::Decodable;

    use super::*;

    fn decode<M: Decodable>(bytes: &[u8], key: ApiKey, version: i16) -> Result<M, String> {
        let mut bytes = Bytes::copy_from_slice(bytes);
        M::decode(&mut Checked::new(&mut bytes, key), version).map_err(|error| error.to_string())
    }

    // Without the check each of these ends the process, which can't have hundreds of gigabytes.
    #[test]
    fn an_array_that_can_not_be_there_is_refused_before_memory_is_reserved() {
        let compact = [&[0; 4][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0; 64]].concat();
        decode::<MetadataResponse>(&compact, ApiKey::Metadata, 12).unwrap_err();
        let plain = [&[0; 2][..], &i32::MAX.to_be_bytes(), &[0; 64]].concat();
        decode::<SaslHandshakeResponse>(&plain, ApiKey::SaslHandshake, 1).unwrap_err();
        decode::<ApiVersionsResponse>(&plain, ApiKey::ApiVersions, 0).unwrap_err();
    }

    #[test]
    fn what_is_there_is_read_whatever_its_numbers_are() {
        let highest = i32::MAX.to_be_bytes();
        // Throttle time, no brokers, no cluster id, controller; topics.
        let mut flexible = [&highest[..], &[1, 0], &highest, &[0x89, 0x27]].concat();
        for number in 0..5_000_u16 {
            let length = number % 100;
            let name = [&[length as u8 + 1], "t".repeat(length.into()).as_bytes()].concat();
            // Error, name, id, internal, no partitions, operations, no tags.
            flexible.extend([&[0; 2][..], &name, &[0xff; 16], &[1, 1], &[0x80; 4], &[0]].concat());
        }
        flexible.push(0);
        let read: MetadataResponse = decode(&flexible, ApiKey::Metadata, 12).unwrap();
        assert_eq!((read.controller_id.0, read.topics.len()), (i32::MAX, 5_000));
        let plain = [&highest[..], &[0; 4], &[0xff; 2], &highest, &[0; 4]].concat();
        let read: MetadataResponse = decode(&plain, ApiKey::Metadata, 4).unwrap();
        assert_eq!(read.controller_id.0, i32::MAX);
        // The number of a tag that nobody knows is no length, and there may be less after it.
        let tagged = [&[0; 4][..], &[1, 0, 0, 0, 0, 0, 1], &[1, 0x7f, 0]].concat();
        decode::<MetadataResponse>(&tagged, ApiKey::Metadata, 12).unwrap();
    }
}
