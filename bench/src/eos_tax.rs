//! What exactly-once costs: the count topology with it, and without it, on the same runtime.
//!
//! `RECORDS`, `WARM_UP` and `RUNS` make it quicker. How it is measured: see [`crate::counting`]. Latency is observed at
//! half of the rate that exactly-once has just reached, so both guarantees bear the same load; `LOAD` sets another, in records
//! per second, for a machine whose cores the load's own producer and reader take away.

use serde_json::{Map, Value, json};

use crate::Failure;
use crate::counting::{Arm, Latency, Session, Setting, end_to_end, number};
use crate::measure::Run;
use crate::report;

const RUNS: u64 = 3;

pub(crate) fn run() -> Result<(), Failure> {
    let runs = number("RUNS", RUNS)?;
    let mut session = Session::start(false)?;
    let (records, warm_up) = (session.records, session.warm_up);
    let main = Pair::measure(&mut session, "100ms", &Setting::STANDARD, runs)?;
    let short = Setting { commit_interval_ms: 20, ..Setting::STANDARD };
    let short = Pair::measure(&mut session, "20ms", &short, runs)?;
    let mut body = main.body();
    body.insert("name".into(), json!("eos-tax"));
    body.insert("commit".into(), json!(report::commit()));
    body.insert("machine".into(), json!(report::machine()));
    body.insert("runs".into(), json!(runs));
    body.insert("limit".into(), Value::Null);
    body.insert("ratio_limit".into(), Value::Null);
    body.insert(
        "detail".into(),
        json!({
            "records": records,
            "warm_up_records": warm_up,
            "commit_interval_ms": Setting::STANDARD.commit_interval_ms,
            "latency": "producer's timestamp until a committed reader has the output, at half of ours' rate",
            "commit-20ms": short.body(),
        }),
    );
    report::write("eos-tax", Value::Object(body))
}

/// Runs with and without exactly-once, interleaved, then the latency of each.
struct Pair {
    ours: Vec<Run>,
    peer: Vec<Run>,
    latencies: [Latency; 2],
}

impl Pair {
    fn measure(session: &mut Session, label: &str, setting: &Setting, runs: u64) -> Result<Self, Failure> {
        let without = Setting { exactly_once: false, ..*setting };
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            ours.push(session.measure(Arm::Ours, &format!("exactly-once {label}"), setting)?);
            peer.push(session.measure(Arm::Ours, &format!("at-least-once {label}"), &without)?);
        }
        let mut rates: Vec<f64> = ours.iter().map(Run::records_per_second).collect();
        rates.sort_by(f64::total_cmp);
        let half = number("LOAD", (rates[rates.len() / 2] / 2.0) as u64)? as f64;
        let latencies = [end_to_end(session, setting, half)?, end_to_end(session, &without, half)?];
        for (name, latency) in ["exactly-once", "at-least-once"].iter().zip(&latencies) {
            let Latency { p50_ms, p99_ms, records_per_second, .. } = latency;
            println!("       {name} {label}: p50 {p50_ms} ms, p99 {p99_ms} ms at {records_per_second:.0} records/s");
        }
        Ok(Pair { ours, peer, latencies })
    }

    fn body(&self) -> Map<String, Value> {
        let [with, without] = &self.latencies;
        let mut peer = summary(&self.peer, without);
        peer.insert("name".into(), json!("ours, at-least-once"));
        peer.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        let mut body = Map::new();
        body.insert("ours".into(), Value::Object(summary(&self.ours, with)));
        body.insert("peer".into(), Value::Object(peer));
        body.insert("ratio_peer".into(), report::ratio(&self.ours, &self.peer));
        body
    }
}

fn summary(runs: &[Run], latency: &Latency) -> Map<String, Value> {
    let mut summary = report::summary(runs);
    summary.insert("p50_ms".into(), json!(latency.p50_ms));
    summary.insert("p99_ms".into(), json!(latency.p99_ms));
    summary.insert("latency_samples".into(), json!(latency.samples));
    summary.insert("latency_records_per_second".into(), report::rounded(latency.records_per_second));
    summary
}
