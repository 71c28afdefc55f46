//! Share-partitions as their leaders keep them (KIP-932, rules R7, R9, R11, R14, R16).
//!
//! ```text
//!             acquired                    accepted, a gap
//!  Available ──────────▶ Acquired(by, until) ──────────▶ Done(accepted)
//!      ▲                    │ │ rejected; released or run out for the last time
//!      └── released, ───────┘ └──────────────────────────▶ Done(archived)
//!          run out
//! ```
//!
//! A leader that takes over reads what was written: that something was acquired is not, so it is available, and was not
//! delivered. One that hung and does not know that it leads no more (a *ghost*) goes on with its own books: nobody checks what it hands
//! out, but it can write nothing, so the first acknowledgement tells it.

use super::clock::LOCK;
use super::log::At;
use crate::wire::share::{AcknowledgedBatch, Acknowledgement};

pub(super) const NOT_LEADER: i16 = 6;
pub(super) const INVALID_REQUEST: i16 = 42;
pub(super) const INVALID_RECORD_STATE: i16 = 121;

/// Where one record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    Available,
    Acquired {
        by: usize,
        /// Which acquisition it is.
        id: u32,
        /// In steps of time.
        until: u32,
    },
    Done {
        accepted: bool,
    },
}

/// What a leader knows of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Page {
    pub(super) standing: Standing,
    /// How often it was delivered.
    pub(super) count: u8,
}

/// One share-partition.
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) leader: usize,
    pub(super) books: Vec<Page>,
    /// The books of one that does not know that it leads no more.
    pub(super) ghost: Option<(usize, Vec<Page>)>,
}

/// Offsets in a row, acquired together: first, last, how often delivered.
pub(super) type Range = (usize, usize, u8);

impl Page {
    fn let_go(&mut self, limit: u8) {
        let over = self.count >= limit;
        self.standing = if over { Standing::Done { accepted: false } } else { Standing::Available };
    }
}

impl Share {
    pub(super) fn new(log: &[At], leader: usize) -> Self {
        let page = Page { standing: Standing::Available, count: 0 };
        Share { leader, books: vec![page; log.len()], ghost: None }
    }

    /// The books that a broker acts by, if it believes to be the leader.
    pub(super) fn books_of(&mut self, broker: usize) -> Option<&mut Vec<Page>> {
        match &mut self.ghost {
            _ if self.leader == broker => Some(&mut self.books),
            Some((ghost, books)) if *ghost == broker => Some(books),
            _ => None,
        }
    }

    /// Hands out what is available, `most` records of it. The acquisitions are numbered from `id` on.
    pub(super) fn acquire(
        &mut self,
        broker: usize,
        by: usize,
        most: usize,
        (now, mut id): (u32, u32),
    ) -> (Vec<Range>, u32) {
        let mut ranges: Vec<Range> = Vec::new();
        let mut left = most;
        for (offset, page) in self.books_of(broker).into_iter().flatten().enumerate() {
            if page.standing != Standing::Available || left == 0 {
                continue;
            }
            page.count += 1;
            page.standing = Standing::Acquired { by, id, until: now + LOCK };
            (id, left) = (id + 1, left - 1);
            match ranges.last_mut().filter(|(_, last, count)| (*last + 1, *count) == (offset, page.count)) {
                Some((_, last, _)) => *last = offset,
                None => ranges.push((offset, offset, page.count)),
            }
        }
        (ranges, id)
    }

    /// Takes acknowledgements, all or none: 0, or why not.
    pub(super) fn acknowledge(
        &mut self,
        broker: usize,
        by: usize,
        batches: &[AcknowledgedBatch],
        (now, limit): (u32, u8),
    ) -> i16 {
        if !well_formed(batches) {
            return INVALID_REQUEST;
        }
        if self.leader != broker {
            // What a ghost wants to write is refused.
            self.ghost = self.ghost.take().filter(|(ghost, _)| *ghost != broker);
            return NOT_LEADER;
        }
        let before = self.books.clone();
        for (offset, kind) in each(batches) {
            let page = self.books.get_mut(offset).filter(|page| is_acquired(page, by));
            let Some(page) = page else {
                self.books = before;
                return INVALID_RECORD_STATE;
            };
            match kind {
                Acknowledgement::Accept => page.standing = Standing::Done { accepted: true },
                Acknowledgement::Gap | Acknowledgement::Reject => page.standing = Standing::Done { accepted: false },
                Acknowledgement::Release => page.let_go(limit),
                Acknowledgement::Renew => {
                    if let Standing::Acquired { until, .. } = &mut page.standing {
                        *until = now + LOCK;
                    }
                }
            }
        }
        0
    }

    /// All that a member holds of a broker is available again.
    pub(super) fn release(&mut self, broker: usize, by: usize, limit: u8) {
        let pages = self.books_of(broker).into_iter().flatten();
        pages.filter(|page| is_acquired(page, by)).for_each(|page| page.let_go(limit));
    }

    /// Locks end.
    pub(super) fn expire(&mut self, now: u32, limit: u8) {
        let ghost = self.ghost.iter_mut().flat_map(|(_, books)| books);
        for page in self.books.iter_mut().chain(ghost) {
            if matches!(page.standing, Standing::Acquired { until, .. } if until <= now) {
                page.let_go(limit);
            }
        }
    }

    /// Another broker leads; whether the one of before knows of it.
    pub(super) fn move_to(&mut self, broker: usize, knows: bool) {
        self.ghost = (!knows).then(|| (self.leader, self.books.clone()));
        self.leader = broker;
        for page in self.books.iter_mut().filter(|page| matches!(page.standing, Standing::Acquired { .. })) {
            *page = Page { standing: Standing::Available, count: page.count - 1 };
        }
    }
}

fn is_acquired(page: &Page, member: usize) -> bool {
    matches!(page.standing, Standing::Acquired { by, .. } if by == member)
}

/// Ascending, without overlap, one kind or one for each offset (rule R11).
pub(super) fn well_formed(batches: &[AcknowledgedBatch]) -> bool {
    let counted = |batch: &AcknowledgedBatch| {
        batch.first <= batch.last
            && (batch.kinds.len() == 1 || batch.kinds.len() as i64 == batch.last - batch.first + 1)
    };
    batches.iter().all(counted) && batches.windows(2).all(|pair| pair[0].last < pair[1].first)
}

/// Each offset with what is said of it.
pub(super) fn each(batches: &[AcknowledgedBatch]) -> impl Iterator<Item = (usize, Acknowledgement)> + '_ {
    let of = |batch: &AcknowledgedBatch, offset: i64| {
        let kind = batch.kinds.get((offset - batch.first) as usize).or(batch.kinds.first());
        (offset as usize, kind.copied().unwrap_or(Acknowledgement::Release))
    };
    batches.iter().flat_map(move |batch| (batch.first..=batch.last).map(move |offset| of(batch, offset)))
}
