//! What a task knows of its keys: of each the newest value, staged or committed, found with one look into memory.
//!
//! At 100,000 keys a look-up is a cache miss and little else. So there is one table for staged writes and for the copies
//! of what the database has. Each value says which transaction wrote it: one that the database does not have yet is
//! pinned, any other may give way.
//!
//! ```text
//!  hash(store, key) ─▶ home ─▶ head: [8 tags │ reach │ used]  ─▶ slot: [store, key, value, transaction, number] 64 bytes
//!                        └─ no room there: the groups that follow, as far as the home's `reach`
//! ```
//!
//! The heads of 100,000 keys lie in a core's own cache, so that the slot is the one miss; the write that follows a read
//! finds it there. A commit changes nothing here but the number above which transactions are pinned.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

use super::journal::{Transaction, WriteId};
use super::slot::Slot;
use super::spec::StoreIndex;

/// Slots of a group.
const WAYS: usize = 8;
/// Groups in which a key looks for an empty slot before one that is not pinned gives way.
const NEAR: usize = 8;
/// What a group weighs, beside values that have memory of their own.
const GROUP_BYTES: usize = size_of::<Head>() + WAYS * SLOT_BYTES;
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();
/// Slots leave this part of the cache to values that have memory of their own.
const HEAP_PART: usize = 16;
/// What takes more than this part of the cache is not worth its room.
const LARGEST_PART: usize = 16;
/// A table without copies keeps what staged writes have made of it for the next transaction, unless it is more than twice
/// this size; one that has copies keeps what those may take.
const KEPT_BYTES: usize = 4 << 20;
/// Transactions that are pinned at the same time: being filled, on the wire, on its way into the database.
const LIVE: usize = 3;
/// A one in each byte.
const ONES: u64 = u64::from_le_bytes([1; WAYS]);

/// What of a group is looked at first: a quarter of a cache line.
#[derive(Debug, Default)]
struct Head {
    /// A part of each key's hash; 0 for an empty slot.
    tags: [u8; WAYS],
    /// How many groups further the keys may lie whose home this is.
    reach: u32,
    /// Slots that were used since the hand came by, a bit each.
    used: u8,
    /// The slot at which the search for one that gives way goes on.
    hand: u8,
}

impl Head {
    /// Slots that may have this tag; the first one has.
    fn ways(&self, tag: u8) -> impl Iterator<Item = usize> + use<> {
        let differing = u64::from_le_bytes(self.tags) ^ (ONES * u64::from(tag));
        // The top bit of each byte that is zero, and perhaps of the one above it, from which the subtraction borrows.
        let mut found = differing.wrapping_sub(ONES) & !differing & (ONES << 7);
        std::iter::from_fn(move || {
            let way = (found != 0).then_some(found.trailing_zeros() as usize / 8);
            found &= found.wrapping_sub(1);
            way
        })
    }
}

/// A slot's number; good until the table changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

/// The newest value of each key that is known.
#[derive(Debug)]
pub(super) struct Table {
    heads: Vec<Head>,
    slots: Vec<Slot>,
    hasher: RandomState,
    /// Bytes for copies of what the database has.
    limit: usize,
    /// Bytes of the values that have memory of their own.
    heap_bytes: usize,
    /// The slot at which the search for such memory goes on.
    hand: usize,
    /// The last transaction that the database has.
    applied: Option<Transaction>,
    /// How many slots each transaction has pinned, by its number modulo [`LIVE`].
    pinned: [usize; LIVE],
    /// Where the last key was found: what a record writes it has mostly just read.
    last: usize,
}

impl Table {
    /// A table that keeps so many bytes of what the database has. Memory is taken as it is filled.
    pub(super) fn new(limit: usize) -> Self {
        let mut table = Table {
            heads: Vec::new(),
            slots: Vec::new(),
            hasher: RandomState::new(),
            limit,
            heap_bytes: 0,
            hand: 0,
            applied: None,
            pinned: [0; LIVE],
            last: 0,
        };
        table.resize(1);
        table
    }

