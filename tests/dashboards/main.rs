//! Every expression of the dashboards, alerts and recording rules gives a result on a real Prometheus that scrapes a
//! running `cdc-invalidation` under load.
//!
//! No Grafana server is needed: a panel is wrong when its expression is, or when it is empty where it should not be.
//!
//! ```text
//! load ──▶ Kafka ──▶ cdc-invalidation (this binary, started again) ──▶ Redis
//!                          └── /metrics ◀── Prometheus ◀── every expression
//! ```

mod expressions;
mod load;

use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use testbed::{ScrapeTarget, Testbed, free_port, wait};

use expressions::Expression;

/// Set in the process that is the application.
const CHILD: &str = "HEADRACE_DASHBOARDS_CHILD";
const JOB: &str = "cdc-invalidation";
/// Until an expression has a result: several scrapes, and two evaluations of the recording rules.
const PATIENCE: Duration = Duration::from_secs(90);

/// Metrics whose series come to life only when something happens that a healthy run does not have.
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
    ("headrace_punctuation", "its processors have no punctuators"),
    ("headrace_worker_", "it has no workers"),
    ("headrace_share_lag_records", "the same"),
    ("headrace_rebalance_seconds", "no rebalance within the last seconds"),
];

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return headrace::cli::main(JOB, cdc_invalidation::DEFAULTS, cdc_invalidation::topology);
    }
    match run() {
        Ok(count) => {
            println!("{count} expressions have a result, or are known to have none while all is well");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("dashboards: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let targets = [ScrapeTarget::new(JOB, &address)];
    let rules = [expressions::file("recording-rules.yml"), expressions::file("alerts.yml")];
    let bed = Testbed::builder().kafka().registry().redis().prometheus_with(&targets, &rules).start()?;
    let state = tempfile::tempdir()?;
    let application = |arguments: &[&str]| -> std::io::Result<Child> {
        Command::new(std::env::current_exe()?)
            .args(arguments)
            .env(CHILD, "1")
            .env("HEADRACE__HTTP__LISTEN", &address)
            .env("HEADRACE__STATE__DIRECTORY", state.path())
            .env("HEADRACE__LOG__FILTER", "warn")
            .envs(bed.addresses().into_iter().filter(|(name, _)| name.starts_with("HEADRACE__")))
            .spawn()
    };
    load::create_topic(bed.kafka()?.bootstrap_servers())?;
    if !application(&["apply"])?.wait()?.success() {
        return Err("apply failed".into());
    }
    let running = Application(application(&["run"])?);
    let load = load::Load::start(bed.kafka()?.bootstrap_servers());
    let all = expressions::all();
    let failures = failures(&bed, &all)?;
    load.stop()?;
    drop(running);
    if failures.is_empty() { Ok(all.len()) } else { Err(failures.join("\n").into()) }
}

/// Expressions that are wrong, or have no result though they should.
fn failures(bed: &Testbed, all: &[Expression]) -> Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>> {
    if has_result(bed, "headrace_nothing_of_this_name").is_ok() || has_result(bed, "rate(").is_ok() {
        return Err("an expression without a result must be seen".into());
    }
    let began = std::time::Instant::now();
    let mut failures = Vec::new();
    for expression in all {
        let may_be_empty = EMPTY_WHEN_HEALTHY.iter().any(|(metric, _)| expression.text.contains(metric));
        let patience = if may_be_empty { Duration::ZERO } else { PATIENCE.saturating_sub(began.elapsed()) };
        match wait::until(&expression.place, patience, || has_result(bed, &expression.text)) {
            Err(error) if !may_be_empty || error.to_string().contains("PromQL") => {
                failures.push(format!("{}: {error}: {}", expression.place, expression.text));
            }
            _ => {}
        }
    }
    Ok(failures)
}

fn has_result(bed: &Testbed, expression: &str) -> Result<(), String> {
    let prometheus = bed.prometheus().map_err(|error| error.to_string())?;
    let result = prometheus.query(expression).map_err(|error| format!("no PromQL: {error}"))?;
    let series = result.as_array().ok_or("no vector")?;
    // A quantile of nothing is NaN.
    let some = series.iter().any(|series| series["value"][1].as_str().is_some_and(|value| value != "NaN"));
    if some { Ok(()) } else { Err(format!("empty: {} series", series.len())) }
}

/// The running application; killed at the end, which it is made for.
struct Application(Child);

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended by itself, which the expressions would have shown.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
