//! Calls into librdkafka that are under way, so that one which never returns is found (rule R-12).
//!
//! `send_offsets_to_transaction` reads its time-out nowhere, and can wait for ever once its coordinator is gone
//! (librdkafka#5456, #5511). A blocked C call can't be cancelled; somebody else has to see that it does not come back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct Open {
    next: u64,
    calls: BTreeMap<u64, (&'static str, Instant)>,
}

/// The calls of one process that are under way; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Open>>);

impl Calls {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins; it ends when the guard is dropped.
    pub(crate) fn enter(&self, call: &'static str) -> Entered {
        let mut open = self.lock();
        let number = open.next;
        open.next += 1;
        open.calls.insert(number, (call, Instant::now()));
        Entered { calls: self.clone(), number }
    }

    /// The call that has been under way for longest, and for how long.
    pub fn longest(&self) -> Option<(&'static str, Duration)> {
        // They are numbered as they begin.
        self.lock().calls.values().next().map(|(call, since)| (*call, since.elapsed()))
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(crate) struct Entered {
    calls: Calls,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.calls.lock().calls.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r12_the_longest_call_is_the_oldest_that_has_not_returned() {
        let calls = Calls::default();
        assert_eq!(calls.longest(), None);
        let offsets = calls.enter("offsets");
        let commit = calls.clone().enter("commit");
        assert_eq!(calls.longest().map(|(call, _)| call), Some("offsets"));
        drop(offsets);
        let (call, first) = calls.longest().expect("a call");
        assert_eq!(call, "commit");
        assert!(calls.longest().expect("a call").1 >= first);
        drop(commit);
        assert_eq!(calls.longest(), None);
    }
}
