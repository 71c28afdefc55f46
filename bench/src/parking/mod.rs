//! What all other keys notice of one that can't be written: one write-ahead log, one HTTP target, a broker.
//!
//! ```text
//!  10,000 keys, evenly ─────────────────────────┐                      ┌─▶ 200
//!  between them, 1 in 60: the poison key's ─────┴─▶ mutations ─▶ log ──┴─▶ 503 to the poison key's, until it is healed
//!                                                                ▲
//!                                        its first one is tried again and again, the others wait behind it
//! ```
//!
//! | part of a run | what is measured |
//! |---|---|
//! | all that was written before the log was started | the others' throughput, from when a tenth of them is applied |
//! | so many a second | the others' latency, from when each was due to be written until the target is called |
//! | the poison key is healed | how soon all that waited is applied |
//!
//! The two arms have the same others; one has the poison key's mutations besides. A run in which one of the others is missing or out of
//! order, or in which the poison key's order did not hold, fails. Each run has a new application. `RUNS` (pairs), `RECORDS` (the others that
//! are there at first), `RATE` and `SECONDS` (of the second part) make it quicker, or heavier.

mod outcome;
mod plan;
mod receiver;
mod submitter;
mod verify;

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use testbed::Testbed;

use crate::Failure;
use crate::cores::Load;
use crate::counting::number;
use crate::instance::{Instance, Prepared, Spec};
use crate::measure::{Run, cpu_seconds, peak_rss_bytes};
use crate::report;
use crate::spans::Spans;
use outcome::Outcome;
use plan::{EACH, KEYS};
use receiver::{Book, Receiver};
use submitter::{Submitter, due};

const RUNS: u64 = 3;
const RECORDS: u64 = 60_000;
const RATE: u64 = 500;
const SECONDS: u64 = 10;
const TOPICS: &[&str] = &["mutations", "commands", "namespaces", "results", "exhausted", "dead-letters"];
const NAMESPACE: &str = "shop";
/// It is not given up within a run.
const RETRY: &str = "[retry]\nmax-attempts = 1000\nbackoff = \"100ms\"\nlongest-backoff = \"1s\"\n";
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    Without,
    Poison,
}

impl Arm {
    const ALL: [Arm; 2] = [Arm::Without, Arm::Poison];

    fn name(self) -> &'static str {
        match self {
            Arm::Without => "without",
            Arm::Poison => "poison",
        }
    }
}

struct Stage {
    bed: Testbed,
    records: u64,
    rate: u64,
    seconds: u64,
    runs: u32,
}

pub(crate) fn run() -> Result<(), Failure> {
    let (runs, records) = (number("RUNS", RUNS)?, number("RECORDS", RECORDS)?);
    let (rate, seconds) = (number("RATE", RATE)?, number("SECONDS", SECONDS)?);
    let bed = Testbed::builder().kafka().registry().start()?;
    let mut stage = Stage { bed, records, rate, seconds, runs: 0 };
    println!("the broker warms up …");
    stage.measure(Arm::Poison)?;
    let mut outcomes: Vec<(Arm, Outcome)> = Vec::new();
    for run in 0..runs {
        // So that none is always the first.
        let mut pair = Arm::ALL;
        pair.rotate_left(usize::try_from(run)? % Arm::ALL.len());
        for arm in pair {
            outcomes.push((arm, stage.measure(arm)?));
        }
    }
    report::write("parking", stage.body(runs, &outcomes))
}

impl Stage {
    fn measure(&mut self, arm: Arm) -> Result<Outcome, Failure> {
        self.runs += 1;
        let (id, receiver) = (format!("{}-{}", arm.name(), self.runs), Receiver::start()?);
        let (kafka, registry) = (self.bed.kafka()?, self.bed.registry()?);
        let spec = Spec { binary: "write-ahead-log", id: &id, topics: TOPICS, sections: String::new() };
        let prepared = Prepared::new(&self.bed, &spec)?;
        let target = format!("[[targets]]\nname = \"api\"\nkind = \"http\"\naddress = \"{}\"\n", receiver.url());
        let file = prepared.file("namespace.toml", &format!("{RETRY}{target}"))?;
        prepared.tell(&["namespaces", "set", NAMESPACE, "--file", &file.to_string_lossy()])?;
        let topic = prepared.topic("mutations");
        let mut submitter =
            Submitter::start(kafka.bootstrap_servers(), registry.url(), &topic, NAMESPACE, arm == Arm::Poison)?;
        submitter.load(self.records)?;
        let mut instance = prepared.start()?;
        let outcome = self.measure_in(arm, &mut instance, &mut submitter, &receiver);
        let outcome = outcome.map_err(|error| format!("{id}: {error}\n{}", instance.running.printed()))?;
        instance.end(&self.bed)?;
        println!("{:<8} {outcome}", arm.name());
        Ok(outcome)
    }

