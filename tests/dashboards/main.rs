//! Every expression of the dashboards, alerts and recording rules gives a result on a real Prometheus that scrapes a
//! running `cdc-invalidation`, `task-queue` and `write-ahead-log`, all under load.
//!
//! No Grafana server is needed: a panel is wrong when its expression is, or when it is empty where it should not be.
//!
//! ```text
//! changes ────▶ Kafka ──▶ cdc-invalidation ──▶ Redis
//! tasks ──────▶ Kafka ──▶ task-queue ◀──▶ handlers
//! mutations ────────────▶ write-ahead-log ──▶ Redis, a receiver
//!                         (this binary, started again)
//!                          └── /metrics ◀── Prometheus ◀── every expression
//! ```

mod application;
mod changes;
mod expressions;
mod load;
mod mutations;
mod tasks;

use std::process::ExitCode;
use std::time::Duration;

use chaos::Result;
use testbed::{ScrapeTarget, Testbed, free_port, wait};

use application::{Application, CHILD};
use expressions::Expression;
use load::Load;

/// Until an expression has a result: several scrapes, and two evaluations of the recording rules.
const PATIENCE: Duration = Duration::from_secs(90);

/// Metrics, and selectors of them, whose series come to life only when something happens that a healthy run does not
/// have.
const EMPTY_WHEN_HEALTHY: &[(&str, &str)] = &[
    ("headrace_aborts_total", "nothing is aborted"),
    ("headrace_producer_recycles_total", "no producer is replaced"),
    ("headrace_external_retries_total", "Redis answers at once"),
    ("outcome=\"refused\"", "Redis refuses nothing"),
    ("headrace_wire_disconnects_total", "no connection ends"),
    ("headrace_restore_remaining_records", "the state is new, nothing is restored"),
    ("headrace_restore_progress_ratio", "the same"),
    ("headrace_restore_eta_seconds", "the same"),
    ("headrace_restore_rate_records", "the same"),
    ("headrace_restore_rate_bytes", "the same"),
    ("headrace_quer", "nobody asks the stores"),
    ("headrace_partition_gap_seconds", "no rebalance within the last seconds"),
    ("headrace_standby_behind_seconds", "there are no standbys"),
    ("headrace_rebalance_seconds", "no rebalance within the last seconds"),
    (NOT_DONE, "no attempt goes back to the brokers; a handler's no is an outcome, too"),
];

/// A matcher; without it there has to be a result.
const NOT_DONE: &str = "outcome!=\"done\", ";

fn main() -> ExitCode {
    match std::env::var(CHILD).as_deref() {
        Ok(changes::JOB) => headrace::cli::main(changes::JOB, cdc_invalidation::DEFAULTS, cdc_invalidation::topology),
        Ok(tasks::JOB) => {
            headrace::cli::main_with(tasks::JOB, task_queue::DEFAULTS, task_queue::parts, task_queue::commands::run)
        }
        Ok(mutations::JOB) => {
            let (defaults, parts) = (write_ahead_log::DEFAULTS, write_ahead_log::parts);
            headrace::cli::main_with(mutations::JOB, defaults, parts, write_ahead_log::commands::run)
        }
        Ok(name) => fail(&format!("there is no application {name}")),
        Err(_) => match run() {
            Ok(count) => {
                println!("{count} expressions have a result, or are known to have none while all is well");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error.to_string()),
        },
    }
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("dashboards: {reason}");
    ExitCode::FAILURE
}

fn run() -> Result<usize> {
    let [of_changes, of_tasks, of_mutations] = [free_address()?, free_address()?, free_address()?];
    let targets = [(changes::JOB, &of_changes), (tasks::JOB, &of_tasks), (mutations::JOB, &of_mutations)];
    let targets = targets.map(|(job, address)| ScrapeTarget::new(job, address));
    let rules = [expressions::file("recording-rules.yml"), expressions::file("alerts.yml")];
    let bed = Testbed::builder().kafka().registry().redis().prometheus_with(&targets, &rules).start()?;
    let (servers, ground) = (bed.kafka()?.bootstrap_servers().to_owned(), tasks::ground(&bed)?);
    changes::create_topic(&servers)?;
    let (handlers, receiver) = (tasks::handlers(&of_tasks)?, mutations::Receiver::start()?);
    let mut applications = [
        Application::prepare(&bed, changes::JOB, &of_changes, &changes::settings(&bed)?)?,
        Application::prepare(&bed, tasks::JOB, &of_tasks, &tasks::settings(&handlers))?,
        Application::prepare(&bed, mutations::JOB, &of_mutations, "")?,
    ];
    applications.iter_mut().try_for_each(Application::start)?;
    let [.., log] = &applications;
    mutations::set_namespaces(&bed, log, &receiver)?;
    let of_log = servers.clone();
    let loads = [
        Load::start(move |stop| changes::produce(&servers, stop)),
        Load::start(move |stop| tasks::produce(&ground, stop)),
        Load::start(move |stop| mutations::produce(&of_mutations, &of_log, stop)),
    ];
    let all = expressions::all();
    let failures = failures(&bed, &all)?;
    loads.into_iter().try_for_each(Load::stop)?;
    if failures.is_empty() { Ok(all.len()) } else { Err(failures.join("\n").into()) }
}

fn free_address() -> Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

/// Expressions that are wrong, or have no result though they should.
fn failures(bed: &Testbed, all: &[Expression]) -> Result<Vec<String>> {
    if has_result(bed, "headrace_nothing_of_this_name").is_ok() || has_result(bed, "rate(").is_ok() {
        return Err("an expression without a result must be seen".into());
    }
    let began = std::time::Instant::now();
    let mut failures = Vec::new();
    for expression in all {
        let excuse = EMPTY_WHEN_HEALTHY.iter().map(|(excuse, _)| *excuse).find(|one| expression.text.contains(one));
        // Of a metric that there is, only what is selected may be missing.
        let matcher = excuse.filter(|excuse| excuse.contains('='));
        let text = matcher.map_or_else(|| expression.text.clone(), |matcher| without(&expression.text, matcher));
        let may_be_empty = excuse.is_some() && matcher.is_none();
        let patience = if may_be_empty { Duration::ZERO } else { PATIENCE.saturating_sub(began.elapsed()) };
        match wait::until(&expression.place, patience, || has_result(bed, &text)) {
            Err(error) if !may_be_empty || error.to_string().contains("PromQL") => {
                failures.push(format!("{}: {error}: {}", expression.place, expression.text));
            }
            _ => {}
        }
    }
    Ok(failures)
}

/// The expression without a matcher of its selectors.
fn without(expression: &str, matcher: &str) -> String {
    expression.replace(&format!("{matcher}, "), "").replace(matcher, "")
}

fn has_result(bed: &Testbed, expression: &str) -> std::result::Result<(), String> {
    let prometheus = bed.prometheus().map_err(|error| error.to_string())?;
    let result = prometheus.query(expression).map_err(|error| format!("no PromQL: {error}"))?;
    let series = result.as_array().ok_or("no vector")?;
    // A quantile of nothing is NaN.
    let some = series.iter().any(|series| series["value"][1].as_str().is_some_and(|value| value != "NaN"));
    if some { Ok(()) } else { Err(format!("empty: {} series", series.len())) }
}
