//! Who waits for a key of a global table to change: written by the table's thread, awaited by workers.
//!
//! ```text
//!  apply ─ tell(table, keys) ─▶ Listeners ─▶ Changes::next of each key that somebody listens to
//! ```
//!
//! Told is *that* there was a write, and not what: whoever listens reads the table then, and several writes may be one telling.
//! So who listens first and reads then misses nothing.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

type Key = (Box<str>, Box<[u8]>);
type Open = HashMap<Key, Heard>;

/// Who listens to a key.
#[derive(Default)]
struct Heard {
    /// How often it was written since somebody listens.
    writes: u64,
    listeners: usize,
    waiting: Vec<Waker>,
}

impl Heard {
    fn tell(&mut self) {
        self.writes += 1;
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

/// All that is listened to. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Listeners(Arc<Mutex<Open>>);

impl Listeners {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self, table: &str, key: &[u8]) -> Changes {
        let key = (Box::from(table), Box::from(key));
        let mut open = self.open();
        let heard = open.entry(key.clone()).or_default();
        heard.listeners += 1;
        Changes { listeners: self.clone(), key, known: heard.writes }
    }

    pub(super) fn tell<'a>(&self, table: &str, keys: impl Iterator<Item = &'a [u8]>) {
        let mut open = self.open();
        if open.is_empty() {
            return;
        }
        for key in keys {
            if let Some(heard) = open.get_mut(&(Box::from(table), Box::from(key))) {
                heard.tell();
            }
        }
    }

    /// Any key of the table may be another one now.
    pub(super) fn tell_all(&self, table: &str) {
        self.open().iter_mut().filter(|((of, _), _)| **of == *table).for_each(|(_, heard)| heard.tell());
    }
}

/// Writes to one key.
pub struct Changes {
    listeners: Listeners,
    key: Key,
    /// How many of the writes are known.
    known: u64,
}

impl Changes {
    /// Waits for a write since the last one that was told of.
    pub async fn next(&mut self) {
        poll_fn(|context| {
            let mut open = self.listeners.open();
            // It is there for as long as somebody listens.
            let Some(heard) = open.get_mut(&self.key) else { return Poll::Pending };
            if heard.writes != self.known {
                self.known = heard.writes;
                return Poll::Ready(());
            }
            if !heard.waiting.iter().any(|waiting| waiting.will_wake(context.waker())) {
                heard.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl fmt::Debug for Changes {
    /// Without the key (rule O5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("table", &self.key.0).finish_non_exhaustive()
    }
}

impl Drop for Changes {
    /// The last one that listens to a key takes it away.
    fn drop(&mut self) {
        let mut open = self.listeners.open();
        let Some(heard) = open.get_mut(&self.key) else { return };
        heard.listeners -= 1;
        if heard.listeners == 0 {
            open.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::GlobalState;

    fn heard(changes: &mut Changes) -> bool {
        use std::future::Future;
        let mut next = std::pin::pin!(changes.next());
        next.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn who_listens_to_a_key_is_told_of_its_writes_and_of_no_others() {
        let state = GlobalState::default();
        let (mut first, mut second) = (state.changes("table", b"key"), state.changes("table", b"key"));
        let mut elsewhere = (state.changes("table", b"other"), state.changes("other", b"key"));
        assert!(!heard(&mut first));
        state.apply("table", &[(b"key".to_vec(), None), (b"key".to_vec(), Some(Vec::new()))], &[]).unwrap();
        assert!(heard(&mut first) && heard(&mut second));
        assert!(!heard(&mut first), "two writes before it was heard of are one");
        assert!(!heard(&mut elsewhere.0) && !heard(&mut elsewhere.1));
        state.clear("table", "topic").unwrap();
        assert!(heard(&mut first) && heard(&mut elsewhere.0) && !heard(&mut elsewhere.1));
    }

    #[test]
    fn what_nobody_listens_to_is_forgotten() {
        let listeners = Listeners::default();
        let (first, second) = (listeners.listen("table", b"key"), listeners.listen("table", b"key"));
        drop(first);
        assert_eq!(listeners.open().len(), 1);
        drop(second);
        assert!(listeners.open().is_empty());
    }
}
