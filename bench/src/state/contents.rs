//! What the changelogs hold, as a rule: which versions a key has in them, and what is left of it.

use std::fmt::Write as _;

use count_topology::stored::encode;

/// Bytes of an event's value; with its count before it, a store's value has 200.
const VALUE_BYTES: usize = 192;

/// The state that is restored: so many keys, most of them written once, some again, some deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents {
    pub(crate) keys: u32,
}

impl Contents {
    /// The name of a key.
    pub(crate) fn key(number: u32, out: &mut String) {
        out.clear();
        // Writing to a String cannot fail.
        _ = write!(out, "key-{number:08}");
    }

    /// The value of a key's nth event; about as compressible as JSON.
    pub(crate) fn value(number: u32, count: u64, out: &mut String) {
        out.clear();
        let mut random = fastrand::Rng::with_seed(u64::from(number) << 20 | count);
        _ = write!(out, r#"{{"key":{number:08},"count":{count:08},"status":"paid","note":""#);
        while out.len() < VALUE_BYTES {
            _ = write!(out, "{:016x} ", random.u64(..));
        }
        out.truncate(VALUE_BYTES);
    }

    /// How often a key was written, and whether it was deleted then.
    fn history(number: u32) -> (u64, bool) {
        match number % 100 {
            7 => (1, true),
            last if last % 10 == 3 => (2, false),
            _ => (1, false),
        }
    }

    /// How often a key has come, as the state says that is restored.
    pub(crate) fn count(number: u32) -> u64 {
        let (count, deleted) = Self::history(number);
        if deleted { 0 } else { count }
    }

    /// Records of each changelog, all partitions together.
    pub(crate) fn records(self) -> u64 {
        (0..self.keys).map(Self::history).map(|(count, deleted)| count + u64::from(deleted)).sum()
    }

    /// All records in their order: first each key's first version, then second ones and deletes.
    pub(crate) fn visit<E>(self, mut visit: impl FnMut(&str, Option<&[u8]>) -> Result<(), E>) -> Result<(), E> {
        let (mut key, mut value, mut bytes) = (String::new(), String::new(), Vec::new());
        for version in 1..=2 {
            for number in 0..self.keys {
                let (count, deleted) = Self::history(number);
                Self::key(number, &mut key);
                if version <= count {
                    Self::value(number, version, &mut value);
                    encode(version, value.as_bytes(), &mut bytes);
                    visit(&key, Some(&bytes))?;
                } else if deleted {
                    visit(&key, None)?;
                }
            }
        }
        Ok(())
    }

    /// What a store holds of a key that has come `count` times; nothing if it never has.
    pub(crate) fn stored(number: u32, count: u64, out: &mut Vec<u8>) -> bool {
        let mut value = String::new();
        Self::value(number, count, &mut value);
        encode(count, value.as_bytes(), out);
        count > 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_left_of_each_key_is_the_fold_of_its_records() {
        let contents = Contents { keys: 1_000 };
        let (mut fold, mut records) = (BTreeMap::new(), 0);
        let visited = contents.visit(|key, value| {
            records += 1;
            match value {
                Some(value) => _ = fold.insert(key.to_owned(), value.to_vec()),
                None => _ = fold.remove(key),
            }
            Ok::<(), std::convert::Infallible>(())
        });
        assert!(visited.is_ok());
        assert_eq!(records, contents.records());
        let (mut key, mut expected) = (String::new(), Vec::new());
        for number in 0..contents.keys {
            Contents::key(number, &mut key);
            let there = Contents::stored(number, Contents::count(number), &mut expected);
            assert_eq!(fold.get(&key), there.then_some(&expected), "{key}");
        }
        assert_eq!(fold.len(), 990);
    }
}
