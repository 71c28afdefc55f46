//! The staged writes of one transaction, in order.
//!
//! Nothing of a transaction may touch the base before Kafka has committed it (rule R-17). Changelog and commit read the
//! journal from its front, undo from its back; keys and values lie in one buffer, so that a write costs no allocation and
//! touches no memory but the next. Where a key's newest write lies is the [`Table`](super::table::Table)'s matter.
//!
//! ```text
//!  entries: 0 a=1 │ 1 b=2 │ 2 a=3 │ ── record in hand ── 3 b=∅ │ 4 a=5
//!           └── superseded ◀──┘ earlier                  ▲ mark
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;

use super::range::Bounds;
use super::slot::INLINE_BYTES;
use super::spec::StoreIndex;
use super::table::SLOT_BYTES;

/// What a journal entry weighs beside its bytes.
const ENTRY_BYTES: usize = size_of::<Entry>();
/// A value length that says that the key is deleted.
const DELETES: u32 = u32::MAX;

/// A transaction's number within its task; a later one has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Transaction(NonZeroU64);

impl Transaction {
    pub(super) const FIRST: Transaction = Transaction(NonZeroU64::MIN);

    pub(super) fn next(self) -> Self {
        Transaction(self.0.saturating_add(1))
    }

    /// How many transactions it is above another one.
    fn above(self, other: Transaction) -> u64 {
        self.0.get() - other.0.get()
    }

    fn below(self, distance: u64) -> Option<Self> {
        NonZeroU64::new(self.0.get() - distance).map(Transaction)
    }

    pub(super) fn modulo(self, count: usize) -> usize {
        (self.0.get() % count as u64) as usize
    }
}

/// Where a write lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteId {
    pub(super) transaction: Transaction,
    pub(super) number: u32,
}

/// Small, because most of a write's cost is the memory that it touches.
#[derive(Debug)]
struct Entry {
    /// Where the key starts; the value follows it.
    at: u32,
    key_bytes: u32,
    /// [`DELETES`], or the value's length.
    value_bytes: u32,
    /// The number of the staged write that this one hides, in the transaction that `hides` says.
    earlier: u32,
    store: u16,
    hides: Hides,
    /// A later write of the same key in this transaction makes this one worthless for changelog and commit.
    superseded: bool,
}

/// In which transaction the staged write lies that a write hides: three are pinned at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hides {
    Nothing,
    SameTransaction,
    OneBelow,
    TwoBelow,
}

impl Entry {
    fn start(&self) -> usize {
        self.at as usize
    }

    fn key(&self) -> Range<usize> {
        self.start()..self.start() + self.key_bytes as usize
    }

    /// `None` deletes.
    fn value(&self) -> Option<Range<usize>> {
        let start = self.start() + self.key_bytes as usize;
        (self.value_bytes != DELETES).then(|| start..start + self.value_bytes as usize)
    }

    /// Of key and value.
    fn bytes(&self) -> usize {
        self.key().len() + self.value().map_or(0, |value| value.len())
    }

    /// What the table has to keep of it outside its slot.
    fn large_bytes(&self) -> usize {
        Some(self.bytes()).filter(|bytes| *bytes > INLINE_BYTES).unwrap_or(0)
    }

