//! A topology that goes on without what fails: one that remembers what was not done, and asks again at a tick.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::codec::text;
use crate::error::{RecordError, Stage};
use crate::processor::{
    Answer, BoxFuture, CallOrder, Called, Connect, Context, ExternalCall, Failure, Fault, Processor, Punctuator, Reply,
    Target, Tick,
};
use crate::record::{Headers, Record};
use crate::store::{Bounds, Store, StoreIndex, Stores};
use crate::task::TaskFault;
use crate::topology::{Format, Topology};

const SECOND: Duration = Duration::from_secs(1);

type Failures = Store<String, String>;

/// Asks for each record, and again, at each second, for what has failed. A value "odd" fails in here.
#[derive(Clone)]
struct Ask {
    failures: Failures,
}

impl Processor for Ask {
    type KeyIn = String;
    type ValueIn = String;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.failures.index()]
    }

    fn punctuators(&self) -> Vec<Punctuator> {
        vec![Punctuator::wall_clock("again", SECOND)]
    }

    fn punctuate(&mut self, tick: &Tick<'_>, context: &mut Context<'_, String, String>) -> Result<(), Fault> {
        let mut store = context.store(&self.failures);
        let all = store.range(Bounds::ALL)?.collect::<Result<Vec<_>, _>>()?;
        all.into_iter().for_each(|(key, value)| context.forward(&Record::new(key, format!("+{value}"), tick.at)));
        Ok(())
    }

    fn process(
        &mut self,
        record: &Record<String, String>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        context.forward(record);
        if record.value == "odd" {
            return Err(RecordError::new(Stage::Process, "odd", "odd").into());
        }
        Ok(())
    }
}

/// Remembers what has failed; gives on what was done. A value "unheard" can't be worked off.
#[derive(Clone)]
struct Hear {
    failures: Failures,
}

impl Processor for Hear {
    type KeyIn = String;
    type ValueIn = Called<String>;
    type KeyOut = String;
    type ValueOut = String;

    fn stores(&self) -> Vec<StoreIndex> {
        vec![self.failures.index()]
    }

    fn process(
        &mut self,
        record: &Record<String, Called<String>>,
        context: &mut Context<'_, String, String>,
    ) -> Result<(), Fault> {
        let Called { value, answer } = &record.value;
        let (again, plain) = (value.starts_with('+'), value.trim_start_matches('+').to_owned());
        if plain == "unheard" {
            return Err(RecordError::new(Stage::Process, "unheard", "unheard").into());
        }
        let told = match answer {
            Answer::Done(how) => format!("{plain} {how} {}@{}", context.topic(), context.offset()),
            Answer::Held => format!("{plain} held"),
            Answer::Refused(_) => format!("{plain} refused"),
            Answer::Failed { .. } => format!("{plain} failed"),
        };
        match (answer, again) {
            (Answer::Failed { .. }, _) => context.store(&self.failures).write(&record.key, Some(&plain))?,
            (_, true) => context.store(&self.failures).write(&record.key, None)?,
            _ => {}
        }
        context.forward(&record.map(record.key.clone(), told));
        Ok(())
    }
}

#[derive(Debug)]
struct Target1;

impl ExternalCall<String, String> for Target1 {
    fn kind(&self) -> &'static str {
        "test"
    }

    fn request(&self, record: &Record<String, String>, body: &mut Vec<u8>) -> Result<CallOrder, RecordError> {
        body.extend(record.value.as_bytes());
        Ok(CallOrder { key: 1, anew: record.value.starts_with('+') })
    }

    fn target(&self) -> Arc<dyn Connect> {
        Arc::new(Target1)
    }
}

impl Connect for Target1 {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Target>, Failure>> {
        Box::pin(async { Err(Failure::Away("a driven topology connects to nothing".into())) })
    }
}

