//! Works on what consumers are handed, so many records at a time.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::Stream;
use tokio::task::{Id, JoinSet};

use super::consumer::ShareConsumer;
use super::delivery::Delivery;
use super::error::ShareError;
use super::gate::Gate;
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
pub struct Pool {
    pub(super) concurrency: usize,
    pub(super) bounds: Option<Bounds>,
    pub(super) hold: Option<Ask>,
}

/// How many records may be under way, from time to time.
pub(super) type Bounds = Pin<Box<dyn Stream<Item = usize> + Send>>;
/// Waits until a record may be begun.
pub(super) type Ask = Arc<dyn Fn() -> Asked + Send + Sync>;
pub(super) type Asked = Pin<Box<dyn Future<Output = ()> + Send>>;

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounded = self.bounds.is_some();
        f.debug_struct("Pool").field("concurrency", &self.concurrency).field("bounded", &bounded).finish()
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
        Pool { concurrency: concurrency.max(1), bounds: None, hold: None }
    }

    /// Begins, and fetches, no more than the last number that came of `bounds`, and nothing before there is one. None is had in
    /// stock.
    #[must_use]
    pub fn bounded(mut self, bounds: impl Stream<Item = usize> + Send + 'static) -> Self {
        self.bounds = Some(Box::pin(bounds));
        self
    }

    /// Begins, and fetches, nothing while a future of `hold` waits; one is asked for before each record is begun. What has been
    /// fetched by then is kept, and renewed: given back it would count as delivered.
    #[must_use]
    pub fn holding(mut self, hold: impl Fn() -> Asked + Send + Sync + 'static) -> Self {
        self.hold = Some(Arc::new(hold));
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
        mut self,
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
        let mut gate = Gate::new(&mut self);
        loop {
            while supplies.iter().any(|supply| supply.next.is_some())
                && gate.room(running.len()) > 0
                && let Some((at, delivery)) = next(&mut supplies, &mut turns)
            {
                whose.insert(running.spawn(task(delivery)).id(), at);
            }
            if stopped && gate.keeps_out() {
                // Nobody is to begin with these any more; dropped, they are released.
                supplies.iter_mut().for_each(|supply| supply.next = None);
            }
            if running.is_empty() && supplies.iter().all(|supply| supply.dry) {
                break;
            }
            let (now, free) = (Instant::now(), gate.wishes(running.len()));
            let in_stock = !gate.keeps_out();
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
                () = gate.changes(), if !stopped => {}
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