    fn store(&self) -> StoreIndex {
        StoreIndex(usize::from(self.store))
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
pub(super) type Order = Vec<(u16, u64, u32)>;

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
type Ordered = BTreeMap<Box<[u8]>, u32>;

/// The staged writes of one transaction.
#[derive(Debug)]
pub(super) struct Journal {
    transaction: Transaction,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Entries that are the first of their key in this transaction.
    keys: usize,
    /// Bytes of keys and values that have a copy outside the table's slots.
    large_bytes: usize,
    /// By store; only for stores that were scanned, because most never are and the order costs more than the write.
    ordered: Vec<Option<Ordered>>,
    /// Entries when the record in hand began.
    mark: Option<usize>,
    /// Entries before this one have been handed to the changelog.
    published: usize,
}

impl Journal {
    pub(super) fn new(stores: usize) -> Self {
        Journal {
            transaction: Transaction::FIRST,
            bytes: Vec::new(),
            entries: Vec::new(),
            keys: 0,
            large_bytes: 0,
            ordered: (0..stores).map(|_| None).collect(),
            mark: None,
            published: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// Bytes of the journal and of what the table keeps for it.
    pub(super) fn staged_bytes(&self) -> usize {
        let table = self.keys * SLOT_BYTES + self.large_bytes;
        self.bytes.len() + self.entries.len() * ENTRY_BYTES + table
    }

    /// Bytes of the memory at most that the table's values of this transaction have of their own; see
    /// [`Slot::set`](super::slot::Slot::set).
    pub(super) fn heap_bytes(&self) -> usize {
        2 * self.large_bytes
    }

    /// Where the next write will lie.
    pub(super) fn next_id(&self) -> WriteId {
        WriteId { transaction: self.transaction, number: small(self.entries.len()) }
    }

    /// Appends a write; `earlier` is the staged write that it hides.
    pub(super) fn push(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>, earlier: Option<WriteId>) {
        let index = self.next_id().number;
        match self.in_this(earlier) {
            Some(hidden) => self.entries[hidden].superseded = true,
            None => self.keys += 1,
        }
        let hides = match earlier.map(|write| self.transaction.above(write.transaction)) {
            None => Hides::Nothing,
            Some(0) => Hides::SameTransaction,
            Some(1) => Hides::OneBelow,
            Some(2) => Hides::TwoBelow,
            Some(distance) => panic!("a staged write of {distance} transactions ago is pinned"),
        };
        let entry = Entry {
            at: small(self.bytes.len()),
            key_bytes: small(key.len()),
            value_bytes: value.map_or(DELETES, |value| small(value.len())),
            earlier: earlier.map_or(0, |write| write.number),
            store: store.0 as u16,
            hides,
            superseded: false,
        };
        self.large_bytes += entry.large_bytes();
        self.entries.push(entry);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        if let Some(ordered) = &mut self.ordered[store.0] {
            match ordered.get_mut(key) {
                Some(latest) => *latest = index,
                None => _ = ordered.insert(key.into(), index),
            }
        }
    }

    /// The entry of a write of this transaction.
    fn in_this(&self, id: Option<WriteId>) -> Option<usize> {
        id.filter(|id| id.transaction == self.transaction).map(|id| id.number as usize)
    }

    /// The staged write that an entry hides.
    fn earlier(&self, entry: &Entry) -> Option<WriteId> {
        let distance = match entry.hides {
            Hides::Nothing => return None,
            Hides::SameTransaction => 0,
            Hides::OneBelow => 1,
            Hides::TwoBelow => 2,
        };
        Some(WriteId { transaction: self.transaction.below(distance)?, number: entry.earlier })
    }

    /// The last write, and the one that it hides.
    pub(super) fn last(&self) -> Option<(StagedWrite<'_>, Option<WriteId>)> {
        let entry = self.entries.last()?;
        Some((self.write(entry), self.earlier(entry)))
    }

    /// Takes the last write back.
    pub(super) fn undo_last(&mut self) {
        let Some(entry) = self.entries.pop() else { return };
        let hidden = self.in_this(self.earlier(&entry));
        match hidden {
            Some(hidden) => self.entries[hidden].superseded = false,
            None => self.keys -= 1,
        }
        if let Some(ordered) = &mut self.ordered[entry.store().0] {
            let key = &self.bytes[entry.key()];
            match (hidden, ordered.get_mut(key)) {
                (Some(hidden), Some(latest)) => *latest = small(hidden),
                _ => _ = ordered.remove(key),
            }
        }
        self.large_bytes -= entry.large_bytes();
        self.bytes.truncate(entry.start());
        self.published = self.published.min(self.entries.len());
    }

    pub(super) fn begin_record(&mut self) {
        assert!(self.mark.is_none(), "a record begins before the last one ended");
        self.mark = Some(self.entries.len());
    }

    pub(super) fn commit_record(&mut self) {
        assert!(self.mark.take().is_some(), "no record to end");
    }

    /// Ends the record in hand and says how many of its writes are to be taken back.
    pub(super) fn abandon_record(&mut self) -> usize {
        self.mark.take().map_or(0, |mark| self.entries.len() - mark)
    }

    /// Bytes of the largest write, key and value together, since the record in hand began.
    pub(super) fn largest_record_write(&self, counts: impl Fn(StoreIndex) -> bool) -> usize {
        let own = &self.entries[self.mark.unwrap_or(self.entries.len())..];
        own.iter().filter(|entry| counts(entry.store())).map(Entry::bytes).max().unwrap_or(0)
    }

    pub(super) fn has_record_writes(&self) -> bool {
        self.mark.is_some_and(|mark| mark < self.entries.len())
    }

    pub(super) fn in_record(&self) -> bool {
        self.mark.is_some()
    }

    fn write(&self, entry: &Entry) -> StagedWrite<'_> {
        let value = entry.value().map(|range| &self.bytes[range]);
        StagedWrite { store: entry.store(), key: &self.bytes[entry.key()], value }
    }

    /// The value that a write gives its key; `None` deletes.
    pub(super) fn value(&self, number: u32) -> Option<&[u8]> {
        self.write(&self.entries[number as usize]).value
    }

    /// The last write of each key, in the order of those writes.
    pub(super) fn writes(&self) -> impl Iterator<Item = StagedWrite<'_>> {
        self.entries.iter().filter(|entry| !entry.superseded).map(|entry| self.write(entry))
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
        let by_number = |one: &(u16, u64, u32), other: &(u16, u64, u32)| {
            let rest = || key(&self.entries[one.2 as usize]).cmp(key(&self.entries[other.2 as usize]));
            (one.0, one.1).cmp(&(other.0, other.1)).then_with(rest)
        };
        order.sort_unstable_by(|one, other| by_number(one, other).then(one.2.cmp(&other.2)));
        // Who pushes without saying what is hidden has several writes of a key here: the last one counts.
        order.dedup_by(|later, kept| {
            let same = by_number(later, kept).is_eq();
            if same {
                *kept = *later;
            }
            same
        });
        order.iter().map(|(_, _, index)| self.write(&self.entries[*index as usize]))
    }

    /// Hands over the writes since the last call: of each key the last one only. A write whose visit fails, and those
    /// after it, are handed over again.
    pub(super) fn publish<E>(&mut self, mut visit: impl FnMut(StagedWrite<'_>) -> Result<(), E>) -> Result<(), E> {
        assert!(self.mark.is_none(), "the record in hand may be taken back; its writes can't be published yet");
        while let Some(entry) = self.entries.get(self.published) {
            if !entry.superseded {
                visit(self.write(entry))?;
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
        let own = self.entries.iter().zip(0..).filter(|(entry, _)| entry.store() == store);
        self.ordered[store.0] = Some(own.map(|(entry, index)| (self.bytes[entry.key()].into(), index)).collect());
    }

    /// The store's keys in order; empty unless [`order`](Self::order)ed.
    pub(super) fn scan(&self, store: StoreIndex, bounds: Bounds<'_>) -> Scan<'_> {
        let keys = match &self.ordered[store.0] {
            Some(ordered) if !bounds.is_empty() => Some(ordered.range::<[u8], _>(bounds)),
            _ => None,
        };
        Scan { journal: self, keys }
    }

    /// Forgets everything and becomes the journal of another transaction. Each of its two buffers keeps so many bytes.
    pub(super) fn restart(&mut self, transaction: Transaction, kept_bytes: usize) {
        self.transaction = transaction;
        self.bytes.clear();
        self.bytes.shrink_to(kept_bytes);
        self.entries.clear();
        self.entries.shrink_to(kept_bytes / ENTRY_BYTES);
        self.keys = 0;
        self.large_bytes = 0;
        self.ordered.iter_mut().flatten().for_each(BTreeMap::clear);
        self.mark = None;
        self.published = 0;
    }
}

/// The journal's keys of one store in order.
pub(super) struct Scan<'a> {
    journal: &'a Journal,
    keys: Option<std::collections::btree_map::Range<'a, Box<[u8]>, u32>>,
}

impl<'a> Iterator for Scan<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, index) = self.keys.as_mut()?.next()?;
        Some((key, self.journal.value(*index)))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_entry_is_a_third_of_a_cache_line() {
        assert_eq!(super::ENTRY_BYTES, 20);
    }
}
