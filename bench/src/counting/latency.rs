//! From the producer's timestamp until a committed reader has the output, at a given load.
//!
//! Load and reader are native clients: librdkafka's took more than half of two cores at a few hundred thousand records a
//! second, and what was observed was their queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use count_topology::Events;
use hdrhistogram::Histogram;
use headrace::position::{Offset, Partition, TopicPartition};
use headrace::record::{Headers, Timestamp};
use headrace::wire::Settings;
use headrace::wire::fetch::{Event, Fetcher, FetcherSettings};
use headrace::wire::producer::{Outgoing, Producer, ProducerSettings};

use super::arm::{Arm, Setting};
use super::session::Session;
use super::{KEYS, PARTITIONS};
use crate::Failure;

/// Load before anything is observed.
const WARM_UP: Duration = Duration::from_secs(5);
/// Load that is observed.
const OBSERVED: Duration = Duration::from_secs(10);
/// Between two bursts of the load.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// For the last outputs to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the broker may hold back a fetch: it answers as soon as there is something.
const FETCH_WAIT: Duration = Duration::from_millis(10);

static NO_HEADERS: Headers = Headers::new();

/// What was observed. Timestamps are whole milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) p50_ms: u64,
    pub(crate) p99_ms: u64,
    pub(crate) samples: u64,
    /// The load as it was, which is less than asked for if the machine could not.
    pub(crate) records_per_second: f64,
}

/// Puts a load on ours and observes each output.
pub(crate) fn end_to_end(session: &mut Session, setting: &Setting, rate: f64) -> Result<Latency, Failure> {
    let place = session.place(Arm::Ours, Some("events"))?;
    let servers = session.bed().kafka()?.bootstrap_servers().to_owned();
    let mut running = session.run(Arm::Ours, &place, setting)?;
    let shared =
        Shared { seen: AtomicU64::new(0), observe_from: AtomicI64::new(i64::MAX), stop: AtomicBool::new(false) };
    let shared = Arc::new(shared);
    let reader = reader(&servers, &place.counts)?;
    let reading = {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || read(&reader, &shared).map_err(|error| error.to_string()))
    };
    let loaded = load(&servers, &place.events, rate, &shared);
    running.check()?;
    shared.stop.store(true, Ordering::Release);
    let histogram = reading.join().map_err(|_| "the reader panicked")??;
    let (observed, records_per_second) = loaded?;
    if histogram.len() != observed {
        return Err(format!("{} outputs of {observed} records", histogram.len()).into());
    }
    drop(running);
    session.clear(&place)?;
    let value = |quantile| histogram.value_at_quantile(quantile);
    Ok(Latency { p50_ms: value(0.5), p99_ms: value(0.99), samples: histogram.len(), records_per_second })
}

struct Shared {
    /// Outputs that were read.
    seen: AtomicU64,
    /// Records with this timestamp or a later one are observed.
    observe_from: AtomicI64,
    /// No more records are sent.
    stop: AtomicBool,
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The load's producer: at-least-once, each record as soon as it is there.
pub(super) struct Load {
    producer: Producer,
    topic: String,
    events: Events,
}

impl Load {
    pub(super) fn new(servers: &str, topic: &str) -> Result<Self, Failure> {
        let settings = ProducerSettings { linger: TICK, ..ProducerSettings::new(None) };
        let mut producer = Producer::start(&Settings::new(servers, [])?, settings)?;
        producer.initialise(Instant::now() + PATIENCE)?;
        Ok(Load { producer, topic: topic.to_owned(), events: Events::new(KEYS) })
    }

    /// Sends the next record; gives the number of its key.
    pub(super) fn send(&mut self, timestamp: i64) -> Result<u32, Failure> {
        let key = self.events.advance();
        self.producer.append(&Outgoing {
            topic: &self.topic,
            partition: None,
            key: Some(self.events.key()),
            value: Some(self.events.value()),
            timestamp: Timestamp(timestamp),
            headers: &NO_HEADERS,
            named: false,
            slot: None,
        })?;
        Ok(key)
    }

    pub(super) fn serve(&mut self, wait: Duration) -> Result<(), Failure> {
        Ok(self.producer.serve(wait)?)
    }

    /// Waits until all is acknowledged.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.producer.seal(&[], None)?;
        let deadline = Instant::now() + PATIENCE;
        while self.producer.outcome(TICK)?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("the load is not acknowledged within {PATIENCE:?}").into());
            }
        }
        Ok(())
    }
}

/// Sends evenly; gives the number of records to be observed, and their rate.
fn load(servers: &str, topic: &str, rate: f64, shared: &Shared) -> Result<(u64, f64), Failure> {
    let mut load = Load::new(servers, topic)?;
    // The load begins when ours is at work: what piles up while it starts would be observed for a long time.
    load.send(now_ms())?;
    load.flush()?;
    let deadline = Instant::now() + PATIENCE;
    while shared.seen.load(Ordering::Acquire) == 0 {
        if Instant::now() > deadline {
            return Err(format!("no output within {PATIENCE:?}").into());
        }
        std::thread::sleep(TICK);
    }
    let (start, mut sent, mut observed) = (Instant::now(), 0_u64, 0);
    let mut observing = None;
    while start.elapsed() < WARM_UP + OBSERVED {
        if observing.is_none() && start.elapsed() >= WARM_UP {
            // A millisecond of its own, so that no record before it carries the same.
            std::thread::sleep(2 * TICK);
            shared.observe_from.store(now_ms(), Ordering::Release);
            observing = Some(Instant::now());
        }
        let due = (start.elapsed().as_secs_f64() * rate) as u64;
        let timestamp = now_ms();
        while sent < due {
            load.send(timestamp)?;
            sent += 1;
            observed += u64::from(observing.is_some());
        }
        load.serve(Duration::ZERO)?;
        std::thread::sleep(TICK);
    }
    let elapsed = observing.map_or(OBSERVED, |since| since.elapsed());
    load.flush()?;
    Ok((observed, observed as f64 / elapsed.as_secs_f64()))
}

/// A committed reader of all of a topic.
pub(crate) fn reader(servers: &str, topic: &str) -> Result<Fetcher, Failure> {
    let settings = FetcherSettings { max_wait: FETCH_WAIT, ..FetcherSettings::default() };
    let reader = Fetcher::start(&Settings::new(servers, [])?, settings)?;
    for partition in 0..PARTITIONS {
        reader.assign(&TopicPartition { topic: topic.into(), partition: Partition(partition) }, Offset(0));
    }
    Ok(reader)
}

/// Reads until the load has ended and nothing has come for a while.
fn read(reader: &Fetcher, shared: &Shared) -> Result<Histogram<u32>, Failure> {
    let mut histogram = Histogram::<u32>::new(3)?;
    let mut last = Instant::now();
    loop {
        match reader.poll(FETCH_WAIT) {
            Event::Records(mut portion) => {
                last = Instant::now();
                let (now, observe_from) = (now_ms(), shared.observe_from.load(Ordering::Acquire));
                let mut seen = 0;
                while let Some(record) = portion.next_record() {
                    let timestamp = record?.timestamp.0;
                    seen += 1;
                    if timestamp >= observe_from {
                        histogram.record(u64::try_from(now - timestamp).unwrap_or(0))?;
                    }
                }
                shared.seen.fetch_add(seen, Ordering::Release);
            }
            Event::End { .. } | Event::Idle => {}
            other => return Err(format!("{other:?}").into()),
        }
        if shared.stop.load(Ordering::Acquire) && last.elapsed() > Duration::from_secs(3) {
            return Ok(histogram);
        }
    }
}
