//! Questions to the cluster that may take long, asked on a thread of their own while the stream thread keeps its group.

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::halt::Halt;
use super::stream_thread::StreamThread;

/// Between two looks for the answer.
const LOOK: Duration = Duration::from_millis(20);

/// Asks; the answer comes by the channel, which closes without one if the question panics.
///
/// # Errors
/// The system gives no thread.
pub(super) fn ask<T: Send + 'static>(
    name: &str,
    question: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Receiver<T>> {
    let (answer, answered) = bounded(1);
    // Nobody may listen any more.
    std::thread::Builder::new().name(name.to_owned()).spawn(move || _ = answer.send(question()))?;
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
