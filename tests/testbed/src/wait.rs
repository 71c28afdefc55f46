//! Waiting for a condition with a deadline: the one place that sleeps.
//!
//! Tests never sleep for a fixed time: a fixed time is too short on a busy machine and too long on an idle one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// First pause between two looks; it doubles up to [`POLL_MAX`].
const POLL_MIN: Duration = Duration::from_millis(5);
/// Longest pause between two looks.
const POLL_MAX: Duration = Duration::from_millis(100);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes every wait of this process end with [`Error::Interrupted`], now and from now on (the binary's Ctrl-C).
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether [`interrupt`] was called.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Sleeps until [`interrupt`].
pub fn for_interrupt() {
    while !interrupted() {
        std::thread::sleep(POLL_MAX);
    }
}

/// Calls `look` until it returns `Ok`, and returns that value; `Err` is the reason why it is not so yet.
///
/// # Errors
/// [`Error::Timeout`] with the last reason once `deadline` has passed, [`Error::Interrupted`] after [`interrupt`].
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> std::result::Result<T, String>) -> Result<T> {
    let start = Instant::now();
    let mut pause = POLL_MIN;
    loop {
        if interrupted() {
            return Err(Error::Interrupted);
        }
        let last = match look() {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        let waited = start.elapsed();
        if waited >= deadline {
            return Err(Error::Timeout { what: what.to_owned(), waited, last });
        }
        std::thread::sleep(pause.min(deadline - waited));
        pause = (pause * 2).min(POLL_MAX);
    }
}
