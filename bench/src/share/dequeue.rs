//! From the moment that a task is sent until work on it begins, at a steady rate: 1,000 tasks a second of 5 ms each, 64 at a
//! time.
//!
//! `RECORDS` and `RUNS` make it quicker; `ONLY=ours` runs one arm and writes nothing.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use super::member::{Arm, Figures};
use super::mixed::summary;
use super::session::Session;
use crate::Failure;
use crate::counting::number;
use crate::report;

const TASKS: u64 = 30_000;
/// Both arms have joined, and the peer's compiler has done its first part.
const WARM_UP: u64 = 10_000;
const RUNS: u64 = 3;
const PER_SECOND: f64 = 1_000.0;
const TASK_MS: u64 = 5;
const CONCURRENCY: u32 = 64;
const PATIENCE: Duration = Duration::from_secs(30);

const ARMS: [Arm; 2] = [Arm::ours(CONCURRENCY), Arm::peer(CONCURRENCY)];

pub(crate) fn run() -> Result<(), Failure> {
    let (tasks, warm_up, runs) = (number("RECORDS", TASKS)?, number("WARM_UP", WARM_UP)?, number("RUNS", RUNS)?);
    let mut session = Session::start()?;
    let only = std::env::var("ONLY").ok();
    let mut all: [Vec<Figures>; 2] = Default::default();
    for _ in 0..runs {
        for (arm, figures) in ARMS.iter().zip(&mut all) {
            if only.as_ref().is_some_and(|only| !arm.name.starts_with(only)) {
                continue;
            }
            let place = session.place(std::iter::empty())?;
            let servers = session.servers()?;
            let feed = || send(servers, &place.topic, warm_up + tasks);
            let measured = session.measure_fed(arm, &place, (warm_up, tasks), feed)?;
            println!("{:<40} {}", "", measured.told);
            figures.push(measured);
        }
    }
    if only.is_some() {
        return Ok(());
    }
    let part = |at: usize| {
        let mut body = summary(&all[at]);
        body.insert("how".into(), ARMS[at].describe());
        Value::Object(body)
    };
    report::write(
        "dequeue-latency",
        json!({
            "name": "dequeue-latency",
            "commit": report::commit(),
            "machine": report::machine(),
            "runs": runs,
            "ours": part(0),
            "peer": part(1),
            "detail": {
                "tasks": tasks,
                "warm_up_tasks": warm_up,
                "tasks_per_second": PER_SECOND,
                "task_ms": TASK_MS,
                "concurrency": CONCURRENCY,
            },
        }),
    )
}

/// Sends tasks evenly, each at once.
fn send(servers: &str, topic: &str, tasks: u64) -> Result<(), Failure> {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", servers).set("linger.ms", "0").create()?;
    let begun = Instant::now();
    for task in 0..tasks {
        let due = begun + Duration::from_secs_f64(task as f64 / PER_SECOND);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let micros = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        let value = format!("{TASK_MS} {micros}");
        producer.send(BaseRecord::<(), _>::to(topic).payload(&value)).map_err(|(error, _)| error)?;
        producer.poll(Duration::ZERO);
    }
    Ok(producer.flush(PATIENCE)?)
}
