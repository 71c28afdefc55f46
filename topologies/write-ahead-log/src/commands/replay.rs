//! `replay`: what came in a time once more, without what broke something.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use headrace::config::Span;
use headrace::error::FatalError;
use headrace::kafka::FollowedRecord;

use super::Console;
use super::namespaces::known;
use crate::mutation::Mutation;
use crate::replay::{Asked, Came, Expression, Plan, shown};

/// How long the brokers may give nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// Mutations that are written together.
const TOGETHER: usize = 500;
/// Between two updates of the display.
const TICK: Duration = Duration::from_secs(1);
/// Keys that are shown.
const SHOWN: usize = 20;

/// See [`Command::Replay`](super::Command::Replay).
#[derive(Debug, Args)]
pub struct Replay {
    /// The namespace.
    name: String,
    /// From when on: a time such as 2026-12-01T08:00:00Z, or how long ago, such as 2h.
    #[arg(long)]
    from: String,
    /// Until before when; now, if it is left out.
    #[arg(long, default_value = "0s")]
    to: String,
    /// What is left out, such as key=cart:*,operation=delete; the fields are token, key, order, target, operation and header.NAME. What
    /// any of several names is left out.
    #[arg(long)]
    exclude: Vec<String>,
    /// Only this target is written to: the one that was restored.
    #[arg(long)]
    target: Option<String>,
    /// The topic that they came by, if the namespace has one for itself.
    #[arg(long)]
    topic: Option<String>,
    /// Say what would be written, and which keys would end otherwise; write nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Replay {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode, FatalError> {
        let namespace = known(console, &self.name)?;
        if let Some(target) = self.target.as_ref().filter(|target| namespace.target(target).is_none()) {
            let known = namespace.target_names();
            return Err(FatalError::Config(format!(
                "--target: {target} is none of the namespace's, which are {known}"
            )));
        }
        if namespace.is_replicated() && self.target.is_none() {
            let reason = "--target: other regions would be written to as well; name the one that was restored";
            return Err(FatalError::Config(reason.to_owned()));
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let exclude = self.exclude.iter().map(|text| {
            text.parse::<Expression>().map_err(|reason| FatalError::Config(format!("--exclude: {reason}")))
        });
        let asked = Asked {
            namespace: self.name.clone(),
            from: time("--from", &self.from, now)?,
            to: time("--to", &self.to, now)?,
            exclude: exclude.collect::<Result<_, _>>()?,
            target: self.target.clone(),
            delay_ms: namespace.delay_ms,
        };
        let topic = self.topic.clone().unwrap_or_else(|| console.config.topics.mutations.clone());
        let came = came(console, &topic, &asked)?;
        let name = asked.name();
        let plan = Plan::of(&asked, &name, came);
        tell(&plan);
        let written = if self.dry_run { 0 } else { write(console, &topic, &plan.mutations)? };
        println!(
            "replay={name} mutations={} excluded={} keys={} differing_keys={} written={written}",
            plan.mutations.len(),
            plan.excluded,
            plan.keys,
            plan.differing.len()
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// A time, or how long ago it was.
fn time(option: &str, text: &str, now: i64) -> Result<i64, FatalError> {
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let way_out = "write it like 2026-12-01T08:00:00Z, in milliseconds since 1970, or like 2h for so long ago";
    let ago = text.parse::<Span>();
    let ago = ago.map_err(|_| FatalError::Config(format!("{option}: {text} is no time; {way_out}")))?;
    Ok(now.saturating_sub(i64::try_from(ago.millis()).unwrap_or(i64::MAX)))
}

/// All that came in the time, by the times of the records.
fn came(console: &Console, topic: &str, asked: &Asked) -> Result<Vec<Came>, FatalError> {
    console.partitions(topic)?;
    let mut found: Vec<FollowedRecord> = Vec::new();
    let read = console.follower(topic)?.read_to_end(PATIENCE, |record| {
        if (asked.from..asked.to).contains(&record.timestamp.0) {
            found.push(record);
        }
    });
    read.map_err(|error| console.failed(topic, &error))?;
    let values = console.values::<Mutation>(topic)?.read();
    let mut came = Vec::with_capacity(found.len());
    for FollowedRecord { at, offset, timestamp, value, .. } in found {
        match console.block_on(values.decode(value.as_deref())) {
            Ok(mutation) => came.push(Came { partition: at.partition, offset, at: timestamp.0, mutation }),
            // The log has made a dead letter of it.
            Err(error) => eprintln!("{topic}-{} at {}: {error}; it is left out", at.partition.0, offset.0),
        }
    }
    Ok(came)
}

fn tell(plan: &Plan) {
    if let Some(first) = &plan.first {
        let at = jiff::Timestamp::from_millisecond(first.at).unwrap_or_default();
        let (partition, offset) = (first.partition.0, first.offset.0);
        println!(
            "the first that is left out: {}, {at}, partition {partition}, offset {offset}",
            shown(&first.mutation)
        );
    }
    for differing in plan.differing.iter().take(SHOWN) {
        let after = differing.after.as_ref().map_or("as it was before".to_owned(), |token| format!("by {token}"));
        println!("{}: by {} until now; {after}", differing.key, differing.before);
    }
    if let Some(more) = plan.differing.len().checked_sub(SHOWN + 1) {
        println!("and {} more", more + 1);
    }
}

/// Writes them in their order; gives how many.
fn write(console: &Console, topic: &str, mutations: &[Mutation]) -> Result<usize, FatalError> {
    let values = console.block_on(console.values::<Mutation>(topic)?.written())?;
    let (mut submitter, mut written, mut shown) = (console.submitter()?, 0, Instant::now());
    for batch in mutations.chunks(TOGETHER) {
        let created_at = jiff::Timestamp::now().as_millisecond();
        let records = batch.iter().map(|mutation| {
            let mutation = Mutation { created_at, ..mutation.clone() };
            Ok((mutation.record_key().into_bytes(), values.encode(&mutation)?))
        });
        let records = records.collect::<Result<Vec<_>, FatalError>>()?;
        for outcome in submitter.submit(topic, &records) {
            outcome.map_err(|error| {
                FatalError::Environment(format!(
                    "{topic}: {error}; {written} were written: ask for the same again to go on"
                ))
            })?;
            written += 1;
        }
        if shown.elapsed() >= TICK {
            shown = Instant::now();
            progress(written, mutations.len());
        }
    }
    Ok(written)
}

/// In place, for whoever looks.
fn progress(written: usize, all: usize) {
    let mut errors = std::io::stderr();
    if errors.is_terminal() {
        // Nothing to be done if the terminal is gone.
        _ = write!(errors, "\r{written} of {all} are written ({} %) ", 100 * written / all.max(1));
        _ = errors.flush();
    }
}
