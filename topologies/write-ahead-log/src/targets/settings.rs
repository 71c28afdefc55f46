//! A target's settings, which are text: read with their units, and checked by name.
//!
//! Secrets are not among them. `password-env` and `token-env` name a variable of the log's own environment, of those that begin with
//! [`SECRETS`]: whoever may set a namespace must not be able to send any other one to a server of his.

use std::collections::BTreeMap;
use std::time::Duration;

use headrace::config::{Secret, Span};

use crate::namespace::{Problem, TargetSpec, field};

/// So the names of variables begin that targets may use.
pub const SECRETS: &str = "HEADRACE_SECRET_";
/// How long an attempt may take, where nothing else is set.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take at most: a batch waits for its slowest call, and the transaction for its batches.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);

/// See the module's documentation.
pub(super) struct Settings<'a>(pub(super) &'a BTreeMap<String, String>);

impl<'a> Settings<'a> {
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(String::as_str)
    }

    /// A time, or the default one.
    pub(super) fn span(&self, name: &str, default: Duration) -> Result<Duration, String> {
        self.text(name).map_or(Ok(default), |text| text.parse::<Span>().map(Span::duration))
    }

    pub(super) fn timeout(&self) -> Result<Duration, String> {
        let timeout = self.span("timeout", TIMEOUT)?;
        if (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&timeout) {
            return Ok(timeout);
        }
        let (shortest, longest) = (Span::new(SHORTEST_TIMEOUT), Span::new(LONGEST_TIMEOUT));
        Err(format!("is {}; set \"{shortest}\" to \"{longest}\"", Span::new(timeout)))
    }

    /// The secret that a setting names; none where it is not set.
    pub(super) fn secret(&self, name: &str) -> Result<Option<Secret>, String> {
        let Some(variable) = self.text(name) else { return Ok(None) };
        is_secret(variable).map_err(|reason| format!("{name}: {reason}"))?;
        let value = std::env::var(variable);
        value.map(|value| Some(Secret::new(value))).map_err(|_| {
            format!("{name}: the environment has no {variable}; set it where the log runs, and start it again")
        })
    }

    /// Settings that there are not, times that are none, names of secrets that may not be used.
    pub(super) fn check(&self, target: &TargetSpec, known: &[&str], problems: &mut Vec<Problem>) {
        let mut problem = |name: &str, reason: String, way_out: String| {
            problems.push(Problem::new(field(target, &format!("settings.{name}")), reason, way_out));
        };
        for name in self.0.keys().filter(|name| name.as_str() != "timeout" && !known.contains(&name.as_str())) {
            let known = [&["timeout"], known].concat().join(", ");
            problem(name, format!("{} has no such setting", target.kind.name()), format!("it has {known}"));
        }
        if let Err(reason) = self.timeout() {
            problem("timeout", reason, "write it like \"5s\"".to_owned());
        }
        for name in ["password-env", "token-env"] {
            if let Some(Err(reason)) = self.text(name).map(is_secret) {
                problem(name, reason, format!("call the variable {SECRETS}…"));
            }
        }
    }

    /// A time of at least this, or the default.
    pub(super) fn check_span(&self, target: &TargetSpec, name: &str, least: Duration, problems: &mut Vec<Problem>) {
        let reason = match self.span(name, least) {
            Err(reason) => reason,
            Ok(span) if span < least => format!("is less than {}", Span::new(least)),
            Ok(_) => return,
        };
        let place = field(target, &format!("settings.{name}"));
        problems.push(Problem::new(place, reason, "write it like \"24h\""));
    }
}

fn is_secret(variable: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = variable.strip_prefix(SECRETS).filter(|rest| !rest.is_empty() && rest.chars().all(fine));
    rest.map(|_| ()).ok_or_else(|| format!("is no variable that begins with {SECRETS}"))
}
