//! How a process leaves whose threads may not all have ended.
//!
//! A thread that hangs in a call can't be ended. `exit` runs the destructors of C++'s static objects, RocksDB's locks among
//! them, under whoever still works with them, and the process aborts instead of telling why it ends. Nothing is lost by
//! leaving without them: what counts is in Kafka, and a kill has to be survived anyway.

use std::io::Write as _;

/// Ends the process, with the streams written out and nothing else.
pub(super) fn at_once(code: u8) -> ! {
    // Nothing to be done if they are closed.
    _ = std::io::stdout().flush();
    _ = std::io::stderr().flush();
    // SAFETY: it takes a number, and never returns.
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::_exit(i32::from(code))
    }
}
