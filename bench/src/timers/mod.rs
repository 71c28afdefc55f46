//! Ten million timers that wait, and thousands a second that are due: how late they are, whether any is early, lost or there
//! twice, and how long a killed process takes to go on.
//!
//! ```text
//!  set the far ones ─▶ waves of near ones ─▶ the same with a kill −9 in each ─▶ kill −9, state directory gone ─▶ stop
//!    1 h … 10 years         lateness                   recovery                     restore                     └ what is left,
//!                                                                                                                 one by one
//! ```
//!
//! Late is what a committed reader has later than at its time, by the machine's clock: the look at the timers, the transaction
//! and the reading are all in it. Early is what was released before its time, or read before it, or of the far ones at all.
//! `RECORDS` (far timers), `RATE` (due a second), `SECONDS` (of a wave) and `RUNS` make it quicker.

mod instance;
mod left;
mod reader;
mod wave;

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use testbed::Testbed;

use crate::Failure;
use crate::counting::{Observer, PARTITIONS, number, topics};
use crate::report;
use crate::state::Writer;
use instance::{APPLICATION, DUE, Instance, TIMERS};
use reader::{Reader, Seen};
use wave::{Far, Wave};

const PENDING: u64 = 10_000_000;
const RATE: u64 = 20_000;
const SECONDS: u64 = 10;
const RUNS: u64 = 3;
/// From the setting of a wave until its first timer is due.
const LEAD: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);
/// Records that may be under way to the broker.
const UNDER_WAY: u64 = 100_000;

/// What has been measured.
#[derive(Default)]
struct Figures {
    waves: Vec<Seen>,
    recoveries: Vec<f64>,
    restore: f64,
    set_per_second: f64,
    peak_rss_bytes: Vec<f64>,
    cpu_seconds: f64,
}

struct Stage {
    bed: Testbed,
    writer: Writer,
    reader: Reader,
    observer: Observer,
    /// Timers that have been set.
    set: u64,
    rate: u64,
    seconds: u64,
}

pub(crate) fn run() -> Result<(), Failure> {
    let far = Far::new(number("RECORDS", PENDING)?);
    let runs = number("RUNS", RUNS)?;
    let mut stage = Stage::start(far)?;
    let mut figures = Figures::default();
    let mut instance = Instance::start(&stage.bed)?;
    stage.set_far(far, &mut instance, &mut figures)?;
    for _ in 0..runs {
        let wave = stage.wave(stage.seconds)?;
        stage.watch(&wave, &mut instance, &mut figures)?;
    }
    figures.cpu_seconds = instance.cpu_seconds()?;
    for _ in 0..runs {
        let wave = stage.wave(stage.seconds)?;
        stage.reader.until(wave.timers / 2, PATIENCE, &mut instance)?;
        instance = stage.kill(instance, false, &mut figures)?;
        let (seconds, _) = stage.goes_on(&wave, &mut instance, &mut figures)?;
        figures.recoveries.push(seconds);
    }
    let wave = stage.wave(1)?;
    instance = stage.kill(instance, true, &mut figures)?;
    (_, figures.restore) = stage.goes_on(&wave, &mut instance, &mut figures)?;
    figures.peak_rss_bytes.push(instance.peak_rss_bytes()?);
    let state = instance.stop()?;
    let lost_far = far.count - left::pending(&state, far)?;
    report::write("timers", stage.body(far, runs, lost_far, figures))
}

impl Stage {
    fn start(far: Far) -> Result<Self, Failure> {
        let bed = Testbed::builder().kafka().start()?;
        let servers = bed.kafka()?.bootstrap_servers();
        let [timers, ticks] = instance::changelogs();
        let compact: &[(&str, &str)] = &[("cleanup.policy", "compact")];
        topics::create(servers, PARTITIONS, &[(TIMERS, &[]), (DUE, &[]), (&timers, compact), (&ticks, compact)])?;
        let observer = Observer::new(servers, APPLICATION, TIMERS, PARTITIONS)?;
        let (writer, reader) = (Writer::start(servers)?, Reader::start(servers, DUE, far.count)?);
        let (rate, seconds) = (number("RATE", RATE)?, number("SECONDS", SECONDS)?);
        Ok(Stage { writer, reader, observer, bed, set: 0, rate, seconds })
    }

