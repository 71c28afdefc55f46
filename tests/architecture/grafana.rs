//! Dashboards, rules and alerts: complete, parsable, and in agreement with the catalogue of metrics.

use std::collections::BTreeSet;
use std::fs;

use headrace::telemetry::{Kind, Metrics};
use serde_json::Value;

use super::tree::{root, walk};

/// Metrics that are on no panel, and why.
const NOT_ON_A_PANEL: &[(&str, &str)] = &[];

/// An expression and where it stands.
struct Expression {
    place: String,
    text: String,
    /// Whether it is a panel's, with variables.
    panel: bool,
}

/// The checks, and that each can fail.
pub(crate) fn check() {
    can_fail();
    let (mut complaints, mut expressions) = (Vec::new(), Vec::new());
    for path in walk(&root().join("grafana/dashboards"), "json") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        complaints.extend(dashboard_rules(&name, &dashboard));
        for panel in panels(&dashboard) {
            complaints.extend(panel_rules(&name, panel));
            expressions.extend(targets(&name, panel));
        }
    }
    let rules = ["alerts.yml", "recording-rules.yml"].map(|name| rule_expressions(name, &read(name)));
    let recorded: BTreeSet<String> = values(&read("recording-rules.yml"), "- record:").into_iter().collect();
    let panels: Vec<&Expression> = expressions.iter().collect();
    complaints.extend(coverage(&panels));
    expressions.extend(rules.into_iter().flatten());
    complaints.extend(expressions.iter().flat_map(|expression| expression_rules(expression, &recorded)));
    complaints.extend(runbooks(&read("alerts.yml"), &fs::read_to_string(root().join("docs/runbooks.md")).unwrap()));
    complaints.extend(alert_cases(&read("alerts.yml"), &read("tests/alerts-test.yml")));
    assert!(expressions.len() > 50 && recorded.len() > 3, "the expressions were not found");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join("grafana").join(name)).unwrap()
}

/// The values of a key in a YAML file that has each on one line.
fn values(yaml: &str, key: &str) -> Vec<String> {
    yaml.lines().filter_map(|line| Some(line.trim().strip_prefix(key)?.trim().to_owned())).collect()
}

fn rule_expressions(name: &str, yaml: &str) -> Vec<Expression> {
    let expression =
        |(number, text): (usize, String)| Expression { place: format!("{name} #{}", number + 1), text, panel: false };
    values(yaml, "expr:").into_iter().enumerate().map(expression).collect()
}

fn dashboard_rules(name: &str, dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut want = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{name}: {what}"));
        }
    };
    let text = |key: &str| dashboard[key].as_str().unwrap_or_default();
    want(text("uid").starts_with("headrace-"), "a fixed uid, headrace-…");
    want(text("title").starts_with("Headrace: "), "a title");
    want(text("description").len() > 20, "a description");
    want(dashboard["editable"] == false, "editable: false");
    want(dashboard["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "headrace")), "the tag headrace");
    let variables = dashboard["templating"]["list"].as_array().cloned().unwrap_or_default();
    let variable = |name: &str| variables.iter().find(|variable| variable["name"] == name);
    want(variable("datasource").is_some_and(|variable| variable["type"] == "datasource"), "a datasource variable");
    for name in ["job", "instance"] {
        want(
            variable(name).is_some_and(|variable| variable["multi"] == true),
            &format!("a variable {name} of many values"),
        );
    }
    let ids: Vec<&Value> = all_panels(dashboard).map(|panel| &panel["id"]).collect();
    let unique: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    want(unique.len() == ids.len(), "panel ids that differ");
    found
}

fn all_panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().into_iter().flatten()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    all_panels(dashboard).filter(|panel| panel["type"] != "row")
}

fn place(name: &str, panel: &Value) -> String {
    format!("{name}, panel {} `{}`", panel["id"], panel["title"].as_str().unwrap_or_default())
}

