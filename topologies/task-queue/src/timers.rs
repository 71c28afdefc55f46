//! What is to happen to a task when a time has come.

use headrace::processor::{Context, Fault};
use headrace::record::Timestamp;
use headrace::store;

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

/// Timers that are taken in one go. A go is not interrupted, and all partitions of a stream thread have theirs one after the other
/// before the next record is processed, of whatever queue it is: so it has to take as long as a turn of records, and not longer.
const AT_ONCE: usize = 100;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// When it was, in milliseconds since the epoch.
    pub at: i64,
    /// What is to happen.
    pub due: Due,
    /// To whom.
    pub id: String,
}

/// The timers of a partition.
#[derive(Debug, Clone)]
pub struct Timers(pub store::Timers);

impl Timers {
    /// Sets one, in milliseconds since the epoch.
    ///
    /// # Errors
    /// The store failed.
    pub fn set<K, V>(&self, at: i64, due: Due, id: &str, out: &mut Context<'_, K, V>) -> Result<(), Fault> {
        out.timers(&self.0).set(Timestamp(at), &encode(due, id))
    }

    /// Takes one away that is not due yet.
    ///
    /// # Errors
    /// The store failed.
    pub fn cancel<K, V>(&self, at: i64, due: Due, id: &str, out: &mut Context<'_, K, V>) -> Result<(), Fault> {
        out.timers(&self.0).cancel(Timestamp(at), &encode(due, id))
    }

    /// Takes those that are due by now, in the order of their times; what is left is for the next look.
    ///
    /// # Errors
    /// The store failed.
    pub fn take<K, V>(&self, out: &mut Context<'_, K, V>) -> Result<Vec<Timer>, Fault> {
        Ok(out.timers(&self.0).take(AT_ONCE)?.iter().filter_map(decode).collect())
    }
}

fn encode(due: Due, id: &str) -> Vec<u8> {
    let mut of = Vec::with_capacity(1 + id.len());
    of.push(due as u8);
    of.extend(id.as_bytes());
    of
}

/// What a timer says; nothing if it is none of a task.
fn decode(timer: &store::Timer) -> Option<Timer> {
    let (due, id) = timer.of.split_first()?;
    let id = std::str::from_utf8(id).ok()?.to_owned();
    Some(Timer { at: timer.at.0, due: *DUES.get(usize::from(*due))?, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_read_as_they_were_written() {
        for due in DUES {
            let timer = store::Timer { at: Timestamp(7), of: encode(due, "ä") };
            assert_eq!(decode(&timer), Some(Timer { at: 7, due, id: "ä".to_owned() }));
        }
        for of in [&b""[..], &[3, b'x'], &[0, 0xff]] {
            assert_eq!(decode(&store::Timer { at: Timestamp(7), of: of.to_vec() }), None);
        }
    }
}
