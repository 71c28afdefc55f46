//! What is wrong with a namespace: all of it at once, so that nobody has to try again and again.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use headrace::config::Span;

use super::admission::span;
use super::{Namespace, TargetKind, TargetSpec};
use crate::mutation::{LONGEST_DELAY_MS, is_name};
use crate::targets::{kind, timeout};

/// How many targets a namespace may have: a mutation for all of them is as many calls.
const MOST_TARGETS: usize = 16;
/// The longest time between two attempts, in milliseconds.
const LONGEST_BACKOFF_MS: i64 = 24 * 60 * 60 * 1_000;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, by the names of the file that people write.
    pub field: String,
    /// What.
    pub reason: String,
    /// What to do.
    pub way_out: String,
}

impl Problem {
    /// All three.
    pub fn new(field: impl Into<String>, reason: impl Into<String>, way_out: impl Into<String>) -> Self {
        Problem { field: field.into(), reason: reason.into(), way_out: way_out.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.field, self.reason, self.way_out)
    }
}

impl Namespace {
    /// All that is wrong with it; touches no network.
    pub fn validate(&self, name: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(reason) = is_name(name) {
            problems.push(Problem::new("name", reason, "choose another one"));
        }
        self.check_targets(&mut problems);
        self.check_times(&mut problems);
        self.check_retry(&mut problems);
        self.check_limits(&mut problems);
        problems
    }

    /// Targets that are the log's own topics: what is written there would come back, or be taken for the log's own word.
    pub fn own_topics(&self, is_own: impl Fn(&str) -> bool) -> Vec<Problem> {
        let topics = self.targets.iter().filter(|target| target.kind == TargetKind::Topic);
        let own = topics.filter(|target| is_own(target.address.reveal()));
        let problem = |target: &TargetSpec| {
            let reason = format!("{} is one of the log's own topics", target.address);
            Problem::new(field(target, "address"), reason, "choose another topic")
        };
        own.map(problem).collect()
    }

    fn check_targets(&self, problems: &mut Vec<Problem>) {
        let count = self.targets.len();
        if count == 0 {
            problems.push(Problem::new("targets", "there is none", "add [[targets]] with name, kind and address"));
        }
        if count > MOST_TARGETS {
            let reason = format!("{count}, of at most {MOST_TARGETS}");
            problems.push(Problem::new("targets", reason, "have them in several namespaces"));
        }
        let mut places: BTreeMap<String, &str> = BTreeMap::new();
        for (at, target) in self.targets.iter().enumerate() {
            if let Err(reason) = is_name(&target.name) {
                problems.push(Problem::new(format!("targets[{at}].name"), reason, "choose another one"));
            }
            if self.targets[..at].iter().any(|other| other.name == target.name) {
                let reason = format!("{} is there twice", target.name);
                problems.push(Problem::new(format!("targets[{at}].name"), reason, "give each its own name"));
            }
            kind(target.kind).check(target, problems);
            // Two of them would overwrite each other's values, each with numbers of its own.
            if let Some(other) = places.insert(kind(target.kind).place(target), &target.name) {
                let reason = format!("writes to the same place as {other}");
                problems.push(Problem::new(field(target, ""), reason, "leave one of them out"));
            }
        }
    }

    fn check_times(&self, problems: &mut Vec<Problem>) {
        let mut within = |field, ms, range: RangeInclusive<i64>| problems.extend(within(field, ms, range));
        within("delay", self.delay_ms, 0..=LONGEST_DELAY_MS);
        within("jitter", self.jitter_ms, 0..=LONGEST_DELAY_MS);
        within("breaker.open", self.breaker.open_ms, 100..=60 * 60 * 1_000);
        within("retry.backoff", self.retry.backoff_ms, 1..=LONGEST_BACKOFF_MS);
        within("drift-limit", self.drift_limit_ms, 1_000..=LONGEST_DELAY_MS);
        within("dedup-window", self.dedup_window_ms, 1_000..=LONGEST_DELAY_MS);
        within("version-window", self.version_window_ms, 1_000..=LONGEST_DELAY_MS);
        let known = self.drift_limit_ms.saturating_mul(2);
        if self.dedup_window_ms < known {
            // A mutation is taken from its created_at less the limit until its created_at and the limit.
            let reason = format!(
                "{} is less than twice drift-limit ({}), so a mutation could come again when its token is forgotten",
                span(self.dedup_window_ms),
                span(self.drift_limit_ms),
            );
            problems.push(Problem::new("dedup-window", reason, format!("set {} or more", span(known))));
        }
    }

