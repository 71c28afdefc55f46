//! Times at which something is to happen to a task, in their order.
//!
//! A timer is a key of a store: eight bytes of its time, big-endian, so that the store's order is the order of time; what is to
//! happen; the task. The changelog brings it back after a loss, like anything else in a store.

use headrace::record::Timestamp;

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

/// The key of a timer.
pub fn encode(at: i64, due: Due, id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(HEAD + id.len());
    // What is due before the epoch is due now.
    key.extend(at.max(0).to_be_bytes());
    key.push(due as u8);
    key.extend(id.as_bytes());
    key
}

/// What a key says; nothing if it is none of a timer.
pub fn decode(key: &[u8]) -> Option<(Timestamp, Due, &str)> {
    let (at, rest) = key.split_first_chunk()?;
    let (due, id) = rest.split_first()?;
    Some((Timestamp(i64::from_be_bytes(*at)), *DUES.get(usize::from(*due))?, std::str::from_utf8(id).ok()?))
}

/// Where the timers end that are due at a time.
pub fn after(now: Timestamp) -> [u8; 8] {
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
            assert_eq!(decode(key), Some((Timestamp(*at), *due, *id)));
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
