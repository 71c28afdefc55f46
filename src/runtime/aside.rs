//! What may take as long as a broker hangs, done on a thread of its own while the stream thread keeps its group.
//!
//! Where the loop is simulated it is done at once, on the thread that asks: a thread more would have its own time.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use crate::clock::Instant;

use super::halt::Halt;
use super::options::Options;
use super::stream_thread::StreamThread;

/// Between two looks for the answer.
const LOOK: Duration = Duration::from_millis(20);

/// Asks; the answer comes by the channel, which closes without one if the question panics.
///
/// # Errors
/// The system gives no thread.
pub(super) fn ask<T: Send + 'static>(
    options: &Options,
    name: &str,
    question: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Receiver<T>> {
    let (answer, answered) = bounded(1);
    // Nobody may listen any more.
    let work = move || _ = answer.send(question());
    match &options.simulated {
        Some(_) => work(),
        None => _ = std::thread::Builder::new().name(name.to_owned()).spawn(work)?,
    }
    Ok(answered)
}

impl StreamThread {
    /// Waits for the answer; the input rests meanwhile. `None`: there will be none, or the deadline or the shutdown came first.
    pub(super) fn await_answer<T>(
        &mut self,
        answered: &Receiver<T>,
        deadline: Option<Instant>,
    ) -> Result<Option<T>, Halt> {
        self.rest()?;
        while !self.shutdown.is_cancelled() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            match answered.try_recv() {
                Ok(answer) => return Ok(Some(answer)),
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => self.keep_membership(LOOK)?,
            }
        }
        Ok(None)
    }
}