fn panel_rules(name: &str, panel: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut want = |holds: bool, what: &str| {
        if !holds {
            found.push(format!("{}: {what}", place(name, panel)));
        }
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().len();
    let data_source = |value: &Value| value["datasource"]["uid"] == "${datasource}";
    want(text(&panel["title"]) > 2, "a title");
    want(text(&panel["description"]) > 15, "a description");
    want(text(&panel["fieldConfig"]["defaults"]["unit"]) > 0, "a unit");
    want(data_source(panel), "the datasource variable");
    let targets = panel["targets"].as_array().cloned().unwrap_or_default();
    want(!targets.is_empty(), "a target");
    want(targets.iter().all(data_source), "the datasource variable in each target");
    found
}

fn targets(name: &str, panel: &Value) -> Vec<Expression> {
    let place = place(name, panel);
    let text = |target: &Value| target["expr"].as_str().unwrap_or_default().to_owned();
    let targets = panel["targets"].as_array().into_iter().flatten();
    targets.map(|target| Expression { place: place.clone(), text: text(target), panel: true }).collect()
}

/// A series that an expression selects.
struct Selector<'a> {
    name: &'a str,
    /// Label, operator, value.
    matchers: Vec<(&'a str, &'a str, &'a str)>,
    /// The text between `[` and `]`.
    range: Option<&'a str>,
}

/// The selectors of our metrics in an expression. Whether it is PromQL as a whole is Prometheus' to say: see the test
/// `dashboards` of the package `e2e`.
fn selectors(text: &str) -> Result<Vec<Selector<'_>>, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(start) = rest.find(is_name) {
        let tail = &rest[start..];
        let end = tail.find(|c| !is_name(c)).unwrap_or(tail.len());
        let name = &tail[..end];
        rest = &tail[end..];
        let mut matchers = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            let close = inside.find('}').ok_or("a { is not closed")?;
            matchers = inside[..close]
                .split(',')
                .map(matcher)
                .collect::<Option<_>>()
                .ok_or("a matcher is not label op value")?;
            rest = &inside[close + 1..];
        }
        let mut range = None;
        if let Some(inside) = rest.strip_prefix('[') {
            let close = inside.find(']').ok_or("a [ is not closed")?;
            range = Some(&inside[..close]);
            rest = &inside[close + 1..];
        }
        if name == "up" || name.starts_with("headrace_") || name.starts_with("job:") {
            found.push(Selector { name, matchers, range });
        }
    }
    Ok(found)
}

fn matcher(text: &str) -> Option<(&str, &str, &str)> {
    let at = text.find(['=', '!'])?;
    let quote = text.find('"')?;
    Some((text[..at].trim(), &text[at..quote], text[quote + 1..].strip_suffix('"')?))
}

/// The catalogue's name of a series: a histogram has three.
fn family(series: &str) -> &str {
    let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.strip_suffix(suffix));
    stem.filter(|stem| Metrics::catalogue().iter().any(|metric| metric.name == *stem)).unwrap_or(series)
}

fn expression_rules(expression: &Expression, recorded: &BTreeSet<String>) -> Vec<String> {
    let selectors = match selectors(&expression.text) {
        Ok(selectors) => selectors,
        Err(error) => return vec![format!("{}: {error}", expression.place)],
    };
    let mut found = Vec::new();
    for selector in &selectors {
        let name = selector.name;
        let mut complain = |what: &str| found.push(format!("{}: {name}: {what}", expression.place));
        let metric = Metrics::catalogue().iter().find(|metric| metric.name == family(name));
        if metric.is_none() && !recorded.contains(name) && name != "up" {
            complain("there is no such metric");
        }
        if metric.is_some_and(|metric| metric.kind != Kind::Gauge) && selector.range.is_none() {
            complain("a counter without rate or increase");
        }
        if expression.panel && selector.range.is_some_and(|range| !["$__rate_interval", "$__range"].contains(&range)) {
            complain("a fixed range instead of $__rate_interval");
        }
        for (label, ..) in selector.matchers.iter().filter(|(label, ..)| is_foreign(metric, label)) {
            complain(&format!("has no label {label}"));
        }
        let labels: &[&str] = if metric.is_some() { &["job", "instance"] } else { &["job"] };
        for label in labels.iter().filter(|_| expression.panel) {
            if !selector.matchers.contains(&(label, "=~", &format!("${label}"))) {
                complain(&format!("{label}=~\"${label}\" is missing"));
            }
        }
    }
    found
}

