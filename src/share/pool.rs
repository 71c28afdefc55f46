//! Works on what consumers are handed, so many records at a time.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinSet};

use super::consumer::ShareConsumer;
use super::delivery::Delivery;
use super::error::ShareError;
use super::pace::Pace;
use super::turns::Turns;

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
#[derive(Clone)]
pub struct Pool {
    concurrency: usize,
    admit: Option<Admit>,
}

/// Waits until another record may be begun.
type Admit = Arc<dyn Fn() -> Admitted + Send + Sync>;
type Admitted = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gated = self.admit.is_some();
        f.debug_struct("Pool").field("concurrency", &self.concurrency).field("gated", &gated).finish()
    }
}

/// One of the consumers.
struct Supply {
    consumer: ShareConsumer,
    /// Most that it may have in stock.
    most: usize,
    pace: Pace,
    running: usize,
    /// The next one to be worked on.
    next: Option<Delivery>,
    /// Nothing more comes.
    dry: bool,
}

impl Pool {
    /// So many at the same time, at least one.
    pub fn new(concurrency: usize) -> Self {
        Pool { concurrency: concurrency.max(1), admit: None }
    }

    /// Begins, and fetches, only what is asked for: a record for each future of `admit` that ends. None is had in stock.
    #[must_use]
    pub fn admitting(mut self, admit: impl Fn() -> Admitted + Send + Sync + 'static) -> Self {
        self.admit = Some(Arc::new(admit));
        self
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
        consumer: ShareConsumer,
        stop: impl Future<Output = ()>,
        task: F,
    ) -> Result<(), ShareError>
    where
        F: FnMut(Delivery) -> T,
        T: Future<Output = ()> + Send + 'static,
    {
        self.run_weighted(vec![(consumer, 1)], stop, task).await
    }

    /// The same with several consumers, each with its weight: while all of them have something, each gets its part of what is
    /// begun, so that none is starved, however much the others have. What one leaves goes to the others.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_weighted<F, T>(
        self,
        consumers: Vec<(ShareConsumer, u32)>,
        stop: impl Future<Output = ()>,
        mut task: F,
    ) -> Result<(), ShareError>
    where
        F: FnMut(Delivery) -> T,
        T: Future<Output = ()> + Send + 'static,
    {
        let mut turns = Turns::new(consumers.iter().map(|(_, weight)| *weight));
        let mut supplies: Vec<Supply> =
            consumers.into_iter().map(|(consumer, _)| self.supply(consumer, Instant::now())).collect();
        let (mut running, mut whose) = (JoinSet::new(), HashMap::<Id, usize>::new());
        let (mut stop, mut stopped) = (pin!(stop), false);
        let mut gate = Gate { admit: self.admit.clone(), waiting: None, admitted: 0 };
        loop {
            while gate.has_room(self.concurrency - running.len())
                && let Some((at, delivery)) = next(&mut supplies, &mut turns)
            {
                gate.admitted = gate.admitted.saturating_sub(1);
                whose.insert(running.spawn(task(delivery)).id(), at);
            }
            if stopped && self.admit.is_some() {
                // Nobody has asked for these; dropped, they are released.
                supplies.iter_mut().for_each(|supply| supply.next = None);
            }
            if running.is_empty() && supplies.iter().all(|supply| supply.dry) {
                break;
            }
            let (now, free) = (Instant::now(), gate.room(self.concurrency - running.len()));
            let in_stock = self.admit.is_none();
            supplies.iter_mut().filter(|_| !stopped).for_each(|supply| supply.widen(free, in_stock, now));
            let change = supplies.iter().filter_map(|supply| supply.pace.changes()).min().filter(|_| !stopped);
            tokio::select! {
                biased;
                () = &mut stop, if !stopped => {
                    stopped = true;
                    supplies.iter().for_each(|supply| supply.consumer.drain());
                }
                Some(ended) = running.join_next_with_id(), if !running.is_empty() => {
                    let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
                    if let Some(at) = whose.remove(&id) {
                        supplies[at].ended();
                    }
                    if let Err(error) = ended {
                        tracing::error!(target: "headrace::share", %error, "a task has ended before its time; its record is released");
                    }
                }
                () = gate.wait(), if !stopped && running.len() + gate.admitted < self.concurrency => {}
                arrived = arrive(&mut supplies) => arrived?,
                () = until(change), if change.is_some() => {}
            }
        }
        for supply in supplies {
            supply.consumer.close(CLOSING).await;
        }
        Ok(())
    }

    fn supply(&self, consumer: ShareConsumer, now: Instant) -> Supply {
        let most = consumer.window().max(self.concurrency) - self.concurrency;
        Supply { consumer, most, pace: Pace::new(now), running: 0, next: None, dry: false }
    }
}

impl Supply {
    /// Has it hold what is worked on, what could be begun now, and what is worth having in stock.
    fn widen(&mut self, free: usize, in_stock: bool, now: Instant) {
        let stock = self.pace.stock(self.most, now);
        self.consumer.set_window(self.running + free + if in_stock { stock } else { 0 });
    }

    fn ended(&mut self) {
        self.running -= 1;
        self.pace.ended();
    }
}

/// How many records may be begun beyond those that are worked on.
struct Gate {
    admit: Option<Admit>,
    waiting: Option<Admitted>,
    admitted: usize,
}

impl Gate {
    fn room(&self, free: usize) -> usize {
        if self.admit.is_some() { self.admitted.min(free) } else { free }
    }

    fn has_room(&self, free: usize) -> bool {
        self.room(free) > 0
    }

    /// Waits until one more is admitted; for ever where that is nobody's to say.
    async fn wait(&mut self) {
        let Some(admit) = &self.admit else { return std::future::pending().await };
        self.waiting.get_or_insert_with(|| admit()).await;
        self.waiting = None;
        self.admitted += 1;
    }
}

/// Whose turn it is of those that have something.
fn next(supplies: &mut [Supply], turns: &mut Turns) -> Option<(usize, Delivery)> {
    let at = turns.next(|at| supplies[at].next.is_some())?;
    let delivery = supplies[at].next.take()?;
    supplies[at].running += 1;
    Some((at, delivery))
}

/// Waits until one that had nothing has something, or has come to its end; for ever if there is none such.
async fn arrive(supplies: &mut [Supply]) -> Result<(), ShareError> {
    poll_fn(|context| {
        let mut arrived = false;
        for supply in supplies.iter_mut().filter(|supply| supply.next.is_none() && !supply.dry) {
            // Nothing is lost with a future that was not ready.
            if let Poll::Ready(next) = pin!(supply.consumer.next()).poll(context) {
                supply.next = next?;
                supply.dry = supply.next.is_none();
                arrived = true;
            }
        }
        if arrived { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
