//! Recently read committed values, so that a hot key does not cost a walk through RocksDB's memtables and files.
//!
//! Two generations, each a buffer and an index: what is used is copied to the young one, and when that is full, the old
//! one is emptied and becomes the young one. So it is bounded, allocates nothing once it is full, and forgets in bulk.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::overlay::Identity;
use super::spec::StoreIndex;

/// What the index takes per entry, control byte and load factor included.
const INDEX_BYTES: usize = (size_of::<(u64, Cached)>() + 1) * 8 / 7;
/// An entry that takes more of a generation than this part is not kept.
const LARGEST_PART: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Cached {
    store: StoreIndex,
    start: usize,
    key_bytes: u32,
    /// `None`: the key is known not to be there.
    value_bytes: Option<u32>,
}

#[derive(Debug, Default)]
struct Generation {
    index: HashMap<u64, Cached, BuildHasherDefault<Identity>>,
    bytes: Vec<u8>,
}

impl Generation {
    fn find(&self, hash: u64, store: StoreIndex, key: &[u8]) -> Option<Cached> {
        let cached = *self.index.get(&hash)?;
        let known = self.bytes.get(cached.start..cached.start + cached.key_bytes as usize)?;
        (cached.store == store && known == key).then_some(cached)
    }

    fn value(&self, cached: Cached) -> Option<&[u8]> {
        let start = cached.start + cached.key_bytes as usize;
        cached.value_bytes.map(|length| &self.bytes[start..start + length as usize])
    }

    /// Whether one more entry keeps the memory (not only what is used of it) within the limit.
    fn has_room(&self, bytes: usize, limit: usize) -> bool {
        let wanted = self.bytes.len() + bytes;
        let buffer = match self.bytes.capacity() {
            enough if wanted <= enough => enough,
            short => wanted.max(short * 2),
        };
        let entries = match self.index.capacity() {
            enough if self.index.len() < enough => enough,
            short => short * 2,
        };
        buffer + entries * INDEX_BYTES <= limit
    }

    fn insert(&mut self, hash: u64, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let start = self.bytes.len();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let cached = Cached { store, start, key_bytes: length(key), value_bytes: value.map(length) };
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.index.insert(hash, cached);
    }

    fn clear(&mut self) {
        self.index.clear();
        self.bytes.clear();
    }
}

/// The read cache of one task. Holds committed data only; the overlays lie above it.
#[derive(Debug)]
pub(super) struct ReadCache {
    young: Generation,
    old: Generation,
    /// Of one generation, in bytes.
    limit: usize,
}

impl ReadCache {
    pub(super) fn new(bytes: usize) -> Self {
        ReadCache { young: Generation::default(), old: Generation::default(), limit: bytes / 2 }
    }

    /// `None`: not known. `Some(None)`: known not to be there.
    pub(super) fn read(&mut self, hash: u64, store: StoreIndex, key: &[u8]) -> Option<Option<&[u8]>> {
        if let Some(cached) = self.young.find(hash, store, key) {
            return Some(self.young.value(cached));
        }
        let cached = self.old.find(hash, store, key)?;
        let value = self.old.value(cached);
        // Used again: it survives the next turn, if there is room before it. A key is in one generation only, or a
        // later update of the one would leave the other behind.
        if self.young.has_room(key.len() + value.map_or(0, <[u8]>::len), self.limit) {
            self.young.insert(hash, store, key, value);
            self.old.index.remove(&hash);
        }
        Some(self.old.value(cached))
    }

    /// Remembers what was read.
    pub(super) fn insert(&mut self, hash: u64, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let bytes = key.len() + value.map_or(0, <[u8]>::len);
        if bytes > self.limit / LARGEST_PART {
            return;
        }
        if !self.young.has_room(bytes, self.limit) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            if !self.young.has_room(bytes, self.limit) {
                return;
            }
        }
        self.young.insert(hash, store, key, value);
    }

    /// Follows a commit: what is known of the key is replaced; what is not known is not worth the room.
    pub(super) fn update(&mut self, hash: u64, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let Some(cached) = self.young.find(hash, store, key) else {
            if self.old.index.remove(&hash).is_some() {
                self.insert(hash, store, key, value);
            }
            return;
        };
        let start = cached.start + cached.key_bytes as usize;
        match value {
            Some(value) if cached.value_bytes == u32::try_from(value.len()).ok() => {
                self.young.bytes[start..start + value.len()].copy_from_slice(value);
            }
            _ => {
                self.young.index.remove(&hash);
                self.insert(hash, store, key, value);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}
