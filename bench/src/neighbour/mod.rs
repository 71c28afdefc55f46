//! What a queue notices of a neighbour that always has more to do than it may: one application, two queues, a broker.
//!
//! ```text
//!                     victim: 100 a second, 5 ms each ─┐                       ┌─▶ handler  ◀─ begun: the victim's latency
//!  neighbour: 20,000 at first, then more than may run ─┴─▶ tasks ─ application ┴─▶ handler     ends where the way there does
//!             (one in ten fails, and is tried again)       ▲
//!                                            due, whether or not it could be sent
//! ```
//!
//! | arm | what it is |
//! |---|---|
//! | alone | the victim's queue, and nobody else |
//! | beside | the same beside the neighbour's queue; in the end 20,000 of the neighbour's tasks come at once, and 20,000 are due at once |
//! | priority | both in the neighbour's queue, the victim's tasks HIGH and the neighbour's LOW |
//! | one queue | both in the neighbour's queue: the control arm, which has to be worse |
//!
//! Each run has a new application, so that no arm has the other's state. `RUNS`, `SECONDS` (of which a run is measured), `RECORDS` (that wait
//! at first, that come at once, and that are due at once) and `RATE` (the neighbour's a second) make it quicker, or heavier.

mod feed;
mod figures;
mod handlers;
mod queues;

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use task_queue::tasks::Priority;
use testbed::Testbed;

use crate::Failure;
use crate::cores::{Cores, Load};
use crate::counting::number;
use crate::instance::Instance;
use crate::report;
use crate::spans::now_us;
use feed::{Feed, Kind, Side, Submitter};
use figures::{Seen, handed_out, seen};
use handlers::Handlers;

const RUNS: u64 = 5;
const SECONDS: u64 = 30;
const BACKLOG: u64 = 20_000;
const VICTIM_RATE: u64 = 100;
const VICTIM_MILLIS: u64 = 5;
const NEIGHBOUR_RATE: u64 = 120;
const NEIGHBOUR_MILLIS: u64 = 100;
/// Of the neighbour's tasks so many may be with handlers, or on their way, at a time; twice as many where the victim's are among them.
const RUNNING: u64 = 10;
const WARM_UP: Duration = Duration::from_secs(10);
/// For how long the victim is looked at from the burst on.
const AFTER_BURST: Duration = Duration::from_secs(10);
/// So long before they are due those of the second burst are submitted.
const AHEAD: Duration = Duration::from_secs(5);
/// For what was due last.
const REST: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    Alone,
    Beside,
    Priority,
    OneQueue,
}

impl Arm {
    const ALL: [Arm; 4] = [Arm::Alone, Arm::Beside, Arm::Priority, Arm::OneQueue];

    fn name(self) -> &'static str {
        match self {
            Arm::Alone => "alone",
            Arm::Beside => "beside",
            Arm::Priority => "priority",
            Arm::OneQueue => "one-queue",
        }
    }

    /// How many of the neighbour's queue may be with handlers.
    fn running(self) -> u64 {
        if self.victim().0 == "neighbour" { 2 * RUNNING } else { RUNNING }
    }

    /// The victim's queue and the priority of its tasks.
    fn victim(self) -> (&'static str, Priority) {
        match self {
            Arm::Alone | Arm::Beside => ("victim", Priority::Normal),
            Arm::Priority => ("neighbour", Priority::High),
            Arm::OneQueue => ("neighbour", Priority::Normal),
        }
    }
}

struct Stage {
    bed: Testbed,
    seconds: Duration,
    backlog: u64,
    rate: u64,
    runs: u32,
}

/// What one run has given.
#[derive(Default)]
struct Outcome {
    seen: Seen,
    /// One that is submitted, and one that is due.
    bursts: Vec<Seen>,
    cores: Cores,
    /// The neighbour's attempts and submissions a second.
    attempts: f64,
    submitted: f64,
    /// What waited at the end of what was measured, at least.
    waiting: u64,
}

pub(crate) fn run() -> Result<(), Failure> {
    let (runs, rate, backlog) = (number("RUNS", RUNS)?, number("RATE", NEIGHBOUR_RATE)?, number("RECORDS", BACKLOG)?);
    let seconds = Duration::from_secs(number("SECONDS", SECONDS)?);
    let only = std::env::var("ONLY").unwrap_or_default();
    let arms: Vec<Arm> = Arm::ALL.into_iter().filter(|arm| only.is_empty() || only.contains(arm.name())).collect();
    let bed = Testbed::builder().kafka().registry().start()?;
    let mut stage = Stage { bed, seconds, backlog, rate, runs: 0 };
    println!("the broker warms up …");
    stage.measure(Arm::Beside)?;
    let mut outcomes: Vec<(Arm, Outcome)> = Vec::new();
    for run in 0..runs {
        // So that none is always the first.
        let mut turn = arms.clone();
        turn.rotate_left(usize::try_from(run)? % arms.len());
        for arm in turn {
            outcomes.push((arm, stage.measure(arm)?));
        }
    }
    report::write("noisy-neighbour", stage.body(runs, &arms, &outcomes))
}

