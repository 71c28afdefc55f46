//! A stateful count, exactly-once: records per second, CPU and memory, beside Kafka Streams and beside a bare copy: of each
//! record one copy and what a changelog takes (the limit), and the one copy alone.
//!
//! `RECORDS`, `WARM_UP`, `RUNS` and `DETAIL_RUNS` make it quicker; `ONLY=ours`, `peer` or `limit` runs one arm and writes
//! nothing, for work on that arm. How it is measured: see [`crate::counting`].

use serde_json::{Map, Value, json};

use crate::Failure;
use crate::counting::{Arm, KEYS, PARTITIONS, Session, Setting, describe_peer, number};
use crate::measure::Run;
use crate::report;

const RUNS: u64 = 3;
const DETAIL_RUNS: u64 = 1;
const ARMS: [Arm; 3] = [Arm::Ours, Arm::Peer, Arm::Limit];

/// Beside the standard setting. A further one, such as another producer, is one line.
const DETAIL: [(&str, Setting); 4] = [
    ("commit-20ms", Setting { commit_interval_ms: 20, ..Setting::STANDARD }),
    ("commit-10ms", Setting { commit_interval_ms: 10, ..Setting::STANDARD }),
    ("lz4", Setting { compression: "lz4", ..Setting::STANDARD }),
    ("librdkafka", Setting { ours: &[("PROCESSING__PRODUCER", "rdkafka")], ..Setting::STANDARD }),
];

pub(crate) fn run() -> Result<(), Failure> {
    let (runs, detail_runs) = (number("RUNS", RUNS)?, number("DETAIL_RUNS", DETAIL_RUNS)?);
    let mut session = Session::start(true)?;
    if let Ok(only) = std::env::var("ONLY") {
        return run_only(&mut session, &only, runs);
    }
    let (records, warm_up) = (session.records, session.warm_up);
    let main = Rounds::measure(&mut session, "commit-100ms", &Setting::STANDARD, runs)?;
    let mut detail = Map::new();
    detail.insert("records".into(), json!(records));
    detail.insert("warm_up_records".into(), json!(warm_up));
    detail.insert("record_bytes".into(), json!(count_topology::RECORD_BYTES));
    detail.insert("keys".into(), json!(KEYS));
    detail.insert("partitions".into(), json!(PARTITIONS));
    detail.insert("commit_interval_ms".into(), json!(Setting::STANDARD.commit_interval_ms));
    detail.insert("guarantee".into(), json!("exactly-once"));
    detail.insert("clock".into(), json!("committed positions, seen from outside, from the end of the warm-up on"));
    detail.insert("ratio_peer_cpu".into(), main.peer_to_ours(Run::cpu_seconds_per_million));
    detail.insert("ratio_peer_rss".into(), main.peer_to_ours(|run| run.peak_rss_bytes as f64));
    detail.insert("peer_settings".into(), describe_peer(&Setting::STANDARD).2);
    for (label, setting) in DETAIL {
        let rounds = Rounds::measure(&mut session, label, &setting, detail_runs)?;
        let mut body = rounds.body();
        body.insert("runs".into(), json!(detail_runs));
        detail.insert(label.into(), Value::Object(body));
    }
    let mut body = main.body();
    body.insert("name".into(), json!("stateful-count"));
    body.insert("commit".into(), json!(report::commit()));
    body.insert("machine".into(), json!(report::machine()));
    body.insert("runs".into(), json!(runs));
    body.insert("detail".into(), Value::Object(detail));
    report::write("stateful-count", Value::Object(body))
}

fn run_only(session: &mut Session, name: &str, runs: u64) -> Result<(), Failure> {
    let arm = ARMS.into_iter().find(|arm| arm.name() == name);
    let arm = arm.ok_or_else(|| format!("ONLY={name}: want ours, peer or limit"))?;
    for _ in 0..runs {
        session.measure(arm, "commit-100ms", &Setting::STANDARD)?;
    }
    Ok(())
}

/// Runs of all arms, interleaved.
struct Rounds {
    ours: Vec<Run>,
    peer: Vec<Run>,
    limit: Vec<Run>,
    /// The limit without what a changelog takes.
    copy: Vec<Run>,
}

impl Rounds {
    fn measure(session: &mut Session, label: &str, setting: &Setting, rounds: u64) -> Result<Self, Failure> {
        let mut measured = Rounds { ours: Vec::new(), peer: Vec::new(), limit: Vec::new(), copy: Vec::new() };
        let copy = Setting { limit_writes_changelog: false, ..*setting };
        for _ in 0..rounds {
            for arm in ARMS {
                let run = session.measure(arm, label, setting)?;
                match arm {
                    Arm::Ours => measured.ours.push(run),
                    Arm::Peer => measured.peer.push(run),
                    Arm::Limit => measured.limit.push(run),
                }
            }
            measured.copy.push(session.measure(Arm::Limit, &format!("{label}, one copy"), &copy)?);
        }
        Ok(measured)
    }

    fn peer_to_ours(&self, figure: impl Fn(&Run) -> f64) -> Value {
        report::ratio_of(&self.peer, &self.ours, figure)
    }

    /// The part of the result that every setting has.
    fn body(&self) -> Map<String, Value> {
        let (name, version, _) = describe_peer(&Setting::STANDARD);
        let mut peer = report::summary(&self.peer);
        peer.insert("name".into(), name);
        peer.insert("version".into(), version);
        let mut limit = report::summary(&self.limit);
        limit
            .insert("name".into(), json!("copy and changelog record in transactions by the native producer, no store"));
        let mut copy = report::summary(&self.copy);
        copy.insert("name".into(), json!("copy in transactions by the native producer, no changelog, no store"));
        let mut body = Map::new();
        body.insert("ours".into(), Value::Object(report::summary(&self.ours)));
        body.insert("peer".into(), Value::Object(peer));
        body.insert("limit".into(), Value::Object(limit));
        body.insert("copy".into(), Value::Object(copy));
        body.insert("ratio_peer".into(), report::ratio(&self.ours, &self.peer));
        body.insert("ratio_limit".into(), report::ratio(&self.ours, &self.limit));
        body.insert("ratio_copy".into(), report::ratio(&self.ours, &self.copy));
        body
    }
}
