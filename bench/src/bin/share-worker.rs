//! The member that the share benchmarks measure: trivial tasks, or such that take as long as their record says: its value is
//! a number of milliseconds, and after a blank, if that is of interest, when it was sent, in microseconds since 1970.
//!
//! Its own binary, so that its memory and CPU are its own. Prints a line when the warm-up is over, and its figures at the end.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use headrace::share::{AcquireMode, Delivery, Pool, ShareConsumer, ShareSettings};
use headrace::wire::Settings;
use tokio::sync::Notify;

type Failure = Box<dyn std::error::Error>;

/// What takes longer is told as this.
const LONGEST: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let run = || -> Result<(), Failure> {
        let mut runtime = match variable("THREADS")?.parse()? {
            0_usize => tokio::runtime::Builder::new_current_thread(),
            threads => {
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                runtime.worker_threads(threads);
                runtime
            }
        };
        runtime.enable_all().build()?.block_on(work())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("share-worker: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn work() -> Result<(), Failure> {
    let (group, topic) = (variable("GROUP")?, variable("TOPIC")?);
    let (warm_up, records): (u64, u64) = (variable("WARM_UP")?.parse()?, variable("RECORDS")?.parse()?);
    let concurrency: usize = variable("CONCURRENCY")?.parse()?;
    let settings = ShareSettings {
        window: variable("PREFETCH")?.parse()?,
        mode: match variable("MODE")?.as_str() {
            "record_limit" => AcquireMode::RecordLimit,
            _ => AcquireMode::BatchOptimized,
        },
        ..ShareSettings::new(group, [topic])
    };
    let consumer = ShareConsumer::join(Settings::new(&variable("SERVERS")?, [])?, settings)?;
    let figures = match concurrency {
        0 => trivial(consumer, warm_up, records).await?,
        concurrency => slow(consumer, concurrency, (warm_up, records)).await?,
    };
    println!("{figures}");
    // Until the benchmark has looked at what this process has used.
    _ = std::io::stdin().read(&mut [0])?;
    Ok(())
}

/// Accepts what comes as it comes.
async fn trivial(mut consumer: ShareConsumer, warm_up: u64, records: u64) -> Result<serde_json::Value, Failure> {
    let (mut accepted, mut begun) = (0, None);
    while accepted < warm_up + records {
        let Some(first) = consumer.next().await? else { return Err("the consumer has ended".into()) };
        begun.get_or_insert_with(Instant::now);
        first.accept();
        accepted += 1;
        for delivery in consumer.ready()? {
            delivery.accept();
            accepted += 1;
            if accepted == warm_up {
                println!("begin");
                begun = Some(Instant::now());
            }
        }
    }
    let begun = begun.unwrap_or_else(Instant::now);
    consumer.close(PATIENCE).await;
    Ok(serde_json::json!({ "accepted": accepted, "seconds": begun.elapsed().as_secs_f64() }))
}

/// What is measured of each task, in microseconds.
struct Measured {
    start_delay: Histogram<u64>,
    acknowledgement: Histogram<u64>,
    since_sent: Histogram<u64>,
    started: u64,
    /// The first one was fetched.
    begun: Option<Instant>,
    /// The broker has confirmed the last one.
    confirmed: Option<Instant>,
    ended: u64,
    lost: u64,
}

struct Board {
    measured: Mutex<Measured>,
    warm_up: u64,
    total: u64,
    all: Notify,
}

impl Board {
    fn note(&self, what: impl FnOnce(&mut Measured)) {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        what(&mut measured);
        if measured.ended + measured.lost >= self.total {
            self.all.notify_one();
        }
    }
}

/// Works on each record for as long as it says. Those of the warm-up are not measured, nor is the leaving, which takes as long as
/// the fetch that is on its way: the time ends when the broker has confirmed the last acknowledgement.
async fn slow(
    consumer: ShareConsumer,
    concurrency: usize,
    (warm_up, records): (u64, u64),
) -> Result<serde_json::Value, Failure> {
    let new = || Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 3);
    let measured = Measured {
        start_delay: new()?,
        acknowledgement: new()?,
        since_sent: new()?,
        started: 0,
        begun: None,
        confirmed: None,
        ended: 0,
        lost: 0,
    };
    let board =
        Arc::new(Board { measured: Mutex::new(measured), warm_up, total: warm_up + records, all: Notify::new() });
    println!("begin");
    let stop = Arc::clone(&board);
    let stop = async move { stop.all.notified().await };
    Pool::new(concurrency).run(consumer, stop, |delivery| one(delivery, Arc::clone(&board))).await?;
    let measured = board.measured.lock().unwrap_or_else(PoisonError::into_inner);
    let (Some(begun), Some(confirmed)) = (measured.begun, measured.confirmed) else {
        return Err("nothing has come".into());
    };
    let milliseconds = |histogram: &Histogram<u64>, part: f64| histogram.value_at_quantile(part) as f64 / 1e3;
    Ok(serde_json::json!({
        "accepted": measured.ended,
        "lost": measured.lost,
        "seconds": (confirmed - begun).as_secs_f64(),
        "start_delay_p50_ms": milliseconds(&measured.start_delay, 0.5),
        "start_delay_p99_ms": milliseconds(&measured.start_delay, 0.99),
        "start_delay_max_ms": milliseconds(&measured.start_delay, 1.0),
        "ack_p50_ms": milliseconds(&measured.acknowledgement, 0.5),
        "ack_p99_ms": milliseconds(&measured.acknowledgement, 0.99),
        "latency_p50_ms": milliseconds(&measured.since_sent, 0.5),
        "latency_p99_ms": milliseconds(&measured.since_sent, 0.99),
        "latency_max_ms": milliseconds(&measured.since_sent, 1.0),
    }))
}

async fn one(delivery: Delivery, board: Arc<Board>) {
    let (fetched, started) = (delivery.fetched(), Instant::now());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (takes, sent) = told(delivery.value.as_deref().unwrap_or_default());
    tokio::time::sleep(takes).await;
    let settled = Instant::now();
    let settling = delivery.accept();
    let warm_up = board.warm_up;
    board.note(|measured| {
        measured.started += 1;
        if measured.started <= warm_up {
            return;
        }
        measured.begun = Some(measured.begun.map_or(fetched, |begun| begun.min(fetched)));
        measured.start_delay.saturating_record((started - fetched).as_micros() as u64);
        if let Some(sent) = sent {
            measured.since_sent.saturating_record(now.saturating_sub(sent).as_micros() as u64);
        }
    });
    // The next task begins meanwhile.
    tokio::spawn(async move {
        let done = settling.await;
        board.note(|measured| match done {
            Ok(()) => {
                let confirmed = Instant::now();
                measured.acknowledgement.saturating_record((confirmed - settled).as_micros() as u64);
                measured.confirmed = Some(confirmed);
                measured.ended += 1;
            }
            Err(_) => measured.lost += 1,
        });
    });
}

/// How long a task takes, and when it was sent, since 1970.
fn told(value: &[u8]) -> (Duration, Option<Duration>) {
    let mut words = std::str::from_utf8(value).unwrap_or_default().split_whitespace().map(str::parse::<u64>);
    let mut next = || words.next()?.ok();
    (Duration::from_millis(next().unwrap_or(0)), next().map(Duration::from_micros))
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(format!("SHARE_{name}")).map_err(|_| format!("SHARE_{name} is not set").into())
}
