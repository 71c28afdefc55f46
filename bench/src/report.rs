//! The one shape of all results, and the table that a person reads.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
pub(crate) use testbed::here::{commit, machine};

use crate::Failure;
use crate::measure::Run;

fn median(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let middle = figures[figures.len() / 2];
    (middle, figures[0], figures[figures.len() - 1])
}

/// Medians of several runs with their extremes.
pub(crate) fn summary(runs: &[Run]) -> Map<String, Value> {
    let all: [(&str, Vec<f64>); 6] = [
        ("records_per_second", runs.iter().map(Run::records_per_second).collect()),
        ("seconds", runs.iter().map(|run| run.elapsed.as_secs_f64()).collect()),
        ("cpu_seconds", runs.iter().map(|run| run.cpu_seconds).collect()),
        ("cpu_seconds_per_million", runs.iter().map(Run::cpu_seconds_per_million).collect()),
        ("peak_rss_bytes", runs.iter().map(|run| run.peak_rss_bytes as f64).collect()),
        ("broker_cpu_seconds", runs.iter().filter_map(|run| run.broker_cpu_seconds).collect()),
    ];
    figures(all)
}

/// The same of figures by their names; one without values is left out.
pub(crate) fn figures<'a>(all: impl IntoIterator<Item = (&'a str, Vec<f64>)>) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, values) in all.into_iter().filter(|(_, values)| !values.is_empty()) {
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
    middle(pairs)
}

/// The median, or null if there is nothing.
pub(crate) fn middle(figures: Vec<f64>) -> Value {
    if figures.is_empty() { Value::Null } else { rounded(median(figures).0) }
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
