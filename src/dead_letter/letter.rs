//! A record as it is written to the dead-letter topic: whole where it fits, else what says where it stands and why.

use crate::error::RecordError;
use crate::record::{Headers, RawRecord};

use super::headers::{Provenance, append_provenance, names};

/// What a record costs in a batch beyond key, value and headers, in bytes, with room to spare.
pub const RECORD_OVERHEAD: usize = 256;
/// The longest key that is kept where the value is not, in bytes.
const KEY_LIMIT: usize = 1024;

/// A record that is set aside.
#[derive(Debug)]
pub struct DeadLetter<'a> {
    /// The original's key, unless there is no room for a long one.
    pub key: Option<&'a [u8]>,
    /// The original's value, if there is room for it.
    pub value: Option<&'a [u8]>,
    /// The original's headers, if there is room for them, and where it came from and why.
    pub headers: Headers,
}

impl<'a> DeadLetter<'a> {
    /// The dead letter of a record, of `limit` bytes at most; nothing if not even its provenance fits.
    pub fn new(raw: &RawRecord<'a>, error: &RecordError, provenance: &Provenance<'_>, limit: usize) -> Option<Self> {
        let mut headers = append_provenance(raw, error, provenance);
        let fits = raw.size() + headers.bytes() + RECORD_OVERHEAD <= limit;
        if !fits {
            headers.push(names::CLAIM, raw.size().to_string());
        }
        let (key, value) =
            if fits { (raw.key, raw.value) } else { (raw.key.filter(|key| key.len() < KEY_LIMIT), None) };
        let key_bytes = key.map_or(0, <[u8]>::len);
        if headers.bytes() + key_bytes + RECORD_OVERHEAD > limit {
            // The headers alone are too large: like the payload, they stand at the origin. Only ours remain.
            headers.0.drain(..raw.headers.0.len());
        }
        (headers.bytes() + key_bytes <= limit).then_some(DeadLetter { key, value, headers })
    }
}
