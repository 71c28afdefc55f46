//! What users notice while instances come and go: gaps per partition, from outside, under a steady load.
//!
//! ```text
//!  paced load ─▶ events ─▶ the fleet: 1 ─▶ 2 ─▶ 4 ─▶ 2 instances, a rolling restart, a zombie ─▶ counts ─▶ a committed reader
//!                                                                                         longest silence of each partition
//! ```
//!
//! A partition's gap in a step is the longest time without a new committed output, so it is never below the commit interval.
//! Partitions whose owner was neither touched nor changed are told apart from those that moved, or were restarted. Afterwards
//! each output is checked: a zombie's commit would be a record too many, or a count out of turn.
//!
//! `LOAD` (records per second) and `RUNS` make it gentler; each run has an arm without copies of the stores and one with.

mod fleet;
mod silence;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::Testbed;

use crate::Failure;
use crate::counting::{PARTITIONS, Pace, number, topics, verify};
use crate::report;
use fleet::{Fleet, Signal};
use silence::Silence;

/// Records per second: little enough for two cores with four instances, load and reader.
const LOAD: u64 = 10_000;
const RUNS: u64 = 1;
/// Copies of each store in the arm with standbys: every other instance has one, so that each move is a promotion.
const STANDBYS: usize = 3;
/// How long a step is watched beyond its end.
const SETTLING: Duration = Duration::from_secs(4);

/// The gaps of one step, in milliseconds.
struct Step {
    name: &'static str,
    untouched: Vec<f64>,
    moved: Vec<f64>,
}

pub(crate) fn run() -> Result<(), Failure> {
    let (load, runs) = (number("LOAD", LOAD)?, number("RUNS", RUNS)?);
    let bed = Testbed::builder().kafka().start()?;
    let mut arms: [Vec<Step>; 2] = [Vec::new(), Vec::new()];
    for round in 0..runs {
        for (arm, standbys) in [0, STANDBYS].into_iter().enumerate() {
            println!("run {round}, standbys {standbys}");
            arms[arm].extend(scenario(&bed, &format!("rebalance-{round}-{standbys}"), standbys, load)?);
        }
    }
    let [without, with] = arms.map(|steps| summary(&steps));
    report::write(
        "rebalance",
        json!({
            "name": "rebalance",
            "commit": report::commit(),
            "machine": report::machine(),
            "runs": runs,
            "ours": with,
            "peer": Value::Null,
            "limit": Value::Null,
            "ratio_peer": Value::Null,
            "ratio_limit": Value::Null,
            "detail": {
                "gap": "longest time without a committed output of a partition, per step; commit interval 20 ms",
                "records_per_second": load,
                "standbys": STANDBYS,
                "without_standbys": without,
                // Checked record by record at the end of each scenario; any would have ended the bench.
                "zombie_commits": 0,
            },
        }),
    )
}

