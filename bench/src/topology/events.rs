//! The records that are counted: always the same ones, of 100 bytes, with keys at random.

use std::fmt::Write as _;

/// Bytes of a record: its key and its value.
pub const RECORD_BYTES: usize = 100;
/// `key-` and eight digits.
const KEY_BYTES: usize = 12;
const VALUE_BYTES: usize = RECORD_BYTES - KEY_BYTES;
const SEED: u64 = 7;

/// Makes one record after the other.
#[derive(Debug)]
pub struct Events {
    random: fastrand::Rng,
    keys: u32,
    made: u64,
    key: String,
    value: String,
}

impl Events {
    /// From the first one, with so many different keys.
    pub fn new(keys: u32) -> Self {
        let (key, value) = (String::with_capacity(KEY_BYTES), String::with_capacity(VALUE_BYTES));
        Events { random: fastrand::Rng::with_seed(SEED), keys, made: 0, key, value }
    }

    /// The number of the next record's key; then [`key`](Self::key) and [`value`](Self::value) are that record's.
    pub fn advance(&mut self) -> u32 {
        let number = self.random.u32(..self.keys);
        self.key.clear();
        self.value.clear();
        // Writing to a String cannot fail. The value is such that compression has about as much to do as with real JSON.
        _ = write!(self.key, "key-{number:08}");
        _ = write!(
            self.value,
            r#"{{"sequence":{:010},"amount":{:06}.90,"status":"paid","note":"{:016x}"}}"#,
            self.made,
            self.made % 999_983,
            self.random.u64(..)
        );
        while self.value.len() < VALUE_BYTES {
            self.value.push(' ');
        }
        debug_assert_eq!(self.key.len() + self.value.len(), RECORD_BYTES);
        self.made += 1;
        number
    }

    /// The record's key.
    pub fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    /// The record's value.
    pub fn value(&self) -> &[u8] {
        self.value.as_bytes()
    }
}

/// The number in a key; `None` if it is not one of ours.
pub fn key_number(key: &[u8]) -> Option<usize> {
    std::str::from_utf8(key).ok()?.strip_prefix("key-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_100_bytes_and_are_the_same_each_time() {
        let (mut one, mut other) = (Events::new(1000), Events::new(1000));
        for _ in 0..10_000 {
            let number = one.advance();
            assert_eq!(number, other.advance());
            assert_eq!(key_number(one.key()), Some(number as usize));
            assert_eq!((one.key(), one.value()), (other.key(), other.value()));
            assert_eq!(one.key().len() + one.value().len(), RECORD_BYTES);
        }
    }
}
