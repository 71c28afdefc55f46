//! Recently read committed values, so that a hot key does not cost a walk through RocksDB's memtables and files.
//!
//! A ring of entries in the order in which they came, found by a table of their places. The newest entry overwrites the
//! oldest, so the cache is bounded to the byte, allocates once, and needs no list of what was used last.
//!
//! ```text
//!  table: hash(store, key) ─▶ [place place place place]        ring: … │ oldest │ … │ newest │ end ──▶ overwrites oldest
//! ```
//!
//! A place carries a part of its key's hash, so that entries of other keys are not looked at: each look is a cache miss.

use super::spec::StoreIndex;

/// Places looked at for one hash.
const WAYS: usize = 4;
/// One place of the table per so many bytes of the ring: a small entry with its header.
const BYTES_PER_PLACE: usize = 64;
/// Store, key length and value length of an entry.
const HEADER_BYTES: usize = 12;
/// A value length that says that the key is known not to be there.
const ABSENT: u32 = u32::MAX;
/// An entry that takes more of the ring than this part is not kept.
const LARGEST_PART: usize = 16;
/// No entry; real places start after it.
const NOWHERE: u64 = 0;
/// Upper bits of a way that are a part of the hash; the others are the place, enough for 256 TiB of writes.
const TAG_BITS: u32 = 16;
const PLACE_MASK: u64 = u64::MAX >> TAG_BITS;

/// The read cache of one task. Holds committed data only; the overlays lie above it.
#[derive(Debug)]
pub(super) struct ReadCache {
    ring: Vec<u8>,
    /// Tags and places of entries. Places are counted from the first byte ever written, so that an overwritten one is
    /// recognised by its age.
    table: Vec<[u64; WAYS]>,
    /// Where the next entry goes.
    end: u64,
}

/// An entry that lies in the ring.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Its place, and which of the bucket's ways holds it.
    place: u64,
    way: usize,
    /// Where its value starts in the ring, and how long it is.
    value: usize,
    value_bytes: u32,
}

impl ReadCache {
    /// A cache of so many bytes, table included; of none, nothing is kept. Memory is taken as it is filled.
    pub(super) fn new(bytes: usize) -> Self {
        let buckets = match bytes / (BYTES_PER_PLACE * WAYS) {
            0 => 0,
            wanted => 1 << wanted.ilog2(),
        };
        let ring = bytes.saturating_sub(buckets * size_of::<[u64; WAYS]>());
        // The first lap starts at its second, so that no entry is ever at NOWHERE.
        ReadCache { ring: vec![0; ring], table: vec![[NOWHERE; WAYS]; buckets], end: ring as u64 }
    }

    fn bucket(&self, hash: u64) -> Option<usize> {
        // The table's length is a power of two, or 0.
        (!self.table.is_empty()).then(|| hash as usize & (self.table.len() - 1))
    }

    fn offset(&self, place: u64) -> usize {
        (place % self.ring.len() as u64) as usize
    }

    fn number(&self, at: usize) -> u32 {
        self.ring[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Whether the place has not been overwritten yet.
    fn is_live(&self, place: u64) -> bool {
        place != NOWHERE && self.end - place <= self.ring.len() as u64
    }

    fn find(&self, hash: u64, store: StoreIndex, key: &[u8]) -> Option<Found> {
        let bucket = self.table[self.bucket(hash)?];
        let tagged = bucket.into_iter().enumerate().filter(|(_, way)| way & !PLACE_MASK == hash & !PLACE_MASK);
        let places = tagged.map(|(way, tagged)| (way, tagged & PLACE_MASK));
        places.filter(|(_, place)| self.is_live(*place)).find_map(|(way, place)| {
            let at = self.offset(place);
            let value = at + HEADER_BYTES + key.len();
            let is_key = self.number(at) as usize == store.0 && self.number(at + 4) as usize == key.len();
            let is_key = is_key && self.ring.get(at + HEADER_BYTES..value)? == key;
            is_key.then(|| Found { place, way, value, value_bytes: self.number(at + 8) })
        })
    }

    fn value(&self, found: Found) -> Option<&[u8]> {
        (found.value_bytes != ABSENT).then(|| &self.ring[found.value..found.value + found.value_bytes as usize])
    }

    /// `None`: not known. `Some(None)`: known not to be there.
    pub(super) fn read(&self, hash: u64, store: StoreIndex, key: &[u8]) -> Option<Option<&[u8]>> {
        self.find(hash, store, key).map(|found| self.value(found))
    }

    /// Remembers what was read.
    pub(super) fn insert(&mut self, hash: u64, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let Some(bucket) = self.bucket(hash) else { return };
        // The way of the oldest entry; NOWHERE is older than any.
        let oldest = (0..WAYS).min_by_key(|way| self.table[bucket][*way] & PLACE_MASK).unwrap_or(0);
        self.table[bucket][oldest] = self.append(hash, store, key, value).unwrap_or(NOWHERE);
    }

    /// The tagged place of a new entry; `None` if it is too large to be kept.
    fn append(&mut self, hash: u64, store: StoreIndex, key: &[u8], value: Option<&[u8]>) -> Option<u64> {
        let bytes = HEADER_BYTES + key.len() + value.map_or(0, <[u8]>::len);
        if bytes > self.ring.len() / LARGEST_PART {
            return None;
        }
        let left = self.ring.len() - self.offset(self.end);
        if left < bytes {
            // Entries lie in one piece; what is left at the end of the ring is skipped.
            self.end += left as u64;
        }
        let place = self.end;
        let at = self.offset(place);
        self.end += bytes as u64;
        let numbers = [Some(store.0), Some(key.len()), value.map(<[u8]>::len)];
        for (n, number) in numbers.into_iter().enumerate() {
            let number = number.and_then(|number| u32::try_from(number).ok()).unwrap_or(ABSENT);
            self.ring[at + n * 4..][..4].copy_from_slice(&number.to_le_bytes());
        }
        self.ring[at + HEADER_BYTES..][..key.len()].copy_from_slice(key);
        if let Some(value) = value {
            self.ring[at + HEADER_BYTES + key.len()..][..value.len()].copy_from_slice(value);
        }
        Some(hash & !PLACE_MASK | place)
    }

    /// Follows a commit: what is known of the key is replaced; what is not known is not worth the room.
    pub(super) fn update(&mut self, hash: u64, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let (Some(found), Some(bucket)) = (self.find(hash, store, key), self.bucket(hash)) else { return };
        // A key that is written is in use; in the older half of the ring it is written anew, so that it stays.
        let is_young = self.end - found.place <= self.ring.len() as u64 / 2;
        match value {
            Some(value) if is_young && u32::try_from(value.len()) == Ok(found.value_bytes) => {
                self.ring[found.value..found.value + value.len()].copy_from_slice(value);
            }
            _ => self.table[bucket][found.way] = self.append(hash, store, key, value).unwrap_or(NOWHERE),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.table.fill([NOWHERE; WAYS]);
    }
}
