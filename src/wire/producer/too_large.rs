//! A record that its topic, or any request, has no room for.

use std::fmt;

/// What was refused, so that the owner can find the record when it comes again, and set it aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLarge {
    /// Where it was to go.
    pub topic: String,
    /// Bytes of its key, value and headers; of the largest, where several were refused together.
    pub bytes: usize,
    /// Whether it was refused by itself, so that it is this one that is too large. Else the batch may have been.
    pub alone: bool,
    /// Who refused it, and why.
    pub reason: String,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record too large: {} bytes to topic {}: {}", self.bytes, self.topic, self.reason)
    }
}