    /// Sets those that are not due while anybody looks on.
    fn set_far(&mut self, far: Far, instance: &mut Instance, figures: &mut Figures) -> Result<(), Failure> {
        println!("setting {} timers …", far.count);
        let begun = Instant::now();
        self.set(far.timers())?;
        let sight = self.observer.wait(self.set, &mut instance.running, PATIENCE)?;
        figures.set_per_second = far.count as f64 / (sight.at - begun).as_secs_f64();
        println!("set, {:.0} a second", figures.set_per_second);
        Ok(())
    }

    fn set(&mut self, timers: impl Iterator<Item = (u64, i64)>) -> Result<(), Failure> {
        let before = self.set;
        for (number, at) in timers {
            self.writer.write(TIMERS, &number.to_be_bytes(), Some(&at.to_be_bytes()))?;
            self.set += 1;
            if (self.set - before).is_multiple_of(UNDER_WAY) {
                self.writer.flush()?;
            }
        }
        self.writer.flush()
    }

    /// Sets the next timers that are due soon, evenly for so many seconds.
    fn wave(&mut self, seconds: u64) -> Result<Wave, Failure> {
        let wave = Wave::new(self.set, self.rate, seconds, LEAD);
        self.reader.begin(wave.clone())?;
        self.set(wave.clone().timers())?;
        Ok(wave)
    }

    /// Looks on until a wave has come, and a little longer for what comes twice.
    fn watch(&mut self, wave: &Wave, instance: &mut Instance, figures: &mut Figures) -> Result<(), Failure> {
        self.observer.wait(self.set, &mut instance.running, PATIENCE)?;
        if wave.has_begun() {
            return Err("the timers were set too late to say how late they are".into());
        }
        self.reader.until(wave.timers, PATIENCE, instance)?;
        let seen = self.reader.end()?;
        println!("{seen}");
        figures.waves.push(seen);
        Ok(())
    }

    /// Another one in its place.
    fn kill(&self, instance: Instance, wipe: bool, figures: &mut Figures) -> Result<Instance, Failure> {
        figures.peak_rss_bytes.push(instance.peak_rss_bytes()?);
        let state = instance.kill();
        if wipe {
            std::fs::remove_dir_all(state)?;
        }
        Instance::start(&self.bed)
    }

    /// Seconds from an instance's start until it was seen to release a timer, and until the whole wave has come.
    fn goes_on(&mut self, wave: &Wave, instance: &mut Instance, figures: &mut Figures) -> Result<(f64, f64), Failure> {
        let first = self.reader.released_after(instance.started_ms, PATIENCE, instance)?;
        let seconds = (first - instance.started).as_secs_f64();
        self.reader.until(wave.timers, PATIENCE, instance)?;
        let all = instance.started.elapsed().as_secs_f64();
        println!("goes on after {seconds:.2} s, and has caught up with the wave after {all:.2} s");
        let seen = self.reader.end()?;
        println!("{seen}");
        // What was due meanwhile is late by that time; the lateness that is told is that of the waves without a kill.
        figures.waves.push(Seen { lateness: None, ..seen });
        Ok((seconds, all))
    }

    fn body(&self, far: Far, runs: u64, lost_far: u64, figures: Figures) -> Value {
        let waves = &figures.waves;
        let sum = |figure: fn(&Seen) -> u64| waves.iter().map(figure).sum::<u64>();
        let quantile = |quantile: f64| -> Vec<f64> {
            let lateness = waves.iter().filter_map(|seen| seen.lateness.as_ref());
            lateness.map(|lateness| lateness.value_at_quantile(quantile) as f64).collect()
        };
        let mut detail: Map<String, Value> = report::figures([
            ("p50_ms", quantile(0.5)),
            ("p99_ms", quantile(0.99)),
            ("p999_ms", quantile(0.999)),
            ("recovery_seconds", figures.recoveries),
            ("peak_rss_bytes", figures.peak_rss_bytes),
        ]);
        let more = [
            ("pending", json!(far.count)),
            ("due_per_second", json!(self.rate)),
            ("due", json!(self.set - far.count)),
            ("early", json!(sum(|seen| seen.early))),
            ("lost", json!(sum(|seen| seen.lost) + lost_far)),
            ("twice", json!(sum(|seen| seen.twice))),
            ("set_per_second", report::rounded(figures.set_per_second)),
            ("restore_seconds", report::rounded(figures.restore)),
            ("cpu_seconds_before_kills", report::rounded(figures.cpu_seconds)),
            ("clock", json!("the machine's, from the time that a timer names until a committed reader has it")),
        ];
        detail.extend(more.map(|(name, value)| (name.to_owned(), value)));
        json!({
            "name": "timers",
            "commit": report::commit(),
            "machine": report::machine(),
            "runs": runs,
            "detail": detail,
        })
    }
}
