//! How much of the intake may be in use at a time: by one namespace, and by all of them (rule W16).
//!
//! ```text
//!  request ─▶ of its namespace: so many at a time ─▶ of all: so many bytes at a time ─▶ body is read
//!                └─ 429, try again in a second          └─ 503, the same
//! ```
//!
//! Nobody waits here: whoever finds no room is told so at once, and waits where the work comes from.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// See the module's documentation.
pub(super) struct Room {
    /// Requests of one namespace.
    each: usize,
    under_way: UnderWay,
    /// In KiB, which a semaphore can count.
    memory: Arc<Semaphore>,
    /// All of it.
    kib: u32,
}

/// Requests by namespace; of those that have none nothing is kept.
type UnderWay = Arc<Mutex<BTreeMap<String, usize>>>;

/// A request's place; given back when it is dropped.
pub(super) struct Place {
    namespace: String,
    under_way: UnderWay,
}

impl Room {
    pub(super) fn new(each: usize, bytes: usize) -> Self {
        let kib = kib(bytes);
        Room { each, under_way: UnderWay::default(), memory: Arc::new(Semaphore::new(kib as usize)), kib }
    }

    /// A place for one more request of a namespace.
    pub(super) fn enter(&self, namespace: &str) -> Result<Place, Refusal> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let count = under_way.entry(namespace.to_owned()).or_default();
        if *count >= self.each {
            return Err(Refusal::Crowded(self.each));
        }
        *count += 1;
        Ok(Place { namespace: namespace.to_owned(), under_way: Arc::clone(&self.under_way) })
    }

    /// Memory for a body of so many bytes, which lasts as long as the permit. The largest body always fits into an empty room.
    pub(super) fn hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let kib = kib(bytes).min(self.kib);
        Arc::clone(&self.memory).try_acquire_many_owned(kib).map_err(|_| Refusal::Full)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = under_way.get_mut(&self.namespace) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.namespace);
            }
        }
    }
}

fn kib(bytes: usize) -> u32 {
    let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w16_one_namespace_takes_no_more_than_its_places_and_the_others_keep_theirs() {
        let room = Room::new(2, 1 << 20);
        let places = [room.enter("loud").unwrap(), room.enter("loud").unwrap()];
        assert!(matches!(room.enter("loud"), Err(Refusal::Crowded(2))));
        let quiet = room.enter("quiet").unwrap();
        drop(places);
        assert!(room.enter("loud").is_ok());
        drop(quiet);
        assert!(room.under_way.lock().unwrap().is_empty(), "nothing is kept of those that are done");
    }

    #[test]
    fn bodies_share_what_memory_there_is() {
        let room = Room::new(9, 10 << 10);
        let first = room.hold(9 << 10).unwrap();
        let second = room.hold(1).unwrap();
        assert!(matches!(room.hold(1), Err(Refusal::Full)));
        drop((first, second));
        assert!(room.hold(1 << 30).is_ok(), "one that is larger than all of it has it for itself");
    }
}
