//! The thread on which the sockets of one stream thread's producer or fetcher are served, with a tokio runtime of its own.

use std::future::Future;
use std::io;

/// Starts it. `over` is called at its end, however it comes to that.
///
/// # Errors
/// The system gives no thread or no runtime.
pub(super) fn start<F: Future<Output = ()>>(
    name: &str,
    serve: impl FnOnce() -> F + Send + 'static,
    over: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(name.to_owned());
    let run = move || {
        let _over = Over(Some(over));
        runtime.block_on(serve());
        // Connections say goodbye by themselves; nobody waits for that.
        runtime.shutdown_background();
    };
    thread.spawn(run).map(drop)
}

/// A panic is an end, too.
struct Over<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for Over<F> {
    fn drop(&mut self) {
        if let Some(over) = self.0.take() {
            over();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn the_end_is_told_also_of_a_thread_that_panics() {
        for panics in [false, true] {
            let (told, end) = mpsc::channel();
            let serve = move || async move { assert!(!panics, "on purpose") };
            super::start("ends", serve, move || told.send(()).unwrap()).unwrap();
            end.recv_timeout(Duration::from_secs(10)).unwrap();
        }
    }
}
