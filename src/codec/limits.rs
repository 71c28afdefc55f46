//! Limits that every codec applies before it decodes.
//!
//! Why: the bytes come from strangers; a few of them must not cost gigabytes or the stack.

use super::DecodeError;

/// How long and how deeply nested a key or a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest accepted key or value in bytes.
    pub max_bytes: usize,
    /// Deepest accepted nesting of records, arrays, maps and unions (Avro) or objects and arrays (JSON).
    pub max_depth: usize,
}

impl Limits {
    /// 16 MiB, above any sensible `max.message.bytes`, and 64 levels.
    pub const DEFAULT: Limits = Limits { max_bytes: 16 << 20, max_depth: 64 };

    /// Refuses what is longer than [`Limits::max_bytes`].
    pub(super) fn check_len(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        if bytes.len() <= self.max_bytes {
            return Ok(());
        }
        Err(DecodeError::Limit(format!("{} bytes are more than the limit of {}", bytes.len(), self.max_bytes)))
    }

    /// Refuses JSON that is nested deeper than [`Limits::max_depth`]; strings are skipped.
    pub(super) fn check_json_depth(&self, text: &[u8]) -> Result<(), DecodeError> {
        let opening = text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
        if opening <= self.max_depth || json_depth(text) <= self.max_depth {
            return Ok(());
        }
        Err(DecodeError::Limit(format!("nested deeper than the limit of {} levels", self.max_depth)))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}

fn json_depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        if in_string {
            in_string = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_nesting_and_not_brackets_in_strings() {
        assert_eq!(json_depth(br#"{"a":[[1]],"b":"[[[[\"[["}"#), 3);
        assert_eq!(json_depth(b"1"), 0);
        let limits = Limits { max_bytes: 10, max_depth: 2 };
        assert!(limits.check_json_depth(b"[[1],[2],[3]]").is_ok());
        assert!(matches!(limits.check_json_depth(b"[[[1]]]"), Err(DecodeError::Limit(_))));
        assert!(matches!(limits.check_len(&[0; 11]), Err(DecodeError::Limit(_))));
    }
}
