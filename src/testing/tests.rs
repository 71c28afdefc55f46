//! The driver's two clocks, as a topology's own tests move them.

use std::time::Duration;

use super::*;
use crate::codec::text;
use crate::dead_letter::Policy;
use crate::processor::{Context, Fault, Processor, Punctuator, Tick};
use crate::record::{Headers, Record, Timestamp};
use crate::store::{Store, StoreIndex, Stores};
use crate::task::TickOutcome;
use crate::topology::Topology;

const SECOND: Duration = Duration::from_secs(1);

/// Forwards the last value of stream time's second, and beats each second of the wall clock.
#[derive(Clone)]
struct Latest {
    latest: Store<String, String>,
}

impl Processor for Latest {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.latest.index()]
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![
            Punctuator::stream_time("latest", SECOND).anchored_at(Timestamp(0)),
            Punctuator::wall_clock("beat", SECOND),
        ]
    }

    fn punctuate(&mut self, tick: &Tick<'_>, context: &mut Context<'_, String, String>) -> Result<(), Fault> {
        let key = context.partition().to_string();
        let value = match tick.name {
            "latest" => context.store(&self.latest).read(&key)?.unwrap_or_default(),
            _ => format!("beat {} at {}", tick.missed, context.now().0),
        };
        context.forward(&Record::new(key, value, tick.at));
        Ok(())
    }

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let key = context.partition().to_string();
        context.store(&self.latest).write(&key, Some(&record.value))
    }
}

fn driver() -> TopologyDriver {
    let mut builder = Topology::builder("beats");
    let source = builder.source("in", "in", (text(), text()));
    let latest = builder.store("latest", Stores::memory(text(), text()));
    let out = builder.process("latest", source, Latest { latest });
    builder.sink("out", out, "out", text(), text());
    TopologyDriver::new(builder.build().unwrap()).unwrap()
}

fn produced(driver: &mut TopologyDriver) -> Vec<(String, i64)> {
    let value = |record: Driven| (record.value(&text()).unwrap(), record.timestamp.0);
    driver.take("out").into_iter().map(value).collect()
}

#[test]
fn records_move_stream_time_and_the_clock_moves_the_other() {
    let mut driver = driver();
    driver.clock = ManualClock::at(Timestamp(500));
    driver.assign(0).unwrap();
    let send = |driver: &mut TopologyDriver, time, value: &str| {
        driver.record_time = Some(Timestamp(time));
        driver.send("in", 0, Some(b"k"), Some(value.as_bytes()), &Headers::new()).unwrap();
    };
    send(&mut driver, 700_300, "a");
    send(&mut driver, 700_999, "b");
    assert_eq!(produced(&mut driver), []);
    send(&mut driver, 701_000, "c");
    assert_eq!(produced(&mut driver), [("b".to_owned(), 701_000)], "before the record that has reached the tick");
    assert!(driver.advance_wall_clock(Duration::from_millis(999)).unwrap().is_empty());
    let calls = driver.advance_wall_clock(SECOND * 3).unwrap();
    let [call] = calls.as_slice() else { panic!("one call for all of them: {calls:?}") };
    assert!(&*call.name == "latest/beat" && matches!(call.outcome, TickOutcome::Done), "{call:?}");
    assert_eq!(produced(&mut driver), [("beat 2 at 4499".to_owned(), 3_500)]);
}

#[test]
fn each_task_has_its_own_ticks() {
    let mut driver = driver();
    driver.assign(0).unwrap();
    driver.advance_wall_clock(SECOND / 2).unwrap();
    driver.assign(1).unwrap();
    let mut beats = || driver.advance_wall_clock(SECOND / 2).unwrap().iter().map(|call| call.at.0).collect::<Vec<_>>();
    assert_eq!([beats(), beats(), beats()], [vec![1000], vec![1500], vec![2000]]);
}

/// The first word of each value is the topic that it goes to; a value of one word is null.
fn by_name() -> TopologyDriver {
    let mut builder = Topology::builder("named");
    let source = builder.source("in", "in", (text(), text()));
    builder.sink_by("out", source, |own| own.value.split(' ').next().unwrap_or_default(), text(), text());
    builder.dead_letters("dead", Policy::after_attempts(3));
    TopologyDriver::new(builder.build().unwrap()).unwrap()
}

#[test]
fn a_record_goes_to_the_topic_that_it_names() {
    let mut driver = by_name();
    let mut headers = Headers::new();
    headers.push("trace", "7");
    for value in ["a 1", "a 2", "b 3", "a 4"] {
        driver.send("in", 0, Some(b"k"), Some(value.as_bytes()), &headers).unwrap();
    }
    let values = |records: Vec<Driven>| records.into_iter().map(|own| own.value(&text()).unwrap()).collect::<Vec<_>>();
    assert_eq!(values(driver.take("a")), ["a 1", "a 2", "a 4"]);
    let other = driver.take("b");
    assert_eq!((other[0].key.as_deref(), &other[0].headers), (Some(&b"k"[..]), &headers));
    assert_eq!(values(other), ["b 3"]);
}

#[test]
fn a_record_that_names_no_topic_is_set_aside() {
    let mut driver = by_name();
    for value in ["..", "ä", "fine", "", "fine"] {
        driver.send("in", 0, Some(b"k"), Some(value.as_bytes()), &Headers::new()).unwrap();
    }
    assert_eq!(driver.take("fine").len(), 2);
    let dead = driver.take("dead");
    assert_eq!(dead.len(), 3);
    let told = |record: &Driven| record.headers.iter().any(|own| own.value.as_deref() == Some(b"topic-name"));
    assert!(dead.iter().all(told), "{dead:?}");
}