    /// From now on it keeps so many bytes of what the database has; [`applied`](Self::applied) makes it so.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    fn hash(&self, store: StoreIndex, key: &[u8]) -> u64 {
        let mut state = self.hasher.build_hasher();
        state.write_usize(store.0);
        state.write(key);
        state.finish()
    }

    /// The group that a hash's upper end picks.
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.heads.len() as u128) >> u64::BITS) as usize
    }

    /// A hash's lower end, as heads have it.
    fn tag(hash: u64) -> u8 {
        (hash as u8).max(1)
    }

    /// The groups from `home` on, with their distance.
    fn groups(&self, home: usize, count: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let groups = self.heads.len();
        (0..count.min(groups)).map(move |distance| {
            let group = home + distance;
            (distance, if group < groups { group } else { group - groups })
        })
    }

    /// Where a key's value is; `None` if it is not known.
    pub(super) fn find(&mut self, store: StoreIndex, key: &[u8]) -> Option<Place> {
        let place = self.search(store, key)?;
        self.last = place;
        let (head, bit) = self.head(place);
        // Without need no line is written to.
        if head.used & bit == 0 {
            head.used |= bit;
        }
        Some(Place(place))
    }

    /// The same, for a key that was probably looked for just before.
    pub(super) fn find_again(&mut self, store: StoreIndex, key: &[u8]) -> Option<Place> {
        if self.slots[self.last].holds(store, key) { Some(Place(self.last)) } else { self.find(store, key) }
    }

    fn search(&self, store: StoreIndex, key: &[u8]) -> Option<usize> {
        let hash = self.hash(store, key);
        let home = self.home(hash);
        for (_, group) in self.groups(home, self.heads[home].reach as usize + 1) {
            for way in self.heads[group].ways(Self::tag(hash)) {
                let place = group * WAYS + way;
                if self.slots[place].holds(store, key) {
                    return Some(place);
                }
            }
        }
        None
    }

    fn head(&mut self, place: usize) -> (&mut Head, u8) {
        (&mut self.heads[place / WAYS], 1 << (place % WAYS))
    }

    /// The value; `None` if the key is known not to be there.
    pub(super) fn value(&self, place: Place) -> Option<&[u8]> {
        self.slots[place.0].value()
    }

    /// The write that the value comes from, if the database does not have it yet.
    pub(super) fn staged(&self, place: Place) -> Option<WriteId> {
        let Slot { transaction, number, .. } = self.slots[place.0];
        Some(WriteId { transaction: transaction.filter(|_| self.is_pinned(place.0))?, number })
    }

    fn is_pinned(&self, place: usize) -> bool {
        self.slots[place].transaction > self.applied
    }

    /// The number of slots that a slot is counted among, if it is pinned.
    fn count(&mut self, place: usize) -> Option<&mut usize> {
        let transaction = self.slots[place].transaction.filter(|_| self.is_pinned(place))?;
        Some(&mut self.pinned[transaction.modulo(LIVE)])
    }

    /// The value that a write gives a key; `place` is where the key was found.
    pub(super) fn put(
        &mut self,
        place: Option<Place>,
        store: StoreIndex,
        key: &[u8],
        value: Option<&[u8]>,
        write: WriteId,
    ) {
        let place = place.map_or_else(|| self.room(store, key), |place| place.0);
        self.set(place, store, key, value);
        self.slots[place].number = write.number;
        if self.slots[place].transaction == Some(write.transaction) {
            return;
        }
        if let Some(count) = self.count(place) {
            *count -= 1;
        }
        self.slots[place].transaction = Some(write.transaction);
        if let Some(count) = self.count(place) {
            *count += 1;
        }
    }

    fn set(&mut self, place: usize, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let slot = &mut self.slots[place];
        let before = slot.heap_bytes();
        slot.set(store, key, value);
        self.heap_bytes = self.heap_bytes - before + slot.heap_bytes();
    }

    /// Keeps a copy of what was read from the database, if it is worth its room. Of the memory that values have of their
    /// own, `staged_bytes` at most are pinned.
    pub(super) fn keep(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>, staged_bytes: usize) {
        if key.len() + value.map_or(0, <[u8]>::len) <= self.limit / LARGEST_PART {
            let place = self.room(store, key);
            self.set(place, store, key, value);
            self.trim(staged_bytes);
        }
    }

    /// What is known of a key is not so any more.
    pub(super) fn forget(&mut self, place: Place) {
        self.clear_slot(place.0);
    }

    fn clear_slot(&mut self, place: usize) {
        if let Some(count) = self.count(place) {
            *count -= 1;
        }
        self.heap_bytes -= self.slots[place].heap_bytes();
        self.slots[place] = Slot::default();
        let (head, bit) = self.head(place);
        head.tags[place % WAYS] = 0;
        head.used &= !bit;
    }

    /// A slot for a key that has none: an empty one, or another key's.
    fn room(&mut self, store: StoreIndex, key: &[u8]) -> usize {
        let hash = self.hash(store, key);
        let place = loop {
            if self.is_crowded() {
                self.resize(self.grown());
            } else if let Some(place) = self.free(hash, NEAR) {
                break place;
            } else if self.may_grow() {
                self.resize(self.grown().min(self.most_groups()));
            } else if let Some(place) = self.evict(hash) {
                break place;
            } else {
                self.resize(self.grown());
            }
        };
        let (head, _) = self.head(place);
        head.tags[place % WAYS] = Self::tag(hash);
        self.last = place;
        place
    }

    /// An empty slot in so many groups from a hash's home on.
    fn free(&mut self, hash: u64, count: usize) -> Option<usize> {
        let home = self.home(hash);
        let mut groups = self.groups(home, count);
        let empty = |(distance, group): (usize, usize)| Some((distance, group, self.heads[group].ways(0).next()?));
        let (distance, group, way) = groups.find_map(empty)?;
        self.extend_reach(home, distance);
        Some(group * WAYS + way)
    }

    fn extend_reach(&mut self, home: usize, distance: usize) {
        let reach = &mut self.heads[home].reach;
        *reach = (*reach).max(distance as u32);
    }

    /// Empties the nearest slot that is not pinned.
    fn evict(&mut self, hash: u64) -> Option<usize> {
        let home = self.home(hash);
        for (distance, group) in self.groups(home, self.heads.len()) {
            if let Some(place) = self.victim(group) {
                self.clear_slot(place);
                self.extend_reach(home, distance);
                return Some(place);
            }
        }
        None
    }

    /// The slot of a group that gives way: the next one that was not used since the hand came by.
    fn victim(&mut self, group: usize) -> Option<usize> {
        for _ in 0..2 * WAYS {
            let place = group * WAYS + usize::from(self.heads[group].hand) % WAYS;
            let is_pinned = self.is_pinned(place);
            let (head, bit) = self.head(place);
            head.hand = head.hand.wrapping_add(1);
            if !is_pinned && head.used & bit == 0 {
                return Some(place);
            }
            head.used &= !bit;
        }
        None
    }

    /// Groups that copies may fill.
    fn most_groups(&self) -> usize {
        ((self.limit - self.limit / HEAP_PART) / GROUP_BYTES).max(1)
    }

    /// The next larger number of groups: half as many more, since the table's size is most of what a task takes.
    fn grown(&self) -> usize {
        self.heads.len() + self.heads.len().div_ceil(2)
    }

    fn may_grow(&self) -> bool {
        let groups = self.grown().min(self.most_groups());
        groups > self.heads.len() && groups * GROUP_BYTES + self.heap_bytes <= self.limit
    }

    fn all_pinned(&self) -> usize {
        self.pinned.iter().sum()
    }

    /// Whether so many slots are pinned that those which are not are hard to find.
    fn is_crowded(&self) -> bool {
        self.all_pinned() > self.slots.len() / 4 * 3
    }

    /// Makes the table anew. What is pinned stays, and of the rest what finds an empty slot near its home.
    fn resize(&mut self, groups: usize) {
        let mut slots = std::mem::take(&mut self.slots);
        (self.heads, self.last, self.hand, self.heap_bytes) = (Vec::new(), 0, 0, 0);
        self.heads.resize_with(groups, Head::default);
        self.slots.resize_with(groups * WAYS, Slot::default);
        for pinned in [true, false] {
            for slot in slots.iter_mut().filter(|slot| !slot.is_empty()) {
                if (slot.transaction > self.applied) != pinned {
                    continue;
                }
                let hash = self.hash(slot.store(), slot.key());
                if let Some(place) = self.free(hash, if pinned { groups } else { NEAR }) {
                    self.heads[place / WAYS].tags[place % WAYS] = Self::tag(hash);
                    self.heap_bytes += slot.heap_bytes();
                    self.slots[place] = std::mem::take(slot);
                }
            }
        }
    }

    /// The database has a transaction: what it wrote may give way. Of the memory that values have of their own,
    /// `staged_bytes` at most are still pinned.
    pub(super) fn applied(&mut self, transaction: Transaction, staged_bytes: usize) {
        self.applied = Some(transaction);
        self.pinned[transaction.modulo(LIVE)] = 0;
        let kept = if self.limit == 0 { KEPT_BYTES / GROUP_BYTES } else { self.most_groups() };
        let needed = 2 * self.all_pinned() / WAYS;
        if self.heads.len() > 2 * kept.max(needed) {
            self.resize(kept.max(needed));
        }
        self.trim(staged_bytes);
    }

    /// Keeps the memory that values have of their own within bounds.
    fn trim(&mut self, staged_bytes: usize) {
        let room = self.limit.saturating_sub(self.heads.len() * GROUP_BYTES) + staged_bytes;
        // Twice around: at first what was used since gets another chance.
        for _ in 0..2 * self.slots.len() {
            if self.heap_bytes <= room {
                return;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let place = self.hand;
            let bytes = self.slots[place].heap_bytes();
            if bytes == 0 || self.is_pinned(place) {
                continue;
            }
            let is_large = bytes > self.limit / LARGEST_PART;
            let (head, bit) = self.head(place);
            if is_large || head.used & bit == 0 {
                self.clear_slot(place);
            } else {
                head.used &= !bit;
            }
        }
    }

    /// What the table takes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.heads.len() * GROUP_BYTES + self.heap_bytes
    }

    /// Forgets everything; nothing may be pinned.
    pub(super) fn clear(&mut self) {
        debug_assert_eq!(self.all_pinned(), 0, "a staged write would be lost");
        self.slots.clear();
        self.resize(1);
    }
}
