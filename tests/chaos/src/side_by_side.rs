//! Many seeds, some at a time.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::Result;

/// Does something with each seed, in its order, on a thread for each of the grounds, until one says that this is enough or
/// something goes wrong.
///
/// # Errors
/// The last that went wrong.
pub(crate) fn side_by_side<G: Sync>(
    seeds: Range<u64>,
    grounds: &[G],
    each: impl Fn(&G, u64) -> Result<bool> + Sync,
) -> Result<()> {
    let (next, error) = (AtomicU64::new(seeds.start), Mutex::new(None));
    let work = |ground: &G| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let done = each(ground, seed);
            if !matches!(done, Ok(true)) {
                next.store(seeds.end, Ordering::Relaxed);
            }
            if let Err(failure) = done {
                *error.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            }
        }
    };
    thread::scope(|scope| {
        for ground in grounds {
            scope.spawn(|| work(ground));
        }
    });
    error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
