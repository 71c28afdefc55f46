//! Measures what a user of the cache feels: from the commit in PostgreSQL to the new content in Redis.
//!
//! Twenty times a second, whatever happens, a row of `customers` is updated. The clock starts when the answer to the
//! COMMIT is here and stops when a look into Redis shows the new content. Looks are a millisecond apart (for one that
//! waits longer, a fiftieth of its age, so that an outage is not answered with a storm of looks). The rows are in the same
//! table and partitions as the load's. Probes do not wait for each other: those of the outage count in full.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use redis::aio::MultiplexedConnection;
use testbed::Testbed;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::Result;
use crate::database::{cache_key, connect};

/// Between two probes.
const PERIOD: Duration = Duration::from_millis(50);
/// Between two looks at a young probe.
const LOOK: Duration = Duration::from_millis(1);
/// Between two looks at an old one: its age divided by this.
const LOOKS_PER_AGE: u32 = 50;
/// Rows that are probed in turn, 50 seconds' worth; the load spares them.
const ROWS: i64 = 1000;
/// Key of the first one.
const FIRST: i64 = 9_007_199_254_740_993;
/// Probes that may wait at once, far above what an outage gathers.
const WAITING: usize = ROWS as usize;
/// Longest latency that the histogram tells apart, in microseconds.
const MAX_US: u64 = 600_000_000;
/// How long the last probes may take once the load is over.
const DRAIN: Duration = Duration::from_secs(60);

/// One update on its way.
struct Probe {
    committed: Instant,
    look_at: Instant,
    cache_key: String,
    /// The points that the row has now; they only grow.
    points: i64,
}

/// What the sampler has found.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// When each probe was committed, and how long it took, in microseconds.
    samples: Vec<(Instant, u64)>,
    /// Probes that never showed.
    pub(crate) missing: usize,
}

impl Latencies {
    /// Milliseconds at a quantile, of all probes outside `except`.
    pub(crate) fn ms(&self, quantile: f64, except: Option<(Instant, Instant)>) -> Result<f64> {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, MAX_US, 3)?;
        for (committed, us) in &self.samples {
            if except.is_none_or(|(from, to)| *committed < from || *committed > to) {
                histogram.saturating_record((*us).max(1));
            }
        }
        Ok(histogram.value_at_quantile(quantile) as f64 / 1000.0)
    }

    pub(crate) fn count(&self) -> usize {
        self.samples.len()
    }
}

/// A sampler that runs; dropping it ends it.
pub(crate) struct Sampler {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<Latencies>>,
}

impl Sampler {
    pub(crate) fn start(bed: &Testbed, runtime: &Runtime) -> Result<Sampler> {
        let (postgres, redis) = (bed.postgres()?.connection_string(), bed.redis()?.url().to_owned());
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(async move {
            let (probes, waiting) = mpsc::channel(WAITING);
            let redis = redis::Client::open(redis)?.get_multiplexed_async_connection().await?;
            let watch = tokio::spawn(watch(redis, waiting));
            // The sender goes with it, which tells the watcher that no more will come.
            update_rows(&postgres, probes, stopped).await?;
            watch.await?
        });
        Ok(Sampler { stop, task })
    }

    /// Ends it; waits until every probe has shown, up to a deadline.
    pub(crate) fn finish(self, runtime: &Runtime) -> Result<Latencies> {
        // If it has ended already, then with the error that comes next.
        _ = self.stop.send(());
        runtime.block_on(self.task)?
    }
}

async fn update_rows(postgres: &str, probes: mpsc::Sender<Probe>, mut stopped: oneshot::Receiver<()>) -> Result<()> {
    let client = connect(postgres).await?;
    let update = client.prepare("UPDATE customers SET points = $2 WHERE id = $1").await?;
    let mut clock = tokio::time::interval(PERIOD);
    for number in 0_i64.. {
        tokio::select! {
            _ = clock.tick() => {}
            _ = &mut stopped => break,
        }
        let (id, points) = (FIRST + number % ROWS, 1_000_000 + number);
        if client.execute(&update, &[&id, &points]).await? != 1 {
            return Err(format!("customer {id} is missing").into());
        }
        let committed = Instant::now();
        let probe = Probe { committed, look_at: committed, cache_key: cache_key("customers", &[id.into()]), points };
        if probes.send(probe).await.is_err() {
            return Ok(()); // the watcher has failed and says why
        }
    }
    Ok(())
}

async fn watch(mut redis: MultiplexedConnection, mut probes: mpsc::Receiver<Probe>) -> Result<Latencies> {
    let mut latencies = Latencies { samples: Vec::new(), missing: 0 };
    let mut waiting: Vec<Probe> = Vec::new();
    let mut ending: Option<Instant> = None;
    loop {
        let now = Instant::now();
        while ending.is_none() {
            match probes.try_recv() {
                Ok(probe) => waiting.push(probe),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => ending = Some(now),
            }
        }
        let over = ending.is_some_and(|since| since.elapsed() > DRAIN);
        if over || (ending.is_some() && waiting.is_empty()) {
            latencies.missing = waiting.len();
            return Ok(latencies);
        }
        look(&mut redis, &mut waiting, &mut latencies).await?;
        tokio::time::sleep_until((now + LOOK).into()).await;
    }
}

/// Looks at the probes whose time has come, in one round trip.
async fn look(redis: &mut MultiplexedConnection, waiting: &mut Vec<Probe>, found: &mut Latencies) -> Result<()> {
    let asked = Instant::now();
    let mut batch = redis::pipe();
    let (due, rest): (Vec<Probe>, Vec<Probe>) = waiting.drain(..).partition(|probe| probe.look_at <= asked);
    *waiting = rest;
    if due.is_empty() {
        return Ok(());
    }
    for probe in &due {
        batch.cmd("HGET").arg(&probe.cache_key).arg("d");
    }
    let contents: Vec<Option<String>> = batch.query_async(redis).await?;
    let now = Instant::now();
    for (mut probe, content) in due.into_iter().zip(contents) {
        let age = now - probe.committed;
        if content.as_deref().and_then(points).is_some_and(|points| points >= probe.points) {
            found.samples.push((probe.committed, u64::try_from(age.as_micros())?));
        } else {
            probe.look_at = now + (age / LOOKS_PER_AGE).max(LOOK);
            waiting.push(probe);
        }
    }
    Ok(())
}

/// The points in a customer's content.
fn points(content: &str) -> Option<i64> {
    let (_, rest) = content.split_once("\"points\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
