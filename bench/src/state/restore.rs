//! A lost disk: the whole state comes back from its changelog.
//!
//! The clock runs from the start of the process until the first new record is committed, seen from outside, so that
//! starting, joining the group and opening stores are in it for both. In the last round both stores are compared entry by
//! entry, with each other and with the changelog's fold. `RECORDS` (keys), `RUNS` and `ONLY` make it quicker; with `ONLY`
//! nothing is written.

use serde_json::{Map, Value, json};

use super::compare;
use super::contents::Contents;
use super::feed::{Counts, loaded};
use super::instance::{Instance, their_properties};
use super::load::Writer;
use super::place::{Place, Shape};
use super::stage::{Stage, named, or_null};
use crate::Failure;
use crate::counting::{Arm, number};
use crate::measure::Run;
use crate::report;

const KEYS: u64 = 5_000_000;
const RUNS: u64 = 3;
const SHAPE: Shape = Shape { partitions: 4, stores: 1 };
const INSTANCE: &str = "one";
/// Events of each round: so many keys come once more.
const EVENTS: u32 = 64;

pub(crate) fn run() -> Result<(), Failure> {
    let runs = number("RUNS", RUNS)?;
    let contents = Contents { keys: u32::try_from(number("RECORDS", KEYS)?)? };
    let stage = Stage::start(contents, SHAPE)?;
    let mut counts = loaded(contents);
    let mut measured: Vec<Vec<Run>> = stage.places.iter().map(|_| Vec::new()).collect();
    for round in 1..=u32::try_from(runs)? {
        let events = write_events(&stage, &mut counts, round)?;
        for (place, measured) in stage.places.iter().zip(&mut measured) {
            let run = restore(&stage, place, events).map_err(|error| format!("{}: {error}", place.arm.name()))?;
            println!("{:>6} {}", place.arm.name(), line(&run));
            measured.push(run);
        }
    }
    let entries = compare::stores(stage.peer(), &stage.places, INSTANCE, &counts)?;
    println!("{entries} entries of each store are equal, and as the changelog says");
    stage.places.iter().try_for_each(|place| stage.verify(place, &counts))?;
    let of = |arm| stage.places.iter().zip(&measured).find(|(place, _)| place.arm == arm).map(|(_, runs)| runs);
    let (Some(ours), Some(peer)) = (of(Arm::Ours), of(Arm::Peer)) else { return Ok(()) };
    let mut body = stage.body("restore", runs, SHAPE);
    body.insert("ratio_peer".into(), report::ratio(ours, peer));
    body.insert("ours".into(), or_null(report::summary(ours)));
    body.insert("peer".into(), or_null(named(report::summary(peer))));
    detail(&mut body["detail"], ours, peer);
    body["detail"]["stores_equal"] = json!(true);
    body["detail"]["entries_compared"] = json!(entries);
    report::write("restore", Value::Object(body))
}

fn detail(detail: &mut Value, ours: &[Run], peer: &[Run]) {
    let more: [(&str, Value); 4] = [
        ("ratio_peer_per_cpu_second", report::ratio_of(peer, ours, Run::cpu_seconds_per_million)),
        ("ratio_peer_rss", report::ratio_of(peer, ours, |run| run.peak_rss_bytes as f64)),
        ("clock", json!("from the start of the process until the first new position is committed, seen from outside")),
        ("peer_settings", json!(their_properties(INSTANCE, &[]).replace('\n', " "))),
    ];
    detail.as_object_mut().into_iter().for_each(|map: &mut Map<String, Value>| {
        map.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    });
}

fn line(run: &Run) -> String {
    let (rate, seconds, cpu, rss) =
        (run.records_per_second(), run.elapsed.as_secs_f64(), run.cpu_seconds, run.peak_rss_bytes >> 20);
    format!("{rate:>9.0} records/s ({seconds:.1} s), {cpu:>6.1} CPU s, {rss:>4} MiB")
}

/// The same few events for both arms; gives how many there are by now.
fn write_events(stage: &Stage, counts: &mut Counts, round: u32) -> Result<u64, Failure> {
    let mut writer = Writer::start(stage.servers()?)?;
    let (mut key, mut value) = (String::new(), String::new());
    for number in 0..EVENTS.min(stage.contents.keys) {
        let count = &mut counts[number as usize];
        *count += 1;
        Contents::key(number, &mut key);
        Contents::value(number, u64::from(*count), &mut value);
        for place in &stage.places {
            writer.write(&place.events(), key.as_bytes(), Some(value.as_bytes()))?;
        }
    }
    writer.flush()?;
    Ok(u64::from(round * EVENTS.min(stage.contents.keys)))
}

fn restore(stage: &Stage, place: &Place, events: u64) -> Result<Run, Failure> {
    let state = place.state(INSTANCE);
    if state.exists() {
        std::fs::remove_dir_all(&state)?;
    }
    let observer = stage.observer(place)?;
    let means = stage.means(&[], &[])?;
    let mut instance = Instance::start(&means, place, INSTANCE)?;
    let before = events - u64::from(EVENTS.min(stage.contents.keys));
    let sight = observer.wait(before + 1, &mut instance.running, stage.patience)?;
    let (cpu_seconds, _) = instance.used()?;
    observer.wait(events, &mut instance.running, stage.patience)?;
    stage.wait_restored(&mut instance, usize::try_from(place.shape.partitions)?)?;
    let (_, records) = instance.restored();
    if records < stage.contents.records() {
        return Err(format!("{records} changelog records were read of {}", stage.contents.records()).into());
    }
    let (_, peak_rss_bytes) = instance.used()?;
    let elapsed = sight.at - instance.started;
    instance.stop()?;
    Ok(Run { records, elapsed, cpu_seconds, peak_rss_bytes, broker_cpu_seconds: None })
}
