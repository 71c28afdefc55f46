//! A load: what is produced on a thread of its own, until it is told to stop.

use std::sync::Arc;
use std::thread::JoinHandle;

use chaos::Result;
use chaos::pause::Stop;

/// See the module's documentation.
pub(crate) struct Load {
    stop: Arc<Stop>,
    thread: JoinHandle<Result<()>>,
}

impl Load {
    /// Begins; `produce` ends when it is stopped.
    pub(crate) fn start(produce: impl FnOnce(&Stop) -> Result<()> + Send + 'static) -> Self {
        let stop = Arc::<Stop>::default();
        let stopped = Arc::clone(&stop);
        Load { stop, thread: std::thread::spawn(move || produce(&stopped)) }
    }

    /// Ends; gives what went wrong meanwhile.
    pub(crate) fn stop(self) -> Result<()> {
        self.stop.stop();
        self.thread.join().map_err(|_| "the load panicked")?
    }
}
