//! One cache line of the [`Table`](super::table::Table): a key, its newest value, and the write that it comes from.
//!
//! A small key and value lie in the line itself, because what a look-up costs is the lines that it touches.

use super::journal::Transaction;
use super::spec::StoreIndex;

/// Key and value up to this size lie in the slot itself; others have memory of their own.
pub(super) const INLINE_BYTES: usize = 45;
/// An inline value's length that says that the key is known not to be there.
const ABSENT: u8 = u8::MAX;

#[derive(Debug, Default)]
enum Content {
    #[default]
    Nothing,
    /// Key and value, one after the other.
    Inline { key: u8, value: u8, bytes: [u8; INLINE_BYTES] },
    /// The same, too large for a slot.
    Heap { key: u32, absent: bool, bytes: Vec<u8> },
}

/// A key's newest value.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Slot {
    content: Content,
    /// The transaction that wrote it; `None` for what was read from the database.
    pub(super) transaction: Option<Transaction>,
    /// The write's number in that transaction.
    pub(super) number: u32,
    store: u32,
}

impl Slot {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.content, Content::Nothing)
    }

    pub(super) fn store(&self) -> StoreIndex {
        StoreIndex(self.store as usize)
    }

    pub(super) fn key(&self) -> &[u8] {
        match &self.content {
            Content::Nothing => &[],
            Content::Inline { key, bytes, .. } => &bytes[..usize::from(*key)],
            Content::Heap { key, bytes, .. } => &bytes[..*key as usize],
        }
    }

    /// `None`: the key is known not to be there.
    pub(super) fn value(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Nothing | Content::Inline { value: ABSENT, .. } | Content::Heap { absent: true, .. } => None,
            Content::Inline { key, value, bytes } => Some(&bytes[usize::from(*key)..][..usize::from(*value)]),
            Content::Heap { key, bytes, .. } => Some(&bytes[*key as usize..]),
        }
    }

    /// Memory of its own.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.content {
            Content::Heap { bytes, .. } => bytes.capacity(),
            Content::Nothing | Content::Inline { .. } => 0,
        }
    }

    pub(super) fn holds(&self, store: StoreIndex, key: &[u8]) -> bool {
        let known = match &self.content {
            Content::Nothing => return false,
            Content::Inline { key, bytes, .. } => &bytes[..usize::from(*key)],
            Content::Heap { key, bytes, .. } => &bytes[..*key as usize],
        };
        self.store as usize == store.0 && known == key
    }

    /// Puts a value in: another one of the key that it has, or the first of an empty slot. Memory of its own is at most
    /// twice what key and value take.
    pub(super) fn set(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let (absent, value) = (value.is_none(), value.unwrap_or_default());
        let size = key.len() + value.len();
        self.store = store.0 as u32;
        match &mut self.content {
            // A number that is counted up.
            Content::Inline { value: known, bytes, .. }
                if !absent && size <= INLINE_BYTES && usize::from(*known) == value.len() =>
            {
                bytes[key.len()..size].copy_from_slice(value);
            }
            content if size <= INLINE_BYTES => {
                let mut bytes = [0; INLINE_BYTES];
                bytes[..key.len()].copy_from_slice(key);
                bytes[key.len()..size].copy_from_slice(value);
                let value = if absent { ABSENT } else { value.len() as u8 };
                *content = Content::Inline { key: key.len() as u8, value, bytes };
            }
            Content::Heap { absent: known, bytes, .. } if bytes.capacity() / 2 <= size => {
                *known = absent;
                bytes.truncate(key.len());
                bytes.reserve_exact(value.len());
                bytes.extend_from_slice(value);
            }
            content => *content = Content::Heap { key: key.len() as u32, absent, bytes: [key, value].concat() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }

    #[test]
    fn a_slot_gives_back_values_of_any_size_and_their_absence() {
        let store = StoreIndex(3);
        for key in [&b""[..], b"key", &[7; INLINE_BYTES], &[7; INLINE_BYTES + 1]] {
            let mut slot = Slot::default();
            assert!(!slot.holds(store, key));
            // Up, down, and from each size to each other one; 255 is the length that stands for an absent key.
            let sizes = [None, Some(0), Some(1), Some(42), Some(43), Some(255), Some(256), Some(100_000)];
            for size in sizes.iter().flat_map(|one| sizes.iter().flat_map(move |other| [*one, *other])) {
                let value = size.map(|size| vec![size as u8; size]);
                slot.set(store, key, value.as_deref());
                assert!(slot.holds(store, key) && !slot.holds(StoreIndex(4), key) && !slot.holds(store, b"other"));
                assert_eq!(slot.value(), value.as_deref());
                assert!(slot.heap_bytes() <= 2 * (key.len() + size.unwrap_or(0)));
            }
        }
    }
}