impl Stage {
    fn measure(&mut self, arm: Arm) -> Result<Outcome, Failure> {
        self.runs += 1;
        let id = format!("{}-{}", arm.name(), self.runs);
        let handlers = Handlers::start()?;
        let queues = [("victim", String::new()), ("neighbour", format!("running = {}", arm.running()))];
        let mut instance = queues::start(&self.bed, &id, &queues, &handlers)?;
        let outcome = self.measure_in(arm, &mut instance, &handlers);
        let outcome = outcome.map_err(|error| format!("{id}: {error}\n{}", instance.running.printed()))?;
        instance.end(&self.bed)?;
        println!("{:<12} {outcome}", arm.name());
        Ok(outcome)
    }

    fn measure_in(&self, arm: Arm, instance: &mut Instance, handlers: &Handlers) -> Result<Outcome, Failure> {
        let (kafka, registry) = (self.bed.kafka()?, self.bed.registry()?);
        let (servers, broker) = (kafka.bootstrap_servers(), kafka.pid().ok_or("the broker is gone")?);
        let (queue, priority) = arm.victim();
        let victim = Kind { side: Side::Victim, queue, priority, millis: VICTIM_MILLIS, rate: VICTIM_RATE };
        let priority = if arm == Arm::Priority { Priority::Low } else { Priority::Normal };
        let neighbour =
            Kind { side: Side::Neighbour, queue: "neighbour", priority, millis: NEIGHBOUR_MILLIS, rate: self.rate };
        let neighbour = (arm != Arm::Alone).then_some((neighbour, self.backlog));
        let feed =
            Feed::start(Submitter::start(servers, registry.url(), &instance.topic("tasks"))?, victim, neighbour)?;
        if arm != Arm::Alone {
            self.wait_backlog(instance)?;
        }
        std::thread::sleep(WARM_UP);
        let before = (Load::look(instance.running.pid(), broker)?, handlers.neighbours(), feed.neighbours(), now_us());
        std::thread::sleep(self.seconds);
        let after = (Load::look(instance.running.pid(), broker)?, handlers.neighbours(), feed.neighbours(), now_us());
        let bursts = if arm == Arm::Beside { self.bursts(&feed) } else { Vec::new() };
        std::thread::sleep(REST);
        instance.running.check()?;
        let (begun, now, pace) = (handlers.begun(), now_us(), feed.pace);
        // What is handed out is read to its end, so there has to be one.
        feed.stop()?;
        let ready = handed_out(servers, &instance.topic(&format!("ready-{queue}-{}", arm.victim().1.name())))?;
        let of = |window| seen(pace, (&begun, now), &ready, window);
        let each = |before: u64, after: u64| (after - before) as f64 / self.seconds.as_secs_f64();
        let outcome = Outcome {
            seen: of((before.3, after.3)),
            bursts: bursts.into_iter().map(of).collect(),
            cores: after.0.since(&before.0)?,
            attempts: each(before.1, after.1),
            submitted: each(before.2, after.2),
            waiting: after.2.saturating_sub(after.1),
        };
        Ok(outcome)
    }

    /// Many at once, and many that are due at once; gives when each was looked at.
    fn bursts(&self, feed: &Feed) -> Vec<(i64, i64)> {
        let mut looked_at = Vec::new();
        for ahead in [Duration::ZERO, AHEAD] {
            let at = now_us() + i64::try_from(ahead.as_micros()).unwrap_or(0);
            feed.burst(self.backlog, at / 1_000);
            std::thread::sleep(ahead + AFTER_BURST);
            looked_at.push((at, now_us()));
        }
        looked_at
    }

