//! Times at which something is to happen to a task, in their order.
//!
//! A timer is a key of a store: eight bytes of its time, big-endian, so that the store's order is the order of time; what is to
//! happen; the task. The changelog brings it back after a loss, like anything else in a store.

use headrace::processor::{Context, Fault};
use headrace::record::Timestamp;
use headrace::store::{Bounds, Store};

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Its time has come: the delay that it was submitted with, or the back-off before another attempt.
    Begin,
    /// Its deadline.
    Expire,
    /// It need not be remembered any more.
    Forget,
}

const DUES: [Due; 3] = [Due::Begin, Due::Expire, Due::Forget];
/// Bytes before the task's id.
const HEAD: usize = 9;

/// Where it is kept that no timer before this time is left: far behind the last one that is ever due.
const DONE_UNTIL: &[u8] = b"done-until";
/// What that may be behind, in milliseconds, before it is moved for its own sake.
const BEHIND: i64 = 60_000;
/// Timers that are taken in one go: all of it is one transaction.
const AT_ONCE: usize = 1_000;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// When it was.
    pub at: i64,
    /// What is to happen.
    pub due: Due,
    /// To whom.
    pub id: String,
}

/// The timers of a partition.
#[derive(Clone)]
pub struct Timers(pub Store<Vec<u8>, Vec<u8>>);

impl Timers {
    /// Sets one, in milliseconds since the epoch.
    ///
    /// # Errors
    /// The store failed.
    pub fn set<K, V>(&self, at: i64, due: Due, id: &str, out: &mut Context<'_, K, V>) -> Result<(), Fault> {
        out.store(&self.0).write(&encode(at, due, id), Some(&Vec::new()))
    }

    /// Takes one away that is not due yet.
    ///
    /// # Errors
    /// The store failed.
    pub fn cancel<K, V>(&self, at: i64, due: Due, id: &str, out: &mut Context<'_, K, V>) -> Result<(), Fault> {
        out.store(&self.0).write(&encode(at, due, id), None)
    }

    /// Takes those that are due by now, in the order of their times; what is left is for the next look.
    ///
    /// What has been taken leaves tombstones behind, which a scan from the beginning would have to pass at each look. So it begins
    /// where the last one ended. No timer is ever set before the time at which it is set: only a clock that was set back has to
    /// begin anew.
    ///
    /// # Errors
    /// The store failed.
    pub fn take<K, V>(&self, out: &mut Context<'_, K, V>) -> Result<Vec<Timer>, Fault> {
        let (now, end) = (out.now(), after(out.now()));
        let until = out.store(&self.0).read(&DONE_UNTIL.to_vec())?;
        let until = until.and_then(|bytes| Some(i64::from_be_bytes(bytes.try_into().ok()?)));
        let begin = until.filter(|until| *until <= now.0).unwrap_or(0);
        let mut keys = Vec::new();
        for timer in out.store(&self.0).range(Bounds::between(&begin.to_be_bytes(), &end))?.take(AT_ONCE) {
            keys.push(timer?.0);
        }
        let last = keys.last().filter(|_| keys.len() == AT_ONCE).and_then(|key| decode(key));
        let done = last.map_or(now.0, |timer| timer.at);
        if !keys.is_empty() || done.saturating_sub(begin) > BEHIND {
            out.store(&self.0).write(&DONE_UNTIL.to_vec(), Some(&done.to_be_bytes().to_vec()))?;
        }
        keys.iter().try_for_each(|key| out.store(&self.0).write(key, None))?;
        Ok(keys.iter().filter_map(|key| decode(key)).collect())
    }
}

/// The key of a timer.
fn encode(at: i64, due: Due, id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(HEAD + id.len());
    // What is due before the epoch is due now.
    key.extend(at.max(0).to_be_bytes());
    key.push(due as u8);
    key.extend(id.as_bytes());
    key
}

/// What a key says; nothing if it is none of a timer.
fn decode(key: &[u8]) -> Option<Timer> {
    let (at, rest) = key.split_first_chunk()?;
    let (due, id) = rest.split_first()?;
    let id = std::str::from_utf8(id).ok()?.to_owned();
    Some(Timer { at: i64::from_be_bytes(*at), due: *DUES.get(usize::from(*due))?, id })
}

/// Where the timers end that are due at a time.
fn after(now: Timestamp) -> [u8; 8] {
    now.0.saturating_add(1).max(0).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_read_as_they_were_written_and_lie_in_the_order_of_time() {
        let keys = [(0, Due::Forget, "z"), (1, Due::Begin, "b"), (255, Due::Expire, "a"), (256, Due::Begin, "")];
        let written: Vec<Vec<u8>> = keys.iter().map(|(at, due, id)| encode(*at, *due, id)).collect();
        assert!(written.is_sorted());
        for ((at, due, id), key) in keys.iter().zip(&written) {
            assert_eq!(decode(key), Some(Timer { at: *at, due: *due, id: (*id).to_owned() }));
            assert!(key[..] < after(Timestamp(*at))[..] && key[..] >= after(Timestamp(*at - 1))[..]);
        }
        assert_eq!(decode(b"short"), None);
        assert_eq!(decode(&encode(1, Due::Begin, "x")[..8]), None);
    }

    #[test]
    fn what_was_due_before_the_epoch_is_due_at_once() {
        assert!(encode(i64::MIN, Due::Begin, "x")[..] < after(Timestamp(0))[..]);
        assert_eq!(after(Timestamp(i64::MAX)), i64::MAX.to_be_bytes());
    }
}
