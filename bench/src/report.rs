//! The one shape of all results, and the table that a person reads.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::Failure;
use crate::measure::Run;

fn median(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let middle = figures[figures.len() / 2];
    (middle, figures[0], figures[figures.len() - 1])
}

/// Medians of several runs with their extremes.
pub(crate) fn summary(runs: &[Run]) -> Map<String, Value> {
    let mut map = Map::new();
    let figures: [(&str, Vec<f64>); 6] = [
        ("records_per_second", runs.iter().map(Run::records_per_second).collect()),
        ("seconds", runs.iter().map(|run| run.elapsed.as_secs_f64()).collect()),
        ("cpu_seconds", runs.iter().map(|run| run.cpu_seconds).collect()),
        ("cpu_seconds_per_million", runs.iter().map(Run::cpu_seconds_per_million).collect()),
        ("peak_rss_bytes", runs.iter().map(|run| run.peak_rss_bytes as f64).collect()),
        ("broker_cpu_seconds", runs.iter().filter_map(|run| run.broker_cpu_seconds).collect()),
    ];
    for (name, values) in figures.into_iter().filter(|(_, values)| !values.is_empty()) {
        let (middle, least, most) = median(values);
        map.insert(name.to_owned(), rounded(middle));
        map.insert(format!("{name}_min"), rounded(least));
        map.insert(format!("{name}_max"), rounded(most));
    }
    map
}

pub(crate) fn rounded(value: f64) -> Value {
    if value >= 1000.0 { json!(value.round() as u64) } else { json!((value * 1000.0).round() / 1000.0) }
}

/// The median of the ratios of runs that stood next to each other: ours to the other's records per second.
pub(crate) fn ratio(ours: &[Run], other: &[Run]) -> Value {
    ratio_of(ours, other, Run::records_per_second)
}

/// The same of another figure.
pub(crate) fn ratio_of(ours: &[Run], other: &[Run], figure: impl Fn(&Run) -> f64) -> Value {
    let pairs: Vec<f64> = ours.iter().zip(other).map(|(a, b)| figure(a) / figure(b)).collect();
    if pairs.is_empty() { Value::Null } else { rounded(median(pairs).0) }
}

/// Writes `out/bench/<name>.json`.
pub(crate) fn write(name: &str, body: Value) -> Result<(), Failure> {
    let directory = Path::new("out/bench");
    fs::create_dir_all(directory)?;
    let path = directory.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_string_pretty(&body)? + "\n")?;
    println!("wrote {}", path.display());
    Ok(())
}

/// The commit that was measured, with `+` where the tree had changes.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain"]).is_some_and(|status| !status.is_empty());
    let head = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    if changed { head + "+" } else { head }
}

/// Processor and memory of the machine.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: u64 = total.trim().trim_end_matches("kB").trim().parse().unwrap_or(0);
    format!("{cores} cores ({}), {} GiB", model.trim_start_matches(['\t', ':', ' ']), kib >> 20)
}
