//! Trivial tasks: what the client itself costs. 4 partitions, 100-byte values, batches as Java's producers make them.
//!
//! `RECORDS`, `WARM_UP` and `RUNS` make it quicker; `ONLY=ours` runs one arm and writes nothing.

use serde_json::{Value, json};

use super::member::Arm;
use super::session::Session;
use crate::Failure;
use crate::counting::number;
use crate::measure::Run;
use crate::report;

const RECORDS: u64 = 1_000_000;
/// Half of the peer's first seconds go to its compiler.
const WARM_UP: u64 = 500_000;
const RUNS: u64 = 3;
const VALUE_BYTES: usize = 100;

/// What the peer was fastest with, with one member and with several; one member's default is far behind.
const PEERS: [Arm; 2] = [
    Arm {
        name: "peer: one member, polls of 8,000",
        is_peer: true,
        members: 1,
        prefetch: 8_000,
        mode: "batch_optimized",
        concurrency: 0,
    },
    Arm {
        name: "peer: four members, polls of 2,000",
        is_peer: true,
        members: 4,
        prefetch: 2_000,
        mode: "batch_optimized",
        concurrency: 0,
    },
];
const OURS: Arm = Arm {
    name: "ours: one member, a window of 8,000",
    is_peer: false,
    members: 1,
    prefetch: 8_000,
    mode: "batch_optimized",
    concurrency: 0,
};

pub(crate) fn run() -> Result<(), Failure> {
    let (records, warm_up, runs) = (number("RECORDS", RECORDS)?, number("WARM_UP", WARM_UP)?, number("RUNS", RUNS)?);
    let mut session = Session::start()?;
    let value = vec![b'v'; VALUE_BYTES];
    let arms = [&OURS, &PEERS[0], &PEERS[1]];
    let mut all: [Vec<Run>; 3] = Default::default();
    let only = std::env::var("ONLY").ok();
    for _ in 0..runs {
        for (arm, runs) in arms.iter().zip(&mut all) {
            if only.as_ref().is_some_and(|only| !arm.name.starts_with(only)) {
                continue;
            }
            let values = std::iter::repeat_n(value.clone(), usize::try_from(records + warm_up)?);
            let place = session.place(values)?;
            runs.push(session.measure(arm, &place, (warm_up, records))?.run);
        }
    }
    if only.is_some() {
        return Ok(());
    }
    let [ours, one, four] = &all;
    let best = if rate(one) >= rate(four) { 0 } else { 1 };
    let peer = &all[1 + best];
    let part = |arm: &Arm, runs: &[Run]| {
        let mut body = report::summary(runs);
        body.insert("how".into(), arm.describe());
        Value::Object(body)
    };
    report::write(
        "share-throughput",
        json!({
            "name": "share-throughput",
            "commit": report::commit(),
            "machine": report::machine(),
            "runs": runs,
            "ours": part(&OURS, ours),
            "peer": part(&PEERS[best], peer),
            "ratio_peer": report::ratio(ours, peer),
            "detail": {
                "records": records,
                "warm_up_records": warm_up,
                "value_bytes": VALUE_BYTES,
                "ratio_records_per_cpu_second": report::ratio_of(peer, ours, Run::cpu_seconds_per_million),
                "ratio_peer_rss": report::ratio_of(peer, ours, |run| run.peak_rss_bytes as f64),
                "peer_one_member": part(&PEERS[0], one),
                "peer_four_members": part(&PEERS[1], four),
            },
        }),
    )
}

fn rate(runs: &[Run]) -> f64 {
    runs.iter().map(Run::records_per_second).sum()
}
