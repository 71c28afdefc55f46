//! Pauses that a run makes on purpose, such as those between two kills; they end early when the run does.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Something that can be stopped while it pauses.
#[derive(Debug, Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    /// Ends all pauses, now and from now on.
    pub fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pauses so long, but not beyond the stop; says whether it goes on.
    pub fn pause(&self, length: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(stopped, length, |stopped| !*stopped);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