fn topology() -> Topology {
    let mut builder = Topology::builder("calls");
    let source = builder.source("in", "in", (text(), text()));
    let failures = builder.store("failures", Stores::memory(text(), text()));
    let asked = builder.process("ask", source, Ask { failures: failures.clone() });
    let answers = builder.call("target", asked, Target1);
    let heard = builder.process("hear", answers, Hear { failures });
    builder.sink("out", heard, "out", text(), text());
    builder.dead_letters("dead-letters", crate::dead_letter::Policy::after_attempts(2));
    builder.build().unwrap()
}

fn produced(driver: &mut TopologyDriver) -> Vec<String> {
    driver.take("out").into_iter().map(|record| record.value(&text()).unwrap()).collect()
}

fn send(driver: &mut TopologyDriver, value: &str) -> Result<crate::task::Outcome, TaskFault> {
    driver.send("in", 0, Some(b"k"), Some(value.as_bytes()), &Headers::new())
}

#[test]
fn an_answer_comes_with_what_was_asked_and_where_it_came_from() {
    let mut driver = TopologyDriver::new(topology()).unwrap();
    send(&mut driver, "a").unwrap();
    send(&mut driver, "b").unwrap();
    assert_eq!(produced(&mut driver), ["a done in@0", "b done in@1"]);
    assert_eq!(driver.take_requests("target"), [b"a", b"b"]);
}

#[test]
fn m8_what_fails_is_parked_and_asked_again_at_a_tick() {
    let mut driver = TopologyDriver::new(topology()).unwrap();
    let (fails, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
    let (is_failing, log) = (Arc::clone(&fails), Arc::clone(&asked));
    driver.answer("target", move |body| {
        log.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
        match body.ends_with(b"bad") && is_failing.load(Ordering::Acquire) {
            true => Reply::Failed { reason: "not now".into(), after: None },
            false => Reply::Done("applied"),
        }
    });
    driver.assign(0).unwrap();
    send(&mut driver, "bad").unwrap();
    send(&mut driver, "good").unwrap();
    assert_eq!(produced(&mut driver), ["bad failed", "good applied in@1"]);
    driver.advance_wall_clock(SECOND).unwrap();
    assert_eq!(produced(&mut driver), ["bad failed"]);
    fails.store(false, Ordering::Release);
    driver.advance_wall_clock(SECOND).unwrap();
    assert_eq!(produced(&mut driver), ["bad applied @-1"], "what a tick has asked is the tick's");
    driver.advance_wall_clock(SECOND).unwrap();
    assert_eq!(produced(&mut driver), [""; 0], "done is done");
    assert_eq!(*asked.lock().unwrap(), ["bad", "good", "+bad", "+bad"]);
}

#[test]
fn a_record_that_fails_takes_its_call_back() {
    let mut driver = TopologyDriver::new(topology()).unwrap();
    send(&mut driver, "odd").unwrap();
    assert_eq!(driver.take("dead-letters").len(), 1);
    assert!(driver.take_requests("target").is_empty(), "what was taken back is not asked");
    send(&mut driver, "even").unwrap();
    assert_eq!(produced(&mut driver), ["even done in@1"]);
}

#[test]
fn an_answer_that_cannot_be_worked_off_is_told_with_the_record_that_asked() {
    let mut driver = TopologyDriver::new(topology()).unwrap();
    let fault = send(&mut driver, "unheard").unwrap_err();
    let TaskFault::Unhandled { position, error } = &fault else { panic!("{fault}") };
    assert_eq!((&*position.topic, position.offset.0, error.class), ("in", 0, "unheard"));
}

#[test]
fn a_call_is_drawn_between_who_asks_and_who_hears() {
    let topology = topology();
    let description = topology.describe();
    let drawn = description.render(Format::Mermaid);
    assert!(drawn.contains("n_target{{\"target (test)\"}}") && drawn.contains("n_target --> n_hear"), "{drawn}");
    let text = description.render(Format::Text);
    assert!(text.contains("Processor: target (stores: [])\n      --> hear\n      <-- ask"), "{text}");
    assert!(description.render(Format::Dot).contains("\"target\" [shape=hexagon]"));
}
