//! Ordered scans: staged writes and committed data merged into one sequence, newest first at equal keys.
//!
//! Items are lent, not owned: a scan over a large store copies nothing.

use std::collections::btree_map;
use std::ops::{Bound, RangeBounds};

use rocksdb::{DB, DBRawIteratorWithThreadMode};

use super::error::StoreError;
use super::journal::Scan;

/// A key's and a value's bytes.
pub type KeyValue<'a> = (&'a [u8], &'a [u8]);

/// A range of keys by their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds<'a> {
    /// Where it starts.
    pub start: Bound<&'a [u8]>,
    /// Where it ends.
    pub end: Bound<&'a [u8]>,
}

impl<'a> Bounds<'a> {
    /// Every key.
    pub const ALL: Bounds<'static> = Bounds { start: Bound::Unbounded, end: Bound::Unbounded };

    /// From `start` (included) to `end` (excluded).
    pub fn between(start: &'a [u8], end: &'a [u8]) -> Self {
        Bounds { start: Bound::Included(start), end: Bound::Excluded(end) }
    }

    /// Whether no key can lie in it; `BTreeMap::range` panics on such.
    pub(super) fn is_empty(&self) -> bool {
        match (self.start, self.end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start >= end
            }
        }
    }
}

impl<'a> RangeBounds<[u8]> for Bounds<'a> {
    fn start_bound(&self) -> Bound<&[u8]> {
        self.start
    }

    fn end_bound(&self) -> Bound<&[u8]> {
        self.end
    }
}

/// The first key after all that start with `prefix`; `None` if there is none (empty, or only 0xff).
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

/// A key's and a value's bytes of one's own.
pub(super) type Entry = (Box<[u8]>, Box<[u8]>);

/// Committed data of one store, in order.
pub(super) enum Base<'a> {
    /// RocksDB's iterator, bounded and positioned already.
    Rocks { iterator: DBRawIteratorWithThreadMode<'a, DB>, failed: Box<dyn Fn(rocksdb::Error) -> StoreError + 'a> },
    /// The map of a store in memory, with the item in front.
    Memory { rest: btree_map::Range<'a, Box<[u8]>, Box<[u8]>>, front: Option<KeyValue<'a>> },
    /// Copies, where nothing can be lent.
    Owned { rest: std::vec::IntoIter<Entry>, front: Option<Entry> },
    /// Nothing lies in the bounds.
    Empty,
}

impl<'a> Base<'a> {
    pub(super) fn memory(mut rest: btree_map::Range<'a, Box<[u8]>, Box<[u8]>>) -> Self {
        let front = rest.next().map(|(key, value)| (&**key, &**value));
        Base::Memory { rest, front }
    }

    pub(super) fn owned(entries: Vec<Entry>) -> Self {
        let mut rest = entries.into_iter();
        let front = rest.next();
        Base::Owned { rest, front }
    }

    fn front(&self) -> Option<KeyValue<'_>> {
        match self {
            Base::Rocks { iterator, .. } => iterator.item(),
            Base::Memory { front, .. } => *front,
            Base::Owned { front, .. } => front.as_ref().map(|(key, value)| (&**key, &**value)),
            Base::Empty => None,
        }
    }

    fn advance(&mut self) {
        match self {
            Base::Rocks { iterator, .. } => iterator.next(),
            Base::Memory { rest, front } => *front = rest.next().map(|(key, value)| (&**key, &**value)),
            Base::Owned { rest, front } => *front = rest.next(),
            Base::Empty => {}
        }
    }

    /// An iterator that ends may have ended by a failure.
    fn check(&self) -> Result<(), StoreError> {
        match self {
            Base::Rocks { iterator, failed } => iterator.status().map_err(failed),
            Base::Memory { .. } | Base::Owned { .. } | Base::Empty => Ok(()),
        }
    }
}

/// One journal's part of a scan, with the item in front.
struct Layer<'a> {
    rest: Scan<'a>,
    front: Option<(&'a [u8], Option<&'a [u8]>)>,
}

/// Which source the item in hand came from.
enum Current<'a> {
    Staged(&'a [u8], &'a [u8]),
    Base,
}

/// An ordered scan. `while let Some((key, value)) = scan.next()? { … }`
pub struct RangeScan<'a> {
    /// Newest first.
    layers: Vec<Layer<'a>>,
    base: Base<'a>,
    /// The base's front was handed out and has to be passed before the next item.
    spent: bool,
}

impl<'a> RangeScan<'a> {
    pub(super) fn new(layers: impl Iterator<Item = Scan<'a>>, base: Base<'a>) -> Self {
        let layers = layers.map(|mut rest| Layer { front: rest.next(), rest }).filter(|layer| layer.front.is_some());
        RangeScan { layers: layers.collect(), base, spent: false }
    }

    /// The next key and value; `None` at the end.
    ///
    /// # Errors
    /// The database could not be read.
    #[expect(clippy::should_implement_trait, reason = "lends its items, which Iterator can't")]
    pub fn next(&mut self) -> Result<Option<KeyValue<'_>>, StoreError> {
        if std::mem::take(&mut self.spent) {
            self.base.advance();
        }
        match self.find_next()? {
            Some(Current::Staged(key, value)) => Ok(Some((key, value))),
            Some(Current::Base) => {
                self.spent = true;
                Ok(self.base.front())
            }
            None => Ok(None),
        }
    }

    fn find_next(&mut self) -> Result<Option<Current<'a>>, StoreError> {
        loop {
            let base = self.base.front().map(|(key, _)| key);
            if base.is_none() {
                self.base.check()?;
            }
            let newest = self.layers.iter().filter_map(|layer| layer.front).min_by_key(|(key, _)| *key);
            let Some((key, value)) = newest.filter(|(key, _)| base.is_none_or(|base| *key <= base)) else {
                return Ok(base.is_some().then_some(Current::Base));
            };
            if base == Some(key) {
                self.base.advance();
            }
            for layer in self.layers.iter_mut().filter(|layer| layer.front.is_some_and(|(front, _)| front == key)) {
                layer.front = layer.rest.next();
            }
            if let Some(value) = value {
                return Ok(Some(Current::Staged(key, value)));
            }
        }
    }
}
