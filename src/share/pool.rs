//! Works on what a consumer is handed, so many records at a time.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::consumer::ShareConsumer;
use super::delivery::Delivery;
use super::error::ShareError;
use super::pace::Pace;

/// How long a broker may take for the last acknowledgements.
const CLOSING: Duration = Duration::from_secs(30);

/// Runs tasks on deliveries, up to a number at the same time. A slow one holds up nobody: whenever one ends the next begins,
/// and the consumer's window is kept as small as that allows (what is in stock burns its lock).
///
/// ```no_run
/// # async fn run(cluster: headrace::wire::Settings) -> Result<(), Box<dyn std::error::Error>> {
/// use headrace::share::{Pool, ShareConsumer, ShareSettings};
///
/// let consumer = ShareConsumer::join(cluster, ShareSettings::new("resizers", ["images"]))?;
/// let stop = async { _ = tokio::signal::ctrl_c().await };
/// Pool::new(64).run(consumer, stop, |delivery| async move {
///     resize(&delivery).await;
///     delivery.accept();
/// }).await?;
/// # async fn resize(_: &headrace::share::Delivery) {}
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    concurrency: usize,
}

impl Pool {
    /// So many at the same time, at least one.
    pub fn new(concurrency: usize) -> Self {
        Pool { concurrency: concurrency.max(1) }
    }

    /// Works until `stop` is done; then ends what has been begun, and what has been fetched besides, and leaves the group.
    /// Dropped in between, it gives back what it holds.
    ///
    /// A task that ends without settling its delivery releases it, and so does one that panics, which is logged.
    ///
    /// # Errors
    /// The member can't go on; what was being worked on is cancelled, and goes back.
    pub async fn run<F, T>(
        self,
        mut consumer: ShareConsumer,
        stop: impl Future<Output = ()>,
        mut task: F,
    ) -> Result<(), ShareError>
    where
        F: FnMut(Delivery) -> T,
        T: Future<Output = ()> + Send + 'static,
    {
        let most = consumer.window().max(self.concurrency) - self.concurrency;
        let (mut running, mut pace) = (JoinSet::new(), Pace::new(Instant::now()));
        let (mut stop, mut stopped, mut dry) = (std::pin::pin!(stop), false, false);
        while !dry || !running.is_empty() {
            if !stopped {
                consumer.set_window(self.concurrency + pace.stock(most, Instant::now()));
            }
            let change = pace.changes().filter(|_| !stopped);
            tokio::select! {
                biased;
                () = &mut stop, if !stopped => {
                    stopped = true;
                    consumer.drain();
                }
                Some(ended) = running.join_next(), if !running.is_empty() => {
                    pace.ended();
                    if let Err(error) = ended {
                        tracing::error!(target: "headrace::share", %error, "a task has ended before its time; its record is released");
                    }
                }
                next = consumer.next(), if !dry && running.len() < self.concurrency => match next? {
                    Some(delivery) => _ = running.spawn(task(delivery)),
                    None => dry = true,
                },
                () = until(change), if change.is_some() => {}
            }
        }
        consumer.close(CLOSING).await;
        Ok(())
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