    fn measure_in(
        &self,
        arm: Arm,
        instance: &mut Instance,
        submitter: &mut Submitter,
        receiver: &Receiver,
    ) -> Result<Outcome, Failure> {
        let (pid, broker) = (instance.running.pid(), self.bed.kafka()?.pid().ok_or("the broker is gone")?);
        let applied = |count| move |book: &Book| book.applied >= count;
        await_book(instance, receiver, "the first of the others", applied(self.records / 10))?;
        let before = (Instant::now(), receiver.book().applied, Load::look(pid, broker)?);
        let cpu = (cpu_seconds(pid)?, cpu_seconds(broker)?);
        await_book(instance, receiver, "all of the others", applied(self.records))?;
        let elapsed = before.0.elapsed();
        let run = Run {
            records: self.records - before.1,
            elapsed,
            cpu_seconds: cpu_seconds(pid)? - cpu.0,
            peak_rss_bytes: 0,
            broker_cpu_seconds: Some(cpu_seconds(broker)? - cpu.1),
        };
        let cores = Load::look(pid, broker)?.since(&before.2)?;

        let count = self.rate * self.seconds;
        let (total, poison) = (self.records + count, self.poison(arm));
        let begin = submitter.feed(self.records, count, self.rate)?;
        await_book(instance, receiver, "all of the others that were fed", applied(total))?;
        self.await_accepted(instance, total + poison)?;
        verify::parked(&receiver.book(), poison)?;
        let attempts = receiver.book().attempts;

        let healed = Instant::now();
        receiver.heal();
        await_book(instance, receiver, "the poison key's", |book| book.poison.len() as u64 >= poison)?;
        let released = healed.elapsed();
        verify::ended(&receiver.book(), total, poison)?;
        if instance.events("exhausted", NAMESPACE)? > 0 {
            return Err("mutations were given up".into());
        }
        let latency = self.latency(&receiver.book(), begin);
        let run = Run { peak_rss_bytes: peak_rss_bytes(pid)?, ..run };
        let (repeated, parked) = (receiver.book().repeated, poison.saturating_sub(1));
        Ok(Outcome { run, cores, latency, attempts, parked, released, repeated })
    }

    /// How many mutations the poison key has.
    fn poison(&self, arm: Arm) -> u64 {
        if arm == Arm::Poison { (self.records + self.rate * self.seconds).div_ceil(EACH) } else { 0 }
    }

    /// Until the log has all, those that wait included.
    fn await_accepted(&self, instance: &mut Instance, count: u64) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while instance.events("accepted", NAMESPACE)? < count {
            instance.running.check()?;
            if Instant::now() > deadline {
                return Err(format!("{count} mutations were not accepted within {PATIENCE:?}").into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn latency(&self, book: &Book, begin: i64) -> Spans {
        let fed = book.others.iter().skip(usize::try_from(self.records).unwrap_or(usize::MAX)).flatten();
        Spans::of((0..).zip(fed).map(|(place, at)| at - due(begin, place, self.rate)).collect())
    }

    fn body(&self, runs: u64, outcomes: &[(Arm, Outcome)]) -> Value {
        let of = |arm: Arm| outcomes.iter().filter(move |(own, _)| *own == arm).map(|(_, outcome)| outcome);
        let [without, poison] = Arm::ALL.map(|arm| of(arm).map(|outcome| outcome.run).collect::<Vec<Run>>());
        let arms = Arm::ALL.map(|arm| {
            let all: Vec<&Outcome> = of(arm).collect();
            let mut shown = report::summary(if arm == Arm::Poison { &poison } else { &without });
            shown.extend(outcome::figures(&all));
            (arm.name().to_owned(), Value::Object(shown))
        });
        json!({
            "name": "parking",
            "commit": report::commit(),
            "machine": report::machine(),
            "runs": runs,
            "ratio": report::ratio(&poison, &without),
            // What a busy machine says less about.
            "ratio_cpu_seconds": report::ratio_of(&poison, &without, Run::cpu_seconds_per_million),
            "arms": Map::from_iter(arms),
            "detail": {
                "others": self.records, "keys": KEYS, "poison_key_one_in": EACH,
                "fed_per_second": self.rate, "fed_seconds": self.seconds,
                "clock": "the machine's; latency is from when a mutation was due to be written until the target is called",
            },
        })
    }
}

/// Waits until the target has something; an error if the log has ended.
fn await_book(
    instance: &mut Instance,
    receiver: &Receiver,
    what: &str,
    is_there: impl Fn(&Book) -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !is_there(&receiver.book()) {
        instance.running.check()?;
        if Instant::now() > deadline {
            let (applied, poison) = (receiver.book().applied, receiver.book().poison.len());
            return Err(format!("not within {PATIENCE:?}: {what}; {applied} others, {poison} of the poison key").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
