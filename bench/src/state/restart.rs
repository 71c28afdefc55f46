//! A large state, a kill −9 under load, and how long it takes until the first new record is committed.
//!
//! ```text
//!  start ─▶ caught up ─▶ load ─▶ kill −9 ─▶ positions settle ─▶ start ─▶ first position beyond them     the load goes on
//!                                   └─── seconds_from_kill ───────┴──── seconds ─────┘
//! ```
//!
//! With exactly-once, Kafka Streams' state over a kill is worth no more than its last clean stop: it restores what came since.
//! So nobody is ever stopped cleanly here: each run begins with what a kill has left, as a process that has run for long.
//! `RECORDS` (keys), `RUNS`, `RATE` (events a second) and `ONLY` make it quicker; with `ONLY` nothing is written.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::contents::Contents;
use super::feed::{Counts, loaded};
use super::instance::{Instance, their_properties};
use super::place::{Place, Shape};
use super::stage::{Stage, named, or_null};
use crate::Failure;
use crate::counting::{Arm, Setting, number};
use crate::report;

const KEYS: u64 = 5_000_000;
const RUNS: u64 = 3;
/// Events a second: both arms keep up with it easily.
const RATE: u64 = 10_000;
const SHAPE: Shape = Shape { partitions: 4, stores: 1 };
/// How long it is under load, caught up, before it is killed.
const LOADED: Duration = Duration::from_secs(4);
const INSTANCE: &str = "one";

/// One kill.
#[derive(Debug, Clone, Copy)]
struct Restart {
    seconds: f64,
    seconds_from_kill: f64,
    replayed: u64,
    cpu_seconds: f64,
    peak_rss_bytes: u64,
}

/// What an arm has gone through.
struct Life {
    counts: Counts,
    fed: u64,
    restarts: Vec<Restart>,
}

pub(crate) fn run() -> Result<(), Failure> {
    let runs = number("RUNS", RUNS)?;
    let contents = Contents { keys: u32::try_from(number("RECORDS", KEYS)?)? };
    let rate = number("RATE", RATE)?;
    let stage = Stage::start(contents, SHAPE)?;
    let begun = |_: &Place| Life { counts: loaded(contents), fed: 0, restarts: Vec::new() };
    let mut lives: Vec<Life> = stage.places.iter().map(begun).collect();
    for run in 0..runs {
        for (place, life) in stage.places.iter().zip(&mut lives) {
            restart(&stage, place, life, rate, run).map_err(|error| format!("{}: {error}", place.arm.name()))?;
        }
    }
    for (place, life) in stage.places.iter().zip(&lives) {
        stage.verify(place, &life.counts)?;
    }
    let of = |arm: Arm| stage.places.iter().zip(&lives).find(|(place, _)| place.arm == arm).map(|(_, life)| life);
    let (Some(ours), Some(peer)) = (of(Arm::Ours), of(Arm::Peer)) else { return Ok(()) };
    let interval = Setting::STANDARD.commit_interval_ms;
    let mut body = stage.body("restart", runs, SHAPE);
    let ratios = peer.restarts.iter().zip(&ours.restarts).map(|(peer, ours)| peer.seconds / ours.seconds).collect();
    body.insert("ratio_peer".into(), report::middle(ratios));
    body.insert("ours".into(), or_null(figures(&ours.restarts)));
    body.insert("peer".into(), or_null(named(figures(&peer.restarts))));
    body["detail"]["events_per_second"] = json!(rate);
    body["detail"]["commit_interval_ms"] = json!(interval);
    body["detail"]["records_per_commit_interval"] = json!(rate * interval / 1000);
    body["detail"]["clock"] = json!("committed positions, seen from outside, from the start of the process on");
    body["detail"]["peer_settings"] = json!(their_properties(INSTANCE, &[]).replace('\n', " "));
    report::write("restart", Value::Object(body))
}

fn restart(stage: &Stage, place: &Place, life: &mut Life, rate: u64, run: u64) -> Result<(), Failure> {
    let means = stage.means(&[], &[])?;
    let observer = stage.observer(place)?;
    let feed = stage.feed(place, rate, std::mem::take(&mut life.counts), run)?;
    let mut first = Instance::start(&means, place, INSTANCE)?;
    let loaded = Instant::now() + LOADED;
    // At work, and then caught up with what was fed until then; under load for a while.
    observer.wait(life.fed + 1, &mut first.running, stage.patience)?;
    while Instant::now() < loaded {
        observer.wait(life.fed + feed.fed(), &mut first.running, stage.patience)?;
    }
    observer.wait(life.fed + feed.fed(), &mut first.running, stage.patience)?;
    let killed = Instant::now();
    drop(first);
    let settled = stage.settled(&observer)?;
    let mut second = Instance::start(&means, place, INSTANCE)?;
    let sight = observer.wait(settled + 1, &mut second.running, stage.patience)?;
    let (cpu_seconds, peak_rss_bytes) = second.used()?;
    let restart = Restart {
        seconds: (sight.at - second.started).as_secs_f64(),
        seconds_from_kill: (sight.at - killed).as_secs_f64(),
        replayed: second.restored().1,
        cpu_seconds,
        peak_rss_bytes,
    };
    let (fed, counts) = feed.stop()?;
    (life.fed, life.counts) = (life.fed + fed, counts);
    observer.wait(life.fed, &mut second.running, stage.patience)?;
    drop(second);
    stage.settled(&observer)?;
    let Restart { seconds, seconds_from_kill, replayed, .. } = restart;
    let name = place.arm.name();
    println!(
        "{name:>6} {seconds:>7.2} s from the start, {seconds_from_kill:>7.2} s from the kill, {replayed:>8} replayed"
    );
    life.restarts.push(restart);
    Ok(())
}

fn figures(restarts: &[Restart]) -> Map<String, Value> {
    let all = |figure: fn(&Restart) -> f64| restarts.iter().map(figure).collect::<Vec<f64>>();
    report::figures([
        ("seconds", all(|restart| restart.seconds)),
        ("seconds_from_kill", all(|restart| restart.seconds_from_kill)),
        ("records_replayed", all(|restart| restart.replayed as f64)),
        ("cpu_seconds", all(|restart| restart.cpu_seconds)),
        ("peak_rss_bytes", all(|restart| restart.peak_rss_bytes as f64)),
    ])
}
