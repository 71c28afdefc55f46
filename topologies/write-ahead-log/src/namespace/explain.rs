//! What would happen to a mutation, in words and numbers: for whoever sets a namespace, before it is set.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use headrace::config::{ByteSize, Span};

use super::admission::span;
use super::problems::rounded;
use super::{Breaker, Namespace, OnExhausted, TargetSpec};
use crate::mutation::Mutation;
use crate::targets::{kind, timeout};

/// Before so many attempts the times are shown; then the longest one.
const SHOWN_WAITS: usize = 6;

impl Namespace {
    /// What would happen to this mutation of this namespace, if it came `now` (milliseconds since the epoch).
    pub fn explain(&self, name: &str, sample: &Mutation, now: i64) -> String {
        let mut text = format!("{name}, version {}\n", self.version);
        let refused = sample.validate().and_then(|()| self.admit(sample, now)).err();
        line(&mut text, "taken", &refused.map_or_else(|| self.taken(sample), |error| format!("no: {error}")));
        line(&mut text, "applied", &self.applied(sample, now));
        line(&mut text, "order", &order(sample));
        line(&mut text, "attempts", &self.attempts());
        line(&mut text, "given up", &self.given_up());
        line(&mut text, "breaker", &self.breaking());
        for target in self.targets.iter().filter(|own| sample.target.as_ref().is_none_or(|name| *name == own.name)) {
            line(&mut text, &format!("at {}", target.name), &at(target));
        }
        text
    }

    fn taken(&self, sample: &Mutation) -> String {
        format!(
            "yes: {} of at most {}; its token is remembered for {}",
            ByteSize::new(sample.bytes() as u64),
            ByteSize::new(self.max_bytes.unsigned_abs()),
            span(self.dedup_window_ms),
        )
    }

    fn applied(&self, sample: &Mutation, now: i64) -> String {
        let due = sample.due(self.delay_ms);
        let mut text = match due.saturating_sub(now) {
            ..=0 => "at once".to_owned(),
            wait => format!("in {}, at {}, and not before", span(wait), shown(due)),
        };
        if self.jitter_ms > 0 {
            _ = write!(text, "; by chance up to {} later", span(self.jitter_ms));
        }
        if self.paused {
            text.push_str("; but the namespace is paused: not before it is resumed");
        }
        text
    }

    fn attempts(&self) -> String {
        let retry = &self.retry;
        if retry.max_attempts <= 1 {
            return "one, and no other".to_owned();
        }
        let waits: Vec<Duration> = retry.longest_waits().collect();
        let mut shown: Vec<String> = waits.iter().take(SHOWN_WAITS).map(|wait| Span::new(*wait).to_string()).collect();
        if let Some(last) = waits.last().filter(|_| waits.len() > SHOWN_WAITS) {
            shown.push(format!("… {}", Span::new(*last)));
        }
        let all: Duration = waits.iter().fold(Duration::ZERO, |sum, wait| sum.saturating_add(*wait));
        format!(
            "up to {}; after a failure that may pass, the next one comes by chance within {} (together {}, on average half of it); \
             a target that says when to come again is asked then",
            retry.max_attempts,
            shown.join(", "),
            Span::new(rounded(all)),
        )
    }

    fn given_up(&self) -> String {
        let after = Span::new(rounded(self.horizon()));
        let late = format!(
            "{after} after the first attempt at the latest, if the breaker stays closed, or once the target refuses it for good"
        );
        match self.on_exhausted {
            OnExhausted::Skip => format!(
                "{late}; then it is kept in the topic of those that were given up, and its ordering key goes on"
            ),
            OnExhausted::Halt => format!("never by itself: {late}, its ordering key halts until somebody decides"),
        }
    }

    fn breaking(&self) -> String {
        let Breaker { failures, open_ms } = self.breaker;
        format!("after {failures} failures in a row nothing is sent for {}, then one call", span(open_ms))
    }
}

fn order(sample: &Mutation) -> String {
    match &sample.order {
        Some(order) => {
            format!("after all of ordering key {order} that came before; {} has no order of its own", sample.key)
        }
        None => format!("after all of key {} that came before", sample.key),
    }
}

fn at(target: &TargetSpec) -> String {
    let patience = timeout(target).map_or_else(|reason| reason, |timeout| Span::new(timeout).to_string());
    let mut text = format!("{} {}, {patience} for an answer: ", target.kind.name(), target.address);
    text.push_str(&kind(target.kind).promise(target));
    if target.address.has_password() {
        text.push_str(
            ". The address holds a password, which whoever reads the topic of namespaces sees: use password-env",
        );
    }
    text
}

fn line(text: &mut String, name: &str, what: &str) {
    _ = writeln!(text, "{name:<10}  {what}");
}

/// A time as people read it; one that the clock does not have, as it is.
fn shown(ms: i64) -> String {
    let time = u64::try_from(ms).ok().and_then(|ms| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    // The year 10000 has no such form.
    match time.filter(|_| ms < 253_402_300_800_000) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => format!("{ms} ms after 1970"),
    }
}