    fn check_retry(&self, problems: &mut Vec<Problem>) {
        let retry = &self.retry;
        problems.extend(among("retry.max-attempts", retry.max_attempts, 1..=1_000));
        problems.extend(within(
            "retry.longest-backoff",
            retry.longest_backoff_ms,
            retry.backoff_ms.clamp(1, LONGEST_BACKOFF_MS)..=LONGEST_BACKOFF_MS,
        ));
        let horizon = self.horizon();
        if millis(horizon) > self.dedup_window_ms {
            let reason = format!(
                "{} is less than the retries may take ({}), rule W2",
                span(self.dedup_window_ms),
                Span::new(rounded(horizon))
            );
            problems.push(Problem::new("dedup-window", reason, "raise it, or have fewer or quicker retries"));
        }
        for target in &self.targets {
            if let Some(life) = kind(target.kind).fence_life(target).filter(|life| *life < horizon) {
                let reason = format!(
                    "{} is less than the retries may take ({}), so a late call could undo a later one",
                    Span::new(life),
                    Span::new(rounded(horizon))
                );
                let place = field(target, "settings.fence-ttl");
                problems.push(Problem::new(place, reason, "raise it, or have fewer or quicker retries"));
            }
        }
    }

    /// From the first attempt until the last one is over, at most, at the target that is waited for longest.
    pub(super) fn horizon(&self) -> Duration {
        let patience = self.targets.iter().filter_map(|target| timeout(target).ok()).max();
        self.retry.horizon(patience.unwrap_or_default())
    }

    fn check_limits(&self, problems: &mut Vec<Problem>) {
        problems.extend(among("breaker.failures", self.breaker.failures, 1..=100_000));
        if !(1..=16 << 20).contains(&self.max_bytes) {
            let reason = format!("is {} bytes", self.max_bytes);
            problems.push(Problem::new("max-bytes", reason, "set \"1 B\" to \"16 MiB\""));
        }
        if self.version < 1 {
            problems.push(Problem::new("version", format!("is {}", self.version), "begin with 1"));
        }
    }
}

/// The field of a target's setting, by the target's name.
pub(crate) fn field(target: &TargetSpec, setting: &str) -> String {
    let dot = if setting.is_empty() { "" } else { "." };
    format!("targets.{}{dot}{setting}", target.name)
}

/// Whole milliseconds.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Without what nobody reads.
pub(super) fn rounded(duration: Duration) -> Duration {
    if duration.as_secs() >= 60 {
        Duration::from_secs(duration.as_secs())
    } else {
        Duration::from_millis(millis(duration).unsigned_abs())
    }
}

fn within(field: &str, ms: i64, range: RangeInclusive<i64>) -> Option<Problem> {
    let sign = if ms < 0 { "-" } else { "" };
    let way_out = || format!("set \"{}\" to \"{}\"", span(*range.start()), span(*range.end()));
    (!range.contains(&ms)).then(|| Problem::new(field, format!("is {sign}{}", span(ms)), way_out()))
}

fn among(field: &str, number: i32, range: RangeInclusive<i32>) -> Option<Problem> {
    let way_out = || format!("set {} to {}", range.start(), range.end());
    (!range.contains(&number)).then(|| Problem::new(field, format!("is {number}"), way_out()))
}
