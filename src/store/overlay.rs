//! The staged writes of one transaction: a journal in order, with the latest write of each key found by hash.
//!
//! Nothing of a transaction may touch the base before Kafka has committed it (rule R-17), yet its own reads must see it.
//! The journal is what undo, changelog and commit read in order; keys and values lie in one buffer, so that a write
//! costs no allocation.
//!
//! ```text
//!  latest:  hash(store, key) ─▶ 4        entries: 0 a=1 │ 1 b=2 │ 2 a=3 │ ── record in hand ── 3 b=∅ │ 4 a=5
//!                                                  ▲──────────────┘ earlier                  ▲ mark
//! ```

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::num::NonZeroU32;
use std::ops::Range;

use ahash::RandomState;

use super::spec::StoreIndex;

/// An emptied overlay keeps its memory for the next transaction up to this size.
const KEPT_BYTES: usize = 4 << 20;
/// What a journal entry weighs beside its bytes, index included.
const ENTRY_BYTES: usize = size_of::<Entry>() + 24;

/// The hash is already one; see [`Overlay::hash`].
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Small, because most of a write's cost is the memory that it touches.
#[derive(Debug)]
struct Entry {
    hash: u64,
    key_at: usize,
    value_at: usize,
    key_bytes: u32,
    /// [`DELETES`], or the value's length.
    value_bytes: u32,
    /// The entry that `latest` had for this hash before: an earlier write of the key, or of another key with its hash.
    earlier: Option<NonZeroU32>,
    store: u32,
    /// A later write of the same key makes this one worthless for changelog and commit.
    superseded: bool,
}

/// A value length that says that the key is deleted.
const DELETES: u32 = u32::MAX;

impl Entry {
    fn key(&self) -> Range<usize> {
        self.key_at..self.key_at + self.key_bytes as usize
    }

    /// `None` deletes.
    fn value(&self) -> Option<Range<usize>> {
        (self.value_bytes != DELETES).then(|| self.value_at..self.value_at + self.value_bytes as usize)
    }

    fn store(&self) -> StoreIndex {
        StoreIndex(self.store as usize)
    }

    /// The number of the earlier entry; kept one higher, so that none takes no room.
    fn earlier(&self) -> Option<usize> {
        self.earlier.map(|number| number.get() as usize - 1)
    }
}

/// Lengths and numbers in a journal of one transaction, which is sealed long before it has so many.
fn small(number: usize) -> u32 {
    assert!(number < DELETES as usize, "{number} in one transaction's staged writes");
    number as u32
}

/// A staged write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagedWrite<'a> {
    /// The store.
    pub store: StoreIndex,
    /// The key's bytes.
    pub key: &'a [u8],
    /// The value's bytes; `None` deletes.
    pub value: Option<&'a [u8]>,
}

/// The order of writes: store, bytes of the key that decide mostly, and the entry's number.
pub(super) type Order = Vec<(u32, u64, u32)>;

/// How many bytes two keys have in common at their beginning.
fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// The first eight bytes as a number of the same order; what is shorter comes first, or is equal.
fn number(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = bytes.len().min(8);
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(first)
}

/// Keys of one store in order, with the latest entry of each.
type Ordered = BTreeMap<Box<[u8]>, usize>;

/// The staged writes of one transaction.
#[derive(Debug)]
pub(super) struct Overlay {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    latest: HashMap<u64, usize, BuildHasherDefault<Identity>>,
    /// By store; only for stores that were scanned, because most never are and the order costs more than the write.
    ordered: Vec<Option<Ordered>>,
    /// Entries and bytes when the record in hand began.
    mark: Option<(usize, usize)>,
    /// Entries before this one have been handed to the changelog.
    published: usize,
}

impl Overlay {
    pub(super) fn new(stores: usize) -> Self {
        Overlay {
            bytes: Vec::new(),
            entries: Vec::new(),
            latest: HashMap::default(),
            ordered: (0..stores).map(|_| None).collect(),
            mark: None,
            published: 0,
        }
    }

