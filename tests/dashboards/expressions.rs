//! Reads the expressions out of `grafana/`, with the dashboards' variables filled in.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// The dashboard of all topologies. Each of the others is of the topology whose name it has.
const OVERVIEW: &str = "overview";

/// An expression and where it stands.
pub(crate) struct Expression {
    pub(crate) place: String,
    pub(crate) text: String,
}

/// A file of `grafana/`.
pub(crate) fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../grafana").join(name)
}

/// All of them. Of an alert it is the side before the comparison: an alert is empty while all is well, and what it
/// compares must not be.
pub(crate) fn all() -> Vec<Expression> {
    let mut found: Vec<Expression> = dashboards().iter().flat_map(|name| panels(name)).collect();
    found.extend(rules("recording-rules.yml").into_iter().map(|(place, text)| Expression { place, text }));
    for (place, text) in rules("alerts.yml") {
        for part in text.split(" and ") {
            let compared = part.split_once(" > ").or_else(|| part.split_once(" == ")).map_or(part, |(left, _)| left);
            found.push(Expression { place: place.clone(), text: compared.to_owned() });
        }
        found.push(Expression { place: format!("{place}, as a whole"), text: format!("({text}) or vector(0)") });
    }
    found
}

/// The names of all dashboards: one that is added is checked, too.
fn dashboards() -> Vec<String> {
    let files = fs::read_dir(file("dashboards")).expect("the folder of the dashboards");
    let paths = files.map(|entry| entry.expect("a file of it").path());
    let mut names: Vec<String> =
        paths.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

fn panels(name: &str) -> Vec<Expression> {
    let dashboard: Value = serde_json::from_str(&read(&format!("dashboards/{name}.json"))).expect("JSON");
    // A topology's panels must not live on the series of another one.
    let job = if name == OVERVIEW { ".*" } else { name };
    let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
    let targets = panels.iter().flat_map(|panel| {
        let place = format!("{name}.json: {}", panel["title"].as_str().unwrap_or_default());
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (place.clone(), target["expr"].as_str().unwrap_or_default().to_owned()))
    });
    targets.map(|(place, text)| Expression { place, text: filled_in(&text, job) }).collect()
}

fn filled_in(text: &str, job: &str) -> String {
    // Prometheus scrapes each second here.
    let ranges = text.replace("$__rate_interval", "15s").replace("$__range", "1m");
    let variables = [("$job", job), ("$instance", ".*"), ("$topic", ".*")];
    variables.iter().fold(ranges, |text, (variable, value)| text.replace(variable, value))
}

/// Name and expression of each rule; every value is on one line.
fn rules(name: &str) -> Vec<(String, String)> {
    let text = read(name);
    let value = |line: &str, key: &str| line.trim().strip_prefix(key).map(|value| value.trim().to_owned());
    let names = text.lines().filter_map(|line| value(line, "- alert:").or_else(|| value(line, "- record:")));
    let expressions = text.lines().filter_map(|line| value(line, "expr:"));
    names.zip(expressions).map(|(rule, text)| (format!("{name}: {rule}"), text)).collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).expect("a file of grafana/")
}
