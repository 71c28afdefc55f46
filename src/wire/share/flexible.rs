//! The flexible encoding (KIP-482), read and written by hand: what the share messages need of it and no more.
//!
//! ```text
//!  number   1, 2, 4 or 8 bytes, big-endian          uuid    16 bytes
//!  string   length + 1 as a varint, bytes           null    a length of 0
//!  array    count + 1 as a varint, elements         bytes   as a string
//!  tags     count as a varint, each: tag, size, bytes       at the end of every structure
//! ```
//!
//! A broker that is newer may put tagged fields behind any structure; they are skipped. Everything else is held against
//! what is left of the frame before memory is taken for it or it is passed over: five bytes can say that gigabytes
//! follow.

use std::fmt::Display;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;

use crate::wire::channel::unreadable;
use crate::wire::{Address, TopicId, WireError};

/// A varint has 32 bits, seven in a byte.
const LONGEST: u32 = 5;
/// The shortest tagged field: its tag, and its size of 0.
const SHORTEST_TAG: usize = 2;

/// What was read, or what is wrong and where.
pub(super) type Read<T> = Result<T, String>;

/// Reads an answer's body to its end.
///
/// # Errors
/// [`WireError::Protocol`] if `read` refuses it, or if anything is left when `read` and the message's tags are through.
pub(super) fn decode<T>(
    address: &Address,
    key: ApiKey,
    body: Bytes,
    read: impl FnOnce(&mut Reader) -> Read<T>,
) -> Result<T, WireError> {
    let mut reader = Reader { size: body.len(), rest: body };
    let whole = read(&mut reader).and_then(|message| {
        reader.tags()?;
        match reader.rest.len() {
            0 => Ok(message),
            left => Err(reader.broken(format_args!("{left} bytes too many"))),
        }
    });
    whole.map_err(|reason| unreadable(&address.to_string(), key, &reason))
}

/// What is left of a body.
pub(super) struct Reader {
    rest: Bytes,
    /// Of the whole body, to say where something is.
    size: usize,
}

impl Reader {
    pub(super) fn i16(&mut self) -> Read<i16> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Read<i32> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Read<i64> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(super) fn topic_id(&mut self) -> Read<TopicId> {
        self.fixed().map(TopicId)
    }

    /// A number of milliseconds; a negative one is none.
    pub(super) fn millis(&mut self) -> Read<Duration> {
        self.i32().map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }

    /// A string, whose bytes that are not UTF-8 are replaced: it is only ever shown, or looked up as a name.
    pub(super) fn string(&mut self) -> Read<Option<String>> {
        let Some(length) = self.length()? else { return Ok(None) };
        let text = String::from_utf8_lossy(self.rest.get(..length).unwrap_or_default()).into_owned();
        self.rest.advance(length);
        Ok(Some(text))
    }

    pub(super) fn skip_string(&mut self) -> Read<()> {
        let length = self.length()?.unwrap_or(0);
        self.rest.advance(length);
        Ok(())
    }

    /// Bytes that share the body's memory; null is none of them.
    pub(super) fn bytes(&mut self) -> Read<Bytes> {
        let length = self.length()?.unwrap_or(0);
        Ok(self.rest.split_to(length))
    }

    /// An array whose elements take `smallest` bytes at least, so that no more memory is taken than the frame vouches
    /// for.
    pub(super) fn array<T>(&mut self, smallest: usize, one: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.count(smallest)?;
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(one(self)?);
        }
        Ok(all)
    }

    /// The elements of an array one by one.
    pub(super) fn each(&mut self, smallest: usize, mut one: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        let count = self.count(smallest)?;
        (0..count).try_for_each(|_| one(self))
    }

    /// Passes over the tagged fields at the end of a structure.
    pub(super) fn tags(&mut self) -> Read<()> {
        let count = self.varint()?;
        self.check(count, SHORTEST_TAG, "tagged fields")?;
        for _ in 0..count {
            self.varint()?;
            let size = self.varint()?;
            self.check(size, 1, "bytes of a tagged field")?;
            self.rest.advance(size);
        }
        Ok(())
    }

    fn count(&mut self, smallest: usize) -> Read<usize> {
        let stated = self.varint()?;
        let count = stated.checked_sub(1).ok_or_else(|| self.broken("null for an array"))?;
        self.check(count, smallest, "elements")?;
        Ok(count)
    }

    /// The length of a string or of bytes, all of which are there.
    fn length(&mut self) -> Read<Option<usize>> {
        let Some(length) = self.varint()?.checked_sub(1) else { return Ok(None) };
        self.check(length, 1, "bytes")?;
        Ok(Some(length))
    }

    /// Refuses `stated` things of `smallest` bytes each where there can't be so many.
    fn check(&self, stated: usize, smallest: usize, what: &str) -> Read<()> {
        let left = self.rest.len();
        if stated > left / smallest {
            return Err(self.broken(format_args!("{stated} {what} where {left} bytes are left")));
        }
        Ok(())
    }

    fn fixed<const N: usize>(&mut self) -> Read<[u8; N]> {
        let bytes = *self.rest.first_chunk().ok_or_else(|| self.broken("it ends"))?;
        self.rest.advance(N);
        Ok(bytes)
    }

    fn varint(&mut self) -> Read<usize> {
        let mut number = 0_u32;
        for place in 0..LONGEST {
            let [byte] = self.fixed()?;
            let bits = u32::from(byte & 0x7f);
            let shifted = bits << (7 * place);
            if shifted >> (7 * place) != bits {
                break;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return Ok(number as usize);
            }
        }
        Err(self.broken("a number of more than 32 bits"))
    }

    fn broken(&self, what: impl Display) -> String {
        format!("{what} at byte {} of {}", self.size - self.rest.len(), self.size)
    }
}

/// A body being written.
#[derive(Default)]
pub(super) struct Writer {
    body: BytesMut,
}

impl Writer {
    pub(super) fn i8(&mut self, number: i8) {
        self.body.put_i8(number);
    }

    pub(super) fn bool(&mut self, flag: bool) {
        self.body.put_u8(u8::from(flag));
    }

    pub(super) fn i32(&mut self, number: i32) {
        self.body.put_i32(number);
    }

    pub(super) fn i64(&mut self, number: i64) {
        self.body.put_i64(number);
    }

    pub(super) fn topic_id(&mut self, topic: TopicId) {
        self.body.put_slice(&topic.0);
    }

    /// Whole milliseconds, as many as there is room for.
    pub(super) fn millis(&mut self, span: Duration) {
        self.i32(i32::try_from(span.as_millis()).unwrap_or(i32::MAX));
    }

    pub(super) fn string(&mut self, text: &str) {
        self.varint(text.len() + 1);
        self.body.put_slice(text.as_bytes());
    }

    /// Null in place of a string or an array.
    pub(super) fn null(&mut self) {
        self.varint(0);
    }

    /// Begins an array.
    pub(super) fn count(&mut self, elements: usize) {
        self.varint(elements + 1);
    }

    /// Ends a structure: none of ours has tagged fields.
    pub(super) fn tags(&mut self) {
        self.varint(0);
    }

    pub(super) fn finish(self) -> Bytes {
        self.body.freeze()
    }

    /// A request is refused as too large long before a number needs more than 32 bits.
    fn varint(&mut self, mut number: usize) {
        while number > 0x7f {
            self.body.put_u8((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.body.put_u8(number as u8);
    }
}

#[cfg(test)]
#[path = "flexible_tests.rs"]
mod tests;
