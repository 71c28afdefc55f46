//! The proof with its control arm, and the line that tells what it has shown.

use std::process::ExitCode;

use serde_json::json;
use testbed::{Cache, Dirs, Postgres, Redis, Registry};

use super::kills::{self, Outcome, Stores};
use super::{naive, regions};
use crate::Result;
use crate::brokers::Cluster;
use crate::report;

/// Mutations for each kill, if nothing else is said.
const MUTATIONS_PER_KILL: u32 = 1_000;
/// So many at least: the fourth is followed by a broker's.
const FEWEST_KILLS: u32 = 4;

/// Each region writes this part of the mutations.
const REGIONS_PART: u32 = 8;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// Decides about mutations, victims and failing calls.
    pub seed: u64,
    /// Mutations under kills.
    pub mutations: u32,
    /// Kills of instances; one for each thousand mutations if nothing is said.
    pub kills: Option<u32>,
}

/// Runs it. Success: ours holds, and the control arm fails each check.
///
/// # Errors
/// Something does not get on.
pub fn run(wanted: Whole) -> Result<ExitCode> {
    let Whole { seed, mutations, kills } = wanted;
    let kills = kills.unwrap_or_else(|| mutations.div_ceil(MUTATIONS_PER_KILL).max(FEWEST_KILLS));
    let control = naive::control(seed);
    let super::judge::Findings { lost, duplicated, early, reordered, .. } = control;
    println!("control arm: lost={lost} duplicated_effects={duplicated} early={early} reordered={reordered}");
    let (cache, dirs) = (Cache::open()?, Dirs::new()?);
    let registry = Registry::start(&cache, &dirs)?;
    let (redis, postgres) = (Redis::start(&cache, &dirs)?, Postgres::start(&cache, &dirs)?);
    // The same brokers as those of the task queue's kills: who is slow because all cores are busy is not taken for dead.
    let cluster = Cluster::start_for_share_groups()?;
    let stores = Stores { redis: &redis, postgres: &postgres };
    let regions = regions::run(seed, mutations.div_ceil(REGIONS_PART))?;
    regions.findings.examples.iter().for_each(|example| println!("WRONG: {example}"));
    println!("{}", line_of(&regions));
    let outcome = kills::run(cluster.brokers(), registry.url(), stores, &kills::Wanted { seed, mutations, kills })?;
    let Outcome { findings, calls, repeated, instance_kills, broker_kills, target_kills, exits, took, .. } = &outcome;
    findings.examples.iter().for_each(|example| println!("WRONG: {example}"));
    let rate = f64::from(mutations) / took.as_secs_f64();
    println!(
        "{calls} calls over HTTP, {repeated} of them again; {} overtaken; {exits} ends by themselves; {:.0} s, {rate:.0} mutations/s",
        findings.overtaken,
        took.as_secs_f64(),
    );
    let figures = json!({
        "mutations": mutations,
        "mutations_per_second": rate.round(),
        "instance_kills": instance_kills,
        "broker_kills": broker_kills,
        "target_kills": target_kills,
        "lost": findings.lost,
        "duplicated_effects": findings.duplicated,
        "early": findings.early,
        "reordered": findings.reordered,
    });
    let detail = json!({
        "seed": seed,
        "calls": calls,
        "repeated_calls": repeated,
        "overtaken": findings.overtaken,
        "exits": exits,
        "control": { "lost": lost, "duplicated_effects": duplicated, "early": early, "reordered": reordered },
        "regions": regions.figures(),
        "regions_diary": regions.diary.json(),
        "diary": outcome.diary.json(),
    });
    report::write("write-ahead-log", figures, detail)?;
    let is_caught = control.is_of_each_kind();
    println!(
        "mutations={mutations} instance_kills={instance_kills} broker_kills={broker_kills} target_kills={target_kills} \
         lost={} duplicated_effects={} early={} reordered={} control_arm={}",
        findings.lost,
        findings.duplicated,
        findings.early,
        findings.reordered,
        if is_caught { "failed" } else { "passed" },
    );
    Ok(if findings.is_clean() && is_caught && regions.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line_of(regions: &regions::Outcome) -> String {
    let regions::Outcome { findings, mutations, cuts, kills, converged, .. } = regions;
    format!(
        "regions=2 mutations={mutations} cuts={cuts} kills={kills} conflicts={} converged_ms={} lost={} wrong_keys={} divergent_keys={} \
         control_arm={}",
        findings.conflicts,
        converged.as_millis(),
        findings.lost,
        findings.wrong,
        findings.divergent,
        if findings.control > 0 { "failed" } else { "passed" },
    )
}