    /// The hash by which both overlays and the read cache know a key.
    pub(super) fn hash(hasher: &RandomState, store: StoreIndex, key: &[u8]) -> u64 {
        let mut state = hasher.build_hasher();
        state.write_usize(store.0);
        state.write(key);
        state.finish()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn staged_bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * ENTRY_BYTES
    }

    fn find(&self, hash: u64, store: StoreIndex, key: &[u8]) -> Option<usize> {
        let mut at = self.latest.get(&hash).copied();
        while let Some(index) = at {
            let entry = &self.entries[index];
            if entry.store() == store && &self.bytes[entry.key()] == key {
                return Some(index);
            }
            at = entry.earlier();
        }
        None
    }

    /// `None`: this overlay does not know the key. `Some(None)`: it deletes it.
    pub(super) fn read(&self, hash: u64, store: StoreIndex, key: &[u8]) -> Option<Option<&[u8]>> {
        self.find(hash, store, key).map(|index| self.value(index))
    }

    fn value(&self, index: usize) -> Option<&[u8]> {
        self.entries[index].value().map(|range| &self.bytes[range])
    }

    fn append(&mut self, bytes: &[u8]) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start
    }

    pub(super) fn write(&mut self, hash: u64, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let index = self.entries.len();
        // The key's bytes are shared with its earlier write; a rollback never cuts them off, as they lie before its own.
        let known = self.find(hash, store, key);
        let key_at = match known {
            Some(earlier) => {
                self.entries[earlier].superseded = true;
                self.entries[earlier].key_at
            }
            None => self.append(key),
        };
        let value_at = self.append(value.unwrap_or_default());
        let earlier = self.latest.insert(hash, index);
        self.entries.push(Entry {
            hash,
            key_at,
            value_at,
            key_bytes: small(key.len()),
            value_bytes: value.map_or(DELETES, |value| small(value.len())),
            earlier: earlier.and_then(|index| NonZeroU32::new(small(index) + 1)),
            store: small(store.0),
            superseded: false,
        });
        if let Some(ordered) = &mut self.ordered[store.0] {
            match ordered.get_mut(key) {
                Some(latest) => *latest = index,
                None => _ = ordered.insert(key.into(), index),
            }
        }
    }

    pub(super) fn begin_record(&mut self) {
        assert!(self.mark.is_none(), "a record begins before the last one ended");
        self.mark = Some((self.entries.len(), self.bytes.len()));
    }

    pub(super) fn commit_record(&mut self) {
        assert!(self.mark.take().is_some(), "no record to end");
    }

    /// Bytes of the largest write, key and value together, since the record in hand began.
    pub(super) fn largest_record_write(&self, counts: impl Fn(StoreIndex) -> bool) -> usize {
        let start = self.mark.map_or(self.entries.len(), |(entries, _)| entries);
        let own = self.entries[start..].iter().filter(|entry| counts(entry.store()));
        own.map(|entry| entry.key().len() + entry.value().map_or(0, |value| value.len())).max().unwrap_or(0)
    }

    pub(super) fn in_record(&self) -> bool {
        self.mark.is_some()
    }

    /// Takes back every write since [`begin_record`](Self::begin_record).
    pub(super) fn rollback_record(&mut self) {
        let (entries, bytes) = self.mark.take().unwrap_or((self.entries.len(), self.bytes.len()));
        while self.entries.len() > entries {
            self.undo_last();
        }
        self.bytes.truncate(bytes);
    }

    fn undo_last(&mut self) {
        let Some(entry) = self.entries.pop() else { return };
        match entry.earlier() {
            Some(earlier) => _ = self.latest.insert(entry.hash, earlier),
            None => _ = self.latest.remove(&entry.hash),
        }
        let known = self.find(entry.hash, entry.store(), &self.bytes[entry.key()]);
        if let Some(earlier) = known {
            self.entries[earlier].superseded = false;
        }
        if let Some(ordered) = &mut self.ordered[entry.store().0] {
            let key = &self.bytes[entry.key()];
            match (known, ordered.get_mut(key)) {
                (Some(earlier), Some(latest)) => *latest = earlier,
                _ => _ = ordered.remove(key),
            }
        }
    }

    /// The last write of each key, in the order of those writes.
    pub(super) fn writes(&self) -> impl Iterator<Item = StagedWrite<'_>> {
        (0..self.entries.len()).filter_map(|index| self.last_write(index))
    }

    /// The last write of each key, by store and key: RocksDB takes neighbours much faster than keys at random. `order` is
    /// a buffer.
    pub(super) fn sorted_writes<'a>(&'a self, order: &'a mut Order) -> impl Iterator<Item = StagedWrite<'a>> {
        let last = self.entries.iter().enumerate().filter(|(_, entry)| !entry.superseded);
        let key = |entry: &Entry| &self.bytes[entry.key()];
        // Keys of a store often begin alike. What follows decides almost always within eight bytes, without a look at the
        // key, which is most of a sort's time.
        let same = self.entries.first().map_or(0, |first| {
            let first = key(first);
            self.entries.iter().map(|entry| common(first, key(entry))).min().unwrap_or(0)
        });
        order.clear();
        order.extend(last.map(|(index, entry)| (entry.store, number(&key(entry)[same..]), small(index))));
        order.sort_unstable_by(|one, other| {
            let rest = || key(&self.entries[one.2 as usize]).cmp(key(&self.entries[other.2 as usize]));
            (one.0, one.1).cmp(&(other.0, other.1)).then_with(rest)
        });
        order.iter().filter_map(|(_, _, index)| self.last_write(*index as usize))
    }

    fn last_write(&self, index: usize) -> Option<StagedWrite<'_>> {
        let entry = &self.entries[index];
        (!entry.superseded).then(|| StagedWrite {
            store: entry.store(),
            key: &self.bytes[entry.key()],
            value: self.value(index),
        })
    }

    /// Hands over the writes since the last call: of each key the last one only. A write whose visit fails, and those
    /// after it, are handed over again.
    pub(super) fn publish<E>(&mut self, mut visit: impl FnMut(StagedWrite<'_>) -> Result<(), E>) -> Result<(), E> {
        assert!(self.mark.is_none(), "the record in hand may be taken back; its writes can't be published yet");
        while self.published < self.entries.len() {
            if let Some(write) = self.last_write(self.published) {
                visit(write)?;
            }
            self.published += 1;
        }
        Ok(())
    }

    /// Whether a write that `wanted` is not handed over yet.
    pub(super) fn has_unpublished(&self, wanted: impl Fn(StoreIndex) -> bool) -> bool {
        self.entries[self.published..].iter().any(|entry| !entry.superseded && wanted(entry.store()))
    }

    /// Keeps the store's keys in order from now on.
    pub(super) fn order(&mut self, store: StoreIndex) {
        if self.ordered[store.0].is_some() {
            return;
        }
        let mut ordered = Ordered::new();
        for (index, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.store() == store) {
            ordered.insert(self.bytes[entry.key()].into(), index);
        }
        self.ordered[store.0] = Some(ordered);
    }

    /// The store's keys in order; empty unless [`order`](Self::order)ed.
    pub(super) fn scan(&self, store: StoreIndex, bounds: super::range::Bounds<'_>) -> Scan<'_> {
        let keys = match &self.ordered[store.0] {
            Some(ordered) if !bounds.is_empty() => Some(ordered.range::<[u8], _>(bounds)),
            _ => None,
        };
        Scan { overlay: self, keys }
    }

    /// Forgets everything, keeping memory within bounds.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.entries.clear();
        self.entries.shrink_to(KEPT_BYTES / size_of::<Entry>());
        self.latest.clear();
        self.latest.shrink_to(KEPT_BYTES / ENTRY_BYTES);
        self.ordered.iter_mut().flatten().for_each(BTreeMap::clear);
        self.mark = None;
        self.published = 0;
    }
}

/// The overlay's keys of one store in order.
pub(super) struct Scan<'a> {
    overlay: &'a Overlay,
    keys: Option<std::collections::btree_map::Range<'a, Box<[u8]>, usize>>,
}

impl<'a> Iterator for Scan<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, index) = self.keys.as_mut()?.next()?;
        Some((key, self.overlay.value(*index)))
    }
}
