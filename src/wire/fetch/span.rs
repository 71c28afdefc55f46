//! Where the parts of one record are within a batch's plain bytes.
//!
//! ```text
//!  ├──────┼────────┼────────┼────────┼──────┼──────┼───────┼────────┼─────────┄
//!  │length│  attri │  time  │ offset │ key  │ value│ count │ name,  │  name, …
//!  │      │  butes │  delta │  delta │      │      │       │ value  │
//!  └──────┴────────┴────────┴────────┴──────┴──────┴───────┴────────┴─────────┄
//!     all numbers but the attributes are zigzag varints; keys, values and names have their length before them
//! ```
//!
//! Each length is held against what is there before anything is done with it, so that whatever a broker sends is either a
//! record or refused.

use bytes::Bytes;

use crate::record::{Header, Headers};

/// The shortest record: seven fields of a byte each.
pub(in crate::wire) const SHORTEST: usize = 7;
/// The shortest header: two lengths.
const SHORTEST_HEADER: usize = 2;

/// A part of the plain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) struct Part {
    start: usize,
    /// None is null.
    end: Option<usize>,
}

impl Part {
    #[inline]
    pub(in crate::wire) fn of(self, plain: &[u8]) -> Option<&[u8]> {
        self.end.map(|end| plain.get(self.start..end).unwrap_or_default())
    }

    /// The same bytes, as a part of the plain bytes' memory.
    #[inline]
    pub(in crate::wire) fn shared(self, plain: &Bytes) -> Option<Bytes> {
        self.of(plain).map(|part| plain.slice_ref(part))
    }
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) struct Span {
    pub(in crate::wire) time_delta: i64,
    pub(in crate::wire) offset_delta: i64,
    pub(in crate::wire) key: Part,
    pub(in crate::wire) value: Part,
    pub(in crate::wire) header_count: usize,
    headers: usize,
    /// Where the next one starts.
    pub(in crate::wire) end: usize,
}

impl Span {
    /// The record at `at`; none if it is not whole.
    #[inline]
    pub(in crate::wire) fn at(plain: &[u8], at: usize) -> Option<Span> {
        let mut bytes = Unread { all: plain, at };
        let length = usize::try_from(bytes.varlong()?).ok()?;
        let end = bytes.at.checked_add(length).filter(|end| *end <= plain.len())?;
        let mut bytes = Unread { all: &plain[..end], at: bytes.at.checked_add(1)? };
        let time_delta = bytes.varlong()?;
        let offset_delta = bytes.varlong()?;
        let (key, value) = (bytes.part()?, bytes.part()?);
        let header_count = usize::try_from(bytes.varlong()?).ok()?;
        if header_count > (end - bytes.at) / SHORTEST_HEADER {
            return None;
        }
        Some(Span { time_delta, offset_delta, key, value, header_count, headers: bytes.at, end })
    }

    /// Puts its headers in place of those that were there, whose memory is used again; none if they are not whole.
    #[cold]
    pub(in crate::wire) fn headers(&self, plain: &[u8], headers: &mut Headers) -> Option<()> {
        let mut bytes = Unread { all: plain.get(..self.end)?, at: self.headers };
        headers.0.truncate(self.header_count);
        for number in 0..self.header_count {
            let name = bytes.part()?.of(plain)?;
            let value = bytes.part()?.of(plain);
            if headers.0.len() <= number {
                headers.0.push(Header { name: String::new(), value: None });
            }
            let header = headers.0.get_mut(number)?;
            header.name.clear();
            header.name.push_str(&String::from_utf8_lossy(name));
            match (value, &mut header.value) {
                (None, old) => *old = None,
                (Some(value), Some(old)) => {
                    old.clear();
                    old.extend_from_slice(value);
                }
                (Some(value), old) => *old = Some(value.to_vec()),
            }
        }
        Some(())
    }
}

/// What is left of some bytes.
struct Unread<'a> {
    all: &'a [u8],
    at: usize,
}

impl Unread<'_> {
    #[inline]
    fn part(&mut self) -> Option<Part> {
        let length = self.varlong()?;
        let start = self.at;
        if length < 0 {
            return (length == -1).then_some(Part { start, end: None });
        }
        let end = start.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= self.all.len())?;
        self.at = end;
        Some(Part { start, end: Some(end) })
    }

    /// A zigzag varint; most are of one byte.
    #[inline]
    fn varlong(&mut self) -> Option<i64> {
        let first = *self.all.get(self.at)?;
        self.at += 1;
        if first & 0x80 == 0 {
            return Some(unzigzag(u64::from(first)));
        }
        self.longer(first)
    }

    #[inline]
    fn longer(&mut self, first: u8) -> Option<i64> {
        let mut zigzag = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = *self.all.get(self.at)?;
            self.at += 1;
            zigzag |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(unzigzag(zigzag));
            }
        }
        None
    }
}

#[inline]
fn unzigzag(zigzag: u64) -> i64 {
    (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed())
}
