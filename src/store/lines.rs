//! Lines: who comes after whom, by key, first come, first served.
//!
//! ```text
//!  key a   first ▶ 3 ── 7 ── 8        numbers are given once, over all keys; of each key the first one's is kept,
//!  key b   first ▶ 5                  so whose turn it is takes one read, whoever else is in line
//! ```
//!
//! For what has to be done one after the other by key, while other keys go on: tasks of an order key, requests behind one that has
//! failed. A line is a store's keys, so it is joined and left with everything else that a record does, or not at all.
//!
//! Who may have to stand in line later [takes a number](Lines::take_number) at once, and joins with it: behind all who came before,
//! and before all who came after.

use super::error::ReadError;
use super::handle::Store;
use super::range::Bounds;
use super::spec::StoreIndex;
use super::state::TaskState;
use crate::codec::DecodeError;

/// Where the next number is kept: no key is so long that its places begin like this.
const NEXT: &[u8] = b"next";

/// A place in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number: those behind it have higher ones.
    pub number: i64,
    /// Whether nobody is before it.
    pub is_first: bool,
}

/// The lines of a task.
#[derive(Debug, Clone)]
pub struct Lines(Store<Vec<u8>, Vec<u8>>);

impl Lines {
    /// Lines that are kept in this store, and nothing else is.
    pub fn new(store: Store<Vec<u8>, Vec<u8>>) -> Self {
        Lines(store)
    }

    /// The store's number; a processor that has lines names it among its stores.
    pub fn index(&self) -> StoreIndex {
        self.0.index()
    }

    /// Puts one at the end of a key's line, `of` whatever it is of.
    ///
    /// # Errors
    /// The store failed.
    pub fn join(&self, state: &mut TaskState, key: &[u8], of: &[u8]) -> Result<Place, ReadError> {
        let number = self.take_number(state)?;
        let is_first = self.join_at(state, key, number, of)?;
        Ok(Place { number, is_first })
    }

    /// A number for a place, higher than all that were given.
    ///
    /// # Errors
    /// The store failed.
    pub fn take_number(&self, state: &mut TaskState) -> Result<i64, ReadError> {
        let number = self.number(state, NEXT)?.unwrap_or(0);
        self.write(state, NEXT, Some((number + 1).to_string().as_bytes()))?;
        Ok(number)
    }

    /// Puts one into a key's line at a number that was taken before; whether it is the first one now.
    ///
    /// # Errors
    /// The store failed.
    pub fn join_at(&self, state: &mut TaskState, key: &[u8], number: i64, of: &[u8]) -> Result<bool, ReadError> {
        self.write(state, &place(key, number), Some(of))?;
        let is_first = self.number(state, &head(key))?.is_none_or(|first| number <= first);
        if is_first {
            self.write(state, &head(key), Some(number.to_string().as_bytes()))?;
        }
        Ok(is_first)
    }

    /// Takes one out of a key's line. If it was the first, gives who is now, if anybody: its number, and what it is of.
    ///
    /// # Errors
    /// The store failed.
    pub fn leave(&self, state: &mut TaskState, key: &[u8], number: i64) -> Result<Option<(i64, Vec<u8>)>, ReadError> {
        self.write(state, &place(key, number), None)?;
        if self.number(state, &head(key))? != Some(number) {
            return Ok(None);
        }
        // From here on, for those before are gone: their tombstones need not be passed.
        let (from, to) = (place(key, number), end(key));
        let next = self.0.range(state, Bounds::between(&from, &to))?.next().transpose()?;
        let next = next.and_then(|(at, of)| Some((i64::from_be_bytes(*at.last_chunk()?), of)));
        let first = next.as_ref().map(|(number, _)| number.to_string());
        self.write(state, &head(key), first.as_deref().map(str::as_bytes))?;
        Ok(next)
    }

    /// The first one of a key's line: its number, and what it is of.
    ///
    /// # Errors
    /// The store failed.
    pub fn first(&self, state: &mut TaskState, key: &[u8]) -> Result<Option<(i64, Vec<u8>)>, ReadError> {
        let Some(number) = self.number(state, &head(key))? else { return Ok(None) };
        Ok(self.0.read(state, &place(key, number))?.map(|of| (number, of)))
    }

    /// The first ones of a key's line, `most` of them, in their order.
    ///
    /// # Errors
    /// The store failed.
    pub fn front(&self, state: &mut TaskState, key: &[u8], most: usize) -> Result<Vec<(i64, Vec<u8>)>, ReadError> {
        let Some(first) = self.number(state, &head(key))? else { return Ok(Vec::new()) };
        let (from, to) = (place(key, first), end(key));
        let places = self.0.range(state, Bounds::between(&from, &to))?.take(most);
        let numbered = |place: Result<(Vec<u8>, Vec<u8>), ReadError>| {
            let (at, of) = place?;
            let none = || DecodeError::Malformed("a place in a line has no number".to_owned());
            Ok((i64::from_be_bytes(*at.last_chunk().ok_or_else(none)?), of))
        };
        places.map(numbered).collect()
    }

    /// A number that is kept, as text.
    fn number(&self, state: &mut TaskState, key: &[u8]) -> Result<Option<i64>, ReadError> {
        let Some(bytes) = self.0.read(state, &key.to_vec())? else { return Ok(None) };
        let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        let none = || DecodeError::Malformed("a place in a line is no number".to_owned());
        Ok(Some(number.ok_or_else(none)?))
    }

    fn write(&self, state: &mut TaskState, key: &[u8], value: Option<&[u8]>) -> Result<(), ReadError> {
        self.0.write(state, &key.to_vec(), value.map(<[u8]>::to_vec).as_ref())
    }
}

/// What the places of a key begin with, and no other's: its length stands before it.
fn head(key: &[u8]) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], key].concat()
}

/// The place with this number: places of one key lie together, in the order of their numbers, behind their head.
fn place(key: &[u8], number: i64) -> Vec<u8> {
    [&head(key)[..], &number.max(0).to_be_bytes()].concat()
}

/// Behind all places of a key.
fn end(key: &[u8]) -> Vec<u8> {
    [&head(key)[..], &[u8::MAX]].concat()
}
