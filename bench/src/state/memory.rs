//! Many tasks with several stores each under one number of memory, through restores and rebalances.
//!
//! ```text
//!  one: from an empty disk ─▶ caught up ───────────────────────────────────────▶ has all again, half of it from nothing ─▶ caught up
//!  two:                           joins, from an empty disk ─▶ caught up ─▶ leaves                              the load goes on
//! ```
//!
//! While the second has its half, the first's copies of it are deleted, so that it restores them from nothing when they come
//! back. The figure is the larger of both processes' peaks. `RECORDS` (keys of each store), `RUNS`, `RATE` and `ONLY` make it
//! quicker; with `ONLY` nothing is written.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::contents::Contents;
use super::feed::{Counts, Feed, loaded};
use super::instance::{Instance, their_properties};
use super::place::{Place, Shape};
use super::stage::{Stage, named, or_null};
use crate::Failure;
use crate::counting::{Arm, Observer, number};
use crate::report;

const KEYS: u64 = 1_000_000;
const RUNS: u64 = 1;
const RATE: u64 = 2_000;
const SHAPE: Shape = Shape { partitions: 64, stores: 4 };
/// What the process is told that it may take.
const BUDGET: u64 = 512 << 20;
/// Load between two events.
const LOADED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// Kafka Streams: tasks move at once. By default two at a time are warmed up, ten minutes each.
const THEIRS: [(&str, &str); 1] = [("acceptable.recovery.lag", "9223372036854775807")];

/// What one arm took.
#[derive(Debug, Clone, Copy)]
struct Life {
    peak_rss_bytes: u64,
    second_peak_rss_bytes: u64,
    cpu_seconds: f64,
    seconds: f64,
}

pub(crate) fn run() -> Result<(), Failure> {
    let runs = number("RUNS", RUNS)?;
    let contents = Contents { keys: u32::try_from(number("RECORDS", KEYS)?)? };
    let rate = number("RATE", RATE)?;
    let stage = Stage::start(contents, SHAPE)?;
    let mut lives: Vec<Vec<Life>> = stage.places.iter().map(|_| Vec::new()).collect();
    let mut fed: Vec<(u64, Counts)> = stage.places.iter().map(|_| (0, loaded(contents))).collect();
    for run in 0..runs {
        for ((place, lives), fed) in stage.places.iter().zip(&mut lives).zip(&mut fed) {
            let life = live(&stage, place, fed, rate, run);
            let life = life.map_err(|error| format!("{}: {error}", place.arm.name()))?;
            let (first, second) = (life.peak_rss_bytes >> 20, life.second_peak_rss_bytes >> 20);
            println!("{:>6} {first} MiB, the one that came and went {second} MiB", place.arm.name());
            lives.push(life);
        }
    }
    for (place, (_, counts)) in stage.places.iter().zip(&fed) {
        stage.verify(place, counts)?;
    }
    let of = |arm: Arm| stage.places.iter().zip(&lives).find(|(place, _)| place.arm == arm).map(|(_, life)| life);
    let (Some(ours), Some(peer)) = (of(Arm::Ours), of(Arm::Peer)) else { return Ok(()) };
    let mut body = stage.body("memory", runs, SHAPE);
    let peak = |life: &Life| life.peak_rss_bytes.max(life.second_peak_rss_bytes) as f64;
    let ratios = peer.iter().zip(ours).map(|(peer, ours)| peak(peer) / peak(ours)).collect();
    body.insert("ratio_peer".into(), report::middle(ratios));
    body.insert("ours".into(), or_null(figures(ours)));
    body.insert("peer".into(), or_null(named(figures(peer))));
    body["detail"]["budget_bytes"] = json!(BUDGET);
    let of_budget = ours.iter().map(|life| peak(life) / BUDGET as f64).collect();
    body["detail"]["ours_of_budget"] = report::middle(of_budget);
    body["detail"]["events_per_second"] = json!(rate);
    body["detail"]["peer_settings"] = json!(their_properties("one", &THEIRS).replace('\n', " "));
    report::write("memory", Value::Object(body))
}