    /// Until the schedule has all that is to wait at first.
    fn wait_backlog(&self, instance: &mut Instance) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while instance.events("submitted", "neighbour")? < self.backlog {
            instance.running.check()?;
            if Instant::now() > deadline {
                return Err(format!("the backlog was not taken in within {PATIENCE:?}").into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn body(&self, runs: u64, arms: &[Arm], outcomes: &[(Arm, Outcome)]) -> Value {
        let of = |arm: Arm| outcomes.iter().filter(move |(own, _)| *own == arm).map(|(_, outcome)| outcome);
        let ratio = |arm: Arm, quantile: f64| {
            let p = |outcome: &Outcome| outcome.seen.latency.quantile(quantile);
            report::middle(of(arm).zip(of(Arm::Alone)).map(|(one, alone)| p(one) / p(alone)).collect())
        };
        let mut ratios = Map::new();
        for arm in arms.iter().filter(|arm| **arm != Arm::Alone) {
            for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
                ratios.insert(format!("{}_{name}_to_alone", arm.name()), ratio(*arm, quantile));
            }
        }
        let shown = arms.iter().map(|arm| {
            let all: Vec<&Outcome> = of(*arm).collect();
            (arm.name().to_owned(), Value::Object(detail(&all)))
        });
        json!({
            "name": "noisy-neighbour",
            "commit": report::commit(),
            "machine": report::machine(),
            "runs": runs,
            "ratios": ratios,
            "arms": shown.collect::<Map<_, _>>(),
            "detail": {
                "victim": { "tasks_per_second": VICTIM_RATE, "milliseconds": VICTIM_MILLIS },
                "neighbour": {
                    "submitted_per_second": self.rate, "milliseconds": NEIGHBOUR_MILLIS, "running": RUNNING,
                    "backlog": self.backlog, "burst": self.backlog, "fails_at_first": 0.1,
                },
                "seconds": self.seconds.as_secs(),
                "clock": "the machine's, from when a task was due to be sent until its handler begins",
            },
        })
    }
}

fn detail(all: &[&Outcome]) -> Map<String, Value> {
    let each = |figure: &dyn Fn(&Outcome) -> f64| -> Vec<f64> { all.iter().map(|outcome| figure(outcome)).collect() };
    let burst = |place: usize, quantile: f64| -> Vec<f64> {
        all.iter().filter_map(|outcome| Some(outcome.bursts.get(place)?.latency.quantile(quantile))).collect()
    };
    report::figures([
        ("p50_ms", each(&|outcome| outcome.seen.latency.quantile(0.5))),
        ("p99_ms", each(&|outcome| outcome.seen.latency.quantile(0.99))),
        ("p999_ms", each(&|outcome| outcome.seen.latency.quantile(0.999))),
        ("not_begun", each(&|outcome| outcome.seen.not_begun as f64)),
        ("until_handed_out_p50_ms", each(&|outcome| outcome.seen.handed_out.quantile(0.5))),
        ("until_handed_out_p99_ms", each(&|outcome| outcome.seen.handed_out.quantile(0.99))),
        ("from_there_to_the_handler_p50_ms", each(&|outcome| outcome.seen.picked_up.quantile(0.5))),
        ("from_there_to_the_handler_p99_ms", each(&|outcome| outcome.seen.picked_up.quantile(0.99))),
        ("burst_submitted_p99_ms", burst(0, 0.99)),
        ("burst_submitted_max_ms", burst(0, 1.0)),
        ("burst_due_p99_ms", burst(1, 0.99)),
        ("burst_due_max_ms", burst(1, 1.0)),
        ("neighbour_submitted_per_second", each(&|outcome| outcome.submitted)),
        ("neighbour_attempts_per_second", each(&|outcome| outcome.attempts)),
        ("neighbour_waiting", each(&|outcome| outcome.waiting as f64)),
        ("cores_application", each(&|outcome| outcome.cores.application)),
        ("cores_broker", each(&|outcome| outcome.cores.broker)),
        ("cores_load_and_handlers", each(&|outcome| outcome.cores.own)),
        ("cores_of_others", each(&|outcome| outcome.cores.others)),
        ("machine_busy", each(&|outcome| outcome.cores.part)),
    ])
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Seen { latency, not_begun, handed_out, picked_up } = &self.seen;
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| latency.quantile(quantile));
        let count = latency.count();
        write!(f, "{count} tasks: p50 {p50:.0} ms, p99 {p99:.0}, p99.9 {p999:.0}; {not_begun} not begun; ")?;
        let [to, from] = [handed_out, picked_up].map(|spans| (spans.quantile(0.5), spans.quantile(0.99)));
        write!(f, "handed out {:.0}/{:.0}, picked up {:.0}/{:.0}; ", to.0, to.1, from.0, from.1)?;
        for (burst, name) in self.bursts.iter().zip(["submitted", "due"]) {
            let [p99, most] = [0.99, 1.0].map(|quantile| burst.latency.quantile(quantile));
            write!(f, "burst {name}: p99 {p99:.0} ms, most {most:.0}; ")?;
        }
        write!(f, "neighbour {:.0}/s of {:.0}/s; ", self.attempts, self.submitted)?;
        let Cores { application, broker, own, others, part } = self.cores;
        write!(f, "cores {application:.2} + {broker:.2} + {own:.2}, others {others:.2}; busy {:.0} %", part * 100.0)
    }
}
