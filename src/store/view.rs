//! A task's committed state, for readers on other threads.
//!
//! ```text
//!  stream thread ─▶ TaskState::view ─▶ View ─▶ HTTP threads: one RocksDB snapshot per answer
//!        └─ TaskState::withdraw, or its end ─▶ every View of it is closed, once the reads under way are done
//! ```
//!
//! A snapshot covers data and meta data, which a commit writes as one batch (rule R-17): so the positions of an answer are
//! exactly those that its values belong to, and nothing of an open transaction is in either. The stream thread is never
//! waited for; it waits for a reader only when the task closes, and then for one step of it.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rocksdb::{ErrorKind, Snapshot};

use super::error::StoreError;
use super::meta::{META, Meta};
use super::range::Bounds;
use super::rocks::{Rocks, bounded};
use super::state::TaskState;
use crate::position::{Offset, TopicPartition};

/// Deleted entries that one step of a scan passes at most, so that a close never waits for long.
const MAX_SKIPPED: u64 = 100_000;

/// Next input offsets, as committed with the data beside them.
pub type Positions = Vec<(TopicPartition, Offset)>;

/// Why a view gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The task is closed, or is being reconciled: ask again, maybe elsewhere.
    #[error("the task is not open")]
    Closed,
    /// More than 100,000 deleted entries in a row, which compaction has not taken away yet.
    #[error("too many deleted entries lie in the range; narrow it, or ask again when they are compacted")]
    Sparse,
    /// The database could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its value's bytes; `None` if the key is not there.
    pub value: Option<Vec<u8>>,
    /// Up to where the input is in the store.
    pub positions: Positions,
}

/// What a scan asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The keys, by their bytes.
    pub bounds: Bounds<'a>,
    /// From the last key to the first.
    pub reverse: bool,
    /// Entries at most.
    pub limit: usize,
    /// Bytes of keys and values after which the page ends; the first entry always fits.
    pub max_bytes: usize,
}

/// A part of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Keys and values, in the order that was asked for.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether there is more after the last of them.
    pub more: bool,
    /// Up to where the input is in the store.
    pub positions: Positions,
}

/// The committed state of one task; clones are the same.
#[derive(Clone)]
pub struct View(Arc<Shared>);

struct Shared {
    /// `None` once it is closed. A read holds the lock, so that no database is closed under it.
    rocks: RwLock<Option<Arc<Rocks>>>,
    /// Set before the lock is asked for: reads under way end at their next step.
    closing: AtomicBool,
}

impl View {
    /// Whether it answers no more.
    pub fn is_closed(&self) -> bool {
        self.0.closing.load(Ordering::Acquire)
    }

    /// Looks a key up by its bytes.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub fn read(&self, store: &str, key: &[u8]) -> Result<Found, ViewError> {
        self.with(|rocks, snapshot| {
            let value = snapshot.get_cf(rocks.family(store)?, key).map_err(|error| rocks.refused(error))?;
            Ok(Found { value, positions: positions(rocks, snapshot)? })
        })
    }

    /// A page of a store's entries.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub fn scan(&self, store: &str, wanted: &Wanted<'_>) -> Result<Page, ViewError> {
        self.with(|rocks, snapshot| {
            let (entries, more) = match wanted.bounds.is_empty() {
                true => Default::default(),
                false => self.entries(rocks, snapshot, store, wanted)?,
            };
            Ok(Page { entries, more, positions: positions(rocks, snapshot)? })
        })
    }

    /// Up to where the input is in the store.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub fn positions(&self) -> Result<Positions, ViewError> {
        self.with(positions)
    }

    fn with<R>(&self, read: impl FnOnce(&Rocks, &Snapshot<'_>) -> Result<R, ViewError>) -> Result<R, ViewError> {
        let held = self.0.rocks.read().unwrap_or_else(PoisonError::into_inner);
        let rocks = held.as_ref().filter(|_| !self.is_closed()).ok_or(ViewError::Closed)?;
        read(rocks, &rocks.snapshot())
    }

    #[expect(clippy::type_complexity, reason = "entries, and whether there are more")]
    fn entries(
        &self,
        rocks: &Rocks,
        snapshot: &Snapshot<'_>,
        store: &str,
        wanted: &Wanted<'_>,
    ) -> Result<(Vec<(Vec<u8>, Vec<u8>)>, bool), ViewError> {
        let mut options = bounded(wanted.bounds);
        options.set_max_skippable_internal_keys(MAX_SKIPPED);
        // A page is read once; it must not push what the stream thread needs out of the cache.
        options.fill_cache(false);
        let mut iterator = snapshot.raw_iterator_cf_opt(rocks.family(store)?, options);
        if wanted.reverse {
            iterator.seek_to_last()
        } else {
            iterator.seek_to_first()
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some((key, value)) = iterator.item() {
            if self.is_closed() {
                return Err(ViewError::Closed);
            }
            bytes += key.len() + value.len();
            if entries.len() >= wanted.limit || (bytes > wanted.max_bytes && !entries.is_empty()) {
                return Ok((entries, true));
            }
            entries.push((key.to_vec(), value.to_vec()));
            if wanted.reverse { iterator.prev() } else { iterator.next() }
        }
        match iterator.status() {
            Ok(()) => Ok((entries, false)),
            Err(error) if error.kind() == ErrorKind::Incomplete && !entries.is_empty() => Ok((entries, true)),
            Err(error) if error.kind() == ErrorKind::Incomplete => Err(ViewError::Sparse),
            Err(error) => Err(rocks.refused(error).into()),
        }
    }

    fn close(&self) {
        self.0.closing.store(true, Ordering::Release);
        *self.0.rocks.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn positions(rocks: &Rocks, snapshot: &Snapshot<'_>) -> Result<Positions, ViewError> {
    let mut meta = Meta::default();
    let bounds = Bounds { start: Bound::Included(b"p"), end: Bound::Excluded(b"q") };
    let mut iterator = snapshot.raw_iterator_cf_opt(rocks.family(META)?, bounded(bounds));
    iterator.seek_to_first();
    while let Some((key, value)) = iterator.item() {
        if !meta.load(key, value, |_| None) {
            return Err(rocks.corrupt("a meta entry is malformed").into());
        }
        iterator.next();
    }
    iterator.status().map_err(|error| rocks.refused(error))?;
    let mut positions: Positions = meta.positions.into_iter().collect();
    positions.sort_unstable();
    Ok(positions)
}

impl TaskState {
    /// Opens the committed state to readers, until [`withdraw`](Self::withdraw) or the end of this state; `None` if nothing
    /// of it is on disk.
    pub fn view(&mut self) -> Option<View> {
        let rocks = self.rocks.as_ref()?;
        let fresh =
            || View(Arc::new(Shared { rocks: RwLock::new(Some(Arc::clone(rocks))), closing: AtomicBool::new(false) }));
        Some(self.view.get_or_insert_with(fresh).clone())
    }

    /// Closes it to readers; waits for the steps of reads that are under way. While a restore runs data is ahead of the
    /// positions, so nobody may read then.
    pub fn withdraw(&mut self) {
        if let Some(view) = self.view.take() {
            view.close();
        }
    }
}
