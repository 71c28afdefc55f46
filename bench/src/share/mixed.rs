//! Slow tasks among quick ones: 5 % take 2 s, the rest 5 ms, 256 at a time in one process. A client that settles all before it
//! fetches again waits for the slowest of each lot. The time is from the first fetch to the last acknowledgement, for ours until the
//! broker has confirmed it.
//!
//! `RECORDS` and `RUNS` make it quicker; `ONLY=ours` runs one arm and writes nothing.

use serde_json::{Map, Value, json};

use super::member::{Arm, Figures};
use super::session::Session;
use crate::Failure;
use crate::counting::number;
use crate::measure::Run;
use crate::report;

const TASKS: u64 = 20_000;
const RUNS: u64 = 3;
const CONCURRENCY: u32 = 256;
const SLOW_MS: u64 = 2_000;
const QUICK_MS: u64 = 5;
const SLOW_PERCENT: u64 = 5;
const SEED: u64 = 932;
/// Of one task, filled up with blanks.
const VALUE_BYTES: usize = 100;

const OURS: Arm = Arm::ours(CONCURRENCY);
const PEERS: [Arm; 2] = [
    Arm::peer(CONCURRENCY),
    Arm {
        name: "peer: eight members, polls of 2,500",
        is_peer: true,
        members: 8,
        prefetch: 2_500,
        mode: "batch_optimized",
        concurrency: CONCURRENCY,
    },
];

const OWN: [&str; 8] = [
    "start_delay_p50_ms",
    "start_delay_p99_ms",
    "start_delay_max_ms",
    "ack_p50_ms",
    "ack_p99_ms",
    "latency_p50_ms",
    "latency_p99_ms",
    "latency_max_ms",
];

/// How long each task takes, in milliseconds; the slow ones are anywhere.
fn durations(tasks: u64) -> Vec<u64> {
    let slow = tasks * SLOW_PERCENT / 100;
    let mut durations: Vec<u64> = (0..tasks).map(|task| if task < slow { SLOW_MS } else { QUICK_MS }).collect();
    fastrand::Rng::with_seed(SEED).shuffle(&mut durations);
    durations
}

pub(crate) fn run() -> Result<(), Failure> {
    let (tasks, runs) = (number("RECORDS", TASKS)?, number("RUNS", RUNS)?);
    let durations = durations(tasks);
    let optimum = durations.iter().sum::<u64>() as f64 / 1e3 / f64::from(CONCURRENCY);
    let mut session = Session::start()?;
    let arms = [&OURS, &PEERS[0], &PEERS[1]];
    let mut all: [Vec<Figures>; 3] = Default::default();
    let only = std::env::var("ONLY").ok();
    for round in 0..runs {
        for (number, (arm, figures)) in arms.iter().zip(&mut all).enumerate() {
            if only.as_ref().is_some_and(|only| !arm.name.starts_with(only)) {
                continue;
            }
            // A minute each, and the same each time.
            if number == 1 && round > 0 {
                continue;
            }
            let place = session.place(durations.iter().map(|ms| format!("{ms:<VALUE_BYTES$}").into_bytes()))?;
            let measured = session.measure(arm, &place, (0, tasks))?;
            println!("{:<40} {}", "", measured.told);
            figures.push(measured);
        }
    }
    if only.is_some() {
        return Ok(());
    }
    let part = |arm: &Arm, figures: &[Figures]| {
        let mut body = summary(figures);
        body.insert("how".into(), arm.describe());
        Value::Object(body)
    };
    report::write(
        "share-mixed",
        json!({
            "name": "share-mixed",
            "commit": report::commit(),
            "machine": report::machine(),
            "runs": runs,
            "ours": part(&OURS, &all[0]),
            "peer": part(&PEERS[0], &all[1]),
            "detail": {
                "tasks": tasks,
                "concurrency": CONCURRENCY,
                "optimum_seconds": optimum,
                "peer_eight_members": part(&PEERS[1], &all[2]),
            },
        }),
    )
}

/// What was measured from outside, and what members say of themselves.
pub(super) fn summary(figures: &[Figures]) -> Map<String, Value> {
    let runs: Vec<Run> = figures.iter().map(|figures| figures.run).collect();
    let mut body = report::summary(&runs);
    let own = OWN.map(|name| (name, figures.iter().filter_map(|figures| figures.own(name)).collect()));
    body.extend(report::figures(own));
    body
}