fn scenario(bed: &Testbed, application: &str, standbys: usize, load: u64) -> Result<Vec<Step>, Failure> {
    let servers = bed.kafka()?.bootstrap_servers().to_owned();
    let name = |topic: &str| format!("{application}.{topic}");
    let (events, counts) = (name("events"), name("counts"));
    let changelog = format!("{application}-counts-changelog");
    let instances = format!("{application}-instances");
    let compacted = [("cleanup.policy", "compact")];
    let wanted: [(&str, &[(&str, &str)]); 3] = [(&events, &[]), (&counts, &[]), (&changelog, &compacted)];
    topics::create(&servers, PARTITIONS, &wanted)?;
    topics::create(&servers, 1, &[(&instances, &compacted)])?;
    let mut fleet = Fleet::new(bed, application, [&events, &counts], standbys)?;
    let silence = Silence::watch(&servers, &counts)?;
    let pace = Pace::start(&servers, &events, load)?;
    fleet.start("one")?;
    fleet.wait_owners(1)?;
    let mut stage = Stage { fleet, silence, pace, steps: Vec::new() };
    stage.step("1 to 2", &[], |fleet| fleet.start("two").and_then(|()| fleet.wait_owners(2)))?;
    stage.step("2 to 4", &[], |fleet| {
        fleet.start("three")?;
        fleet.start("four")?;
        fleet.wait_owners(4)
    })?;
    stage.step("rolling restart", &["one", "two", "three", "four"], |fleet| {
        for name in ["one", "two", "three", "four"] {
            fleet.stop(name)?;
            fleet.start(name)?;
            fleet.wait_owners(4)?;
        }
        Ok(())
    })?;
    stage.step("restart of one", &["two"], |fleet| {
        fleet.stop("two")?;
        fleet.start("two")?;
        fleet.wait_owners(4)
    })?;
    stage.step("4 to 2", &["three", "four"], |fleet| {
        fleet.stop("three")?;
        fleet.stop("four")?;
        fleet.wait_owners(2)
    })?;
    stage.step("zombie", &["two"], |fleet| {
        fleet.signal("two", Signal::Stop)?;
        fleet.wait_owners(1)?;
        fleet.signal("two", Signal::Continue)?;
        fleet.wait_owners(2)
    })?;
    let expected = stage.pace.stop()?;
    stage.silence.wait(expected.iter().map(|count| u64::from(*count)).sum())?;
    drop(stage.fleet);
    verify::output(&servers, &counts, &expected, true)?;
    topics::delete(&servers, &[&events, &counts, &changelog, &instances])?;
    Ok(stage.steps)
}

struct Stage<'a> {
    fleet: Fleet<'a>,
    silence: Silence,
    pace: Pace,
    steps: Vec<Step>,
}

impl<'a> Stage<'a> {
    /// Does something to the fleet and takes down the gaps. `touched`: instances that are stopped in it.
    fn step(
        &mut self,
        name: &'static str,
        touched: &[&str],
        act: impl FnOnce(&mut Fleet<'a>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (before, begun) = (self.fleet.owners()?, Instant::now());
        let touched: BTreeSet<_> = touched.iter().filter_map(|name| self.fleet.address(name)).collect();
        act(&mut self.fleet).map_err(|error| format!("{name}: {error}"))?;
        std::thread::sleep(SETTLING);
        if !self.pace.goes_on() {
            return Err(format!("{name}: the load has ended by itself").into());
        }
        let after = self.fleet.owners()?;
        let gaps = self.silence.longest_since(begun)?;
        let mut step = Step { name, untouched: Vec::new(), moved: Vec::new() };
        for (partition, gap) in gaps.into_iter().enumerate() {
            let (was, is) = (before.get(&partition), after.get(&partition));
            let stays = was == is && was.is_some_and(|owner| !touched.contains(owner));
            let gaps = if stays { &mut step.untouched } else { &mut step.moved };
            gaps.push(gap.as_secs_f64() * 1000.0);
        }
        println!("{name:>16}: untouched {:.0?} ms, moved {:.0?} ms", step.untouched, step.moved);
        self.steps.push(step);
        Ok(())
    }
}

/// The value below which a part of them is, of all.
fn quantile(gaps: &[f64], part: f64) -> Value {
    let mut sorted = gaps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1);
    sorted.get(at).map_or(Value::Null, |gap| report::rounded(*gap))
}

fn figures(gaps: &[f64]) -> Value {
    json!({ "p50_ms": quantile(gaps, 0.5), "p99_ms": quantile(gaps, 0.99), "gaps": gaps.len() })
}

fn summary(steps: &[Step]) -> Value {
    let all = |of: fn(&Step) -> &Vec<f64>, name: Option<&str>| {
        let own = steps.iter().filter(|step| name.is_none_or(|name| step.name == name));
        figures(&own.flat_map(|step| of(step).iter().copied()).collect::<Vec<_>>())
    };
    let names: BTreeSet<&str> = steps.iter().map(|step| step.name).collect();
    let of_step = |name: &&str| {
        let body = json!({ "untouched": all(|step| &step.untouched, Some(name)), "moved": all(|step| &step.moved, Some(name)) });
        ((*name).to_owned(), body)
    };
    json!({
        "untouched": all(|step| &step.untouched, None),
        "moved": all(|step| &step.moved, None),
        "steps": names.iter().map(of_step).collect::<serde_json::Map<_, _>>(),
    })
}