fn is_foreign(metric: Option<&headrace::telemetry::Metric>, label: &str) -> bool {
    let own = |metric: &headrace::telemetry::Metric| {
        metric.labels.contains(&label) || (label == "le" && metric.kind == Kind::Histogram)
    };
    metric.is_some_and(|metric| !own(metric)) && !["job", "instance"].contains(&label)
}

/// Every metric is on a panel, or exempt.
fn coverage(panels: &[&Expression]) -> Vec<String> {
    let selected = panels.iter().filter_map(|expression| selectors(&expression.text).ok()).flatten();
    let used: BTreeSet<&str> = selected.map(|selector| family(selector.name)).collect();
    let on_a_panel = |name: &str| used.contains(name);
    let exempt = |name: &str| NOT_ON_A_PANEL.iter().any(|(exempt, _)| *exempt == name);
    let missing = Metrics::catalogue().iter().filter(|metric| !on_a_panel(metric.name) && !exempt(metric.name));
    missing.map(|metric| format!("{} is on no panel", metric.name)).collect()
}

/// Each alert has a runbook, and each runbook an alert.
fn runbooks(alerts: &str, document: &str) -> Vec<String> {
    let anchors: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("## Headrace"))
        .map(|name| format!("headrace{}", name.to_lowercase()))
        .collect();
    let names: BTreeSet<String> = values(alerts, "- alert:").iter().map(|name| name.to_lowercase()).collect();
    let linked: BTreeSet<String> = values(alerts, "runbook_url:")
        .iter()
        .filter_map(|url| Some(url.split_once("docs/runbooks.md#")?.1.to_owned()))
        .collect();
    let missing = names.iter().filter(|name| !anchors.contains(*name) || !linked.contains(*name));
    let unknown = anchors.iter().filter(|anchor| !names.contains(*anchor));
    missing
        .map(|name| format!("alert {name}: no section in docs/runbooks.md, or no link to it"))
        .chain(unknown.map(|anchor| format!("docs/runbooks.md: {anchor} is no alert")))
        .collect()
}

/// Each alert has a case for `promtool test rules`.
fn alert_cases(alerts: &str, cases: &str) -> Vec<String> {
    let names = values(alerts, "- alert:");
    let missing = names.iter().filter(|name| !cases.contains(&format!("alertname=\"{name}\"")));
    missing.map(|name| format!("alert {name}: no case in grafana/tests/alerts-test.yml")).collect()
}

fn can_fail() {
    let complaints = |text: &str, panel: bool| {
        let expression = Expression { place: "sample".into(), text: text.into(), panel };
        expression_rules(&expression, &BTreeSet::from(["job:x:y".to_owned()])).len()
    };
    assert_eq!(complaints("rate(headrace_commits_total[5m])", false), 0);
    assert_eq!(complaints("job:x:y > 1", false), 0);
    assert_eq!(complaints("rate(headrace_commits_total[", false), 1, "no end");
    assert_eq!(complaints("headrace_nothing", false), 1, "unknown");
    assert_eq!(complaints("headrace_commits_total", false), 1, "a bare counter");
    assert_eq!(complaints("headrace_ready{task=\"x\"}", false), 1, "a label that it does not have");
    assert_eq!(complaints("headrace_ready", true), 2, "no job, no instance");
    let matched = r#"rate(headrace_commits_total{job=~"$job", instance=~"$instance"}[5m])"#;
    assert_eq!(complaints(matched, true), 1, "a fixed range");
    assert_eq!(complaints(&matched.replace("5m", "$__rate_interval"), true), 0);
    let bare: Value = serde_json::json!({"panels": [{"id": 1, "type": "stat"}, {"id": 1, "type": "row"}]});
    assert_eq!(dashboard_rules("sample", &bare).len(), 9);
    assert_eq!(panel_rules("sample", &bare["panels"][0]).len(), 5);
    assert_eq!(coverage(&[]).len(), Metrics::catalogue().len() - NOT_ON_A_PANEL.len());
    assert_eq!(runbooks("- alert: HeadraceX\nrunbook_url: a", "## HeadraceY\n").len(), 2);
    assert_eq!(alert_cases("- alert: HeadraceX", "").len(), 1);
}