/// Waits until all that was fed so far is committed.
fn catch_up(stage: &Stage, observer: &Observer, instance: &mut Instance, due: u64) -> Result<(), Failure> {
    observer.wait(due, &mut instance.running, stage.patience).map(drop)
}

fn live(stage: &Stage, place: &Place, fed: &mut (u64, Counts), rate: u64, run: u64) -> Result<Life, Failure> {
    for instance in ["one", "two"] {
        if place.state(instance).exists() {
            std::fs::remove_dir_all(place.state(instance))?;
        }
    }
    let budget = format!("{BUDGET} B");
    let ours = [("MEMORY__BUDGET", budget.as_str())];
    let means = stage.means(&ours, &THEIRS)?;
    let (observer, begun) = (stage.observer(place)?, Instant::now());
    let feed = stage.feed(place, rate, std::mem::take(&mut fed.1), run)?;
    let mut one = Instance::start(&means, place, "one")?;
    // A log has a line for each task of ours, and for each store of theirs.
    let each = if place.arm == Arm::Peer { usize::from(SHAPE.stores) } else { 1 };
    let all = usize::try_from(SHAPE.partitions)? * each;
    let step = |what: &str, one: &Instance| {
        let rss = one.used().map_or(0, |(_, rss)| rss >> 20);
        println!("{:>6} {:>4.0} s {what}: at most {rss} MiB so far", place.arm.name(), begun.elapsed().as_secs_f64());
    };
    stage.wait_restored(&mut one, all)?;
    step("has restored all", &one);
    catch_up(stage, &observer, &mut one, fed.0 + feed.fed())?;
    keep_loaded(stage, &observer, &mut one, fed.0, &feed)?;
    step("has caught up", &one);
    let mut two = Instance::start(&means, place, "two")?;
    stage.wait_restored(&mut two, all / 2)?;
    catch_up(stage, &observer, &mut one, fed.0 + feed.fed())?;
    keep_loaded(stage, &observer, &mut one, fed.0, &feed)?;
    step("has given half away", &one);
    forget(place)?;
    let second_peak_rss_bytes = two.used()?.1;
    two.stop()?;
    stage.wait_restored(&mut one, all + all / 2)?;
    catch_up(stage, &observer, &mut one, fed.0 + feed.fed())?;
    keep_loaded(stage, &observer, &mut one, fed.0, &feed)?;
    step("has half of it back", &one);
    let (more, counts) = feed.stop()?;
    *fed = (fed.0 + more, counts);
    catch_up(stage, &observer, &mut one, fed.0)?;
    let (cpu_seconds, peak_rss_bytes) = one.used()?;
    one.stop()?;
    Ok(Life { peak_rss_bytes, second_peak_rss_bytes, cpu_seconds, seconds: begun.elapsed().as_secs_f64() })
}

fn keep_loaded(
    stage: &Stage,
    observer: &Observer,
    instance: &mut Instance,
    before: u64,
    feed: &Feed,
) -> Result<(), Failure> {
    let end = Instant::now() + LOADED;
    while Instant::now() < end {
        catch_up(stage, observer, instance, before + feed.fed())?;
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Deletes the first's copies of what the second has.
fn forget(place: &Place) -> Result<(), Failure> {
    for partition in 0..SHAPE.partitions {
        let (kept, moved) = (place.task("one", partition), place.task("two", partition));
        if moved.exists() && kept.exists() {
            std::fs::remove_dir_all(kept)?;
        }
    }
    Ok(())
}

fn figures(lives: &[Life]) -> Map<String, Value> {
    let all = |figure: fn(&Life) -> f64| lives.iter().map(figure).collect::<Vec<f64>>();
    report::figures([
        ("peak_rss_bytes", all(|life| life.peak_rss_bytes.max(life.second_peak_rss_bytes) as f64)),
        ("first_peak_rss_bytes", all(|life| life.peak_rss_bytes as f64)),
        ("second_peak_rss_bytes", all(|life| life.second_peak_rss_bytes as f64)),
        ("cpu_seconds", all(|life| life.cpu_seconds)),
        ("seconds", all(|life| life.seconds)),
    ])
}
