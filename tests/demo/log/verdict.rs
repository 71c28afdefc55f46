//! The comparison of each mutation with what its targets have done.

use std::collections::BTreeMap;

use chaos::wal::judge::{Findings, Witness, judge};
use chaos::wal::results::Results;
use chaos::wal::settings::TARGETS;
use write_ahead_log::entry::State;

use super::mutations::{Mutations, SESSIONS};
use super::python::{ByPython, PREFIX};
use super::regions::REGIONS;

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) findings: Findings,
    /// Mutations that all their targets have.
    pub(crate) applied: usize,
    /// Of stock that was not put off, from when it was written until Redis had it, in milliseconds, in order.
    times: Vec<i64>,
    /// Of deletes of sessions, from their time, without jitter, until they were done.
    jitters: Vec<i64>,
}

impl Verdict {
    pub(crate) fn reach(
        mutations: &Mutations,
        python: &ByPython,
        mut results: Results,
        (sessions, stock): (Witness, [Witness; 3]),
    ) -> Self {
        let mut verdict = Verdict::default();
        // The prices and the order are compared by themselves.
        let others =
            |token: &str| REGIONS.iter().any(|region| token.starts_with(&format!("{region}-"))) || token.contains('#');
        results.retain(|(token, _), _| !others(token));
        verdict.measure(mutations, &results, &sessions);
        let mut own = Results::new();
        results.retain(|id, all| {
            if id.1 == SESSIONS {
                _ = own.insert(id.clone(), all.clone());
                false
            } else {
                true
            }
        });
        verdict.add(judge(&mutations.sessions, Some(&own), std::slice::from_ref(&sessions)));
        verdict.add_python(python, &mut results, &stock);
        let stock = stock.map(without_python);
        verdict.add(judge(&mutations.stock, Some(&results), &stock));
        verdict
    }

    fn measure(&mut self, mutations: &Mutations, results: &Results, sessions: &Witness) {
        let is_applied = |token: &str, target: &str| {
            let own = results.get(&(token.to_owned(), target.to_owned()));
            own.is_some_and(|own| own[0].state == State::Applied)
        };
        let stock = mutations.stock.iter().map(|one| &one.planned.token);
        let stock = stock.filter(|token| TARGETS.iter().all(|target| is_applied(token, target))).count();
        let ended = mutations.sessions.iter().filter(|one| is_applied(&one.planned.token, SESSIONS)).count();
        self.applied = stock + ended;
        let [cache, ..] = TARGETS;
        let time =
            |(token, at): (&String, &i64)| Some(results.get(&(token.clone(), cache.to_owned()))?.first()?.ended - at);
        self.times = mutations.at_once.iter().filter_map(time).collect();
        self.times.sort_unstable();
        let none = BTreeMap::new();
        let effects = sessions.effects.as_ref().unwrap_or(&none);
        let deletes = mutations.sessions.iter().filter(|one| one.planned.deletes);
        let jitter = |one: &chaos::wal::plan::Written| Some(effects.get(&one.planned.key)?.last()?.at - one.due);
        self.jitters = deletes.filter_map(jitter).collect();
        self.jitters.sort_unstable();
    }

    /// The script's tokens are its own, so they are looked at by what the keys have, and by the results.
    fn add_python(&mut self, python: &ByPython, results: &mut Results, stock: &[Witness]) {
        let mut findings = Findings::default();
        for (target, token) in stock.iter().flat_map(|own| python.tokens.iter().map(move |token| (own.target, token))) {
            match results.remove(&(token.clone(), target.to_owned())).as_deref() {
                Some([one]) if one.state == State::Applied => {}
                Some([_, _, ..]) => findings.duplicated += 1,
                _ => findings.lost += 1,
            }
        }
        for (key, token) in &python.values {
            findings.lost += stock.iter().filter(|own| own.values.get(key) != Some(token)).count();
            let times = |own: &Witness| own.effects.as_ref().and_then(|all| all.get(key)).map_or(1, Vec::len);
            findings.duplicated += stock.iter().filter(|own| times(own) > 1).count();
        }
        if findings.is_clean() {
            self.applied += python.tokens.len();
        } else {
            findings.examples.push(format!("{python:?}: {findings:?}"));
        }
        self.add(findings);
    }

    fn add(&mut self, other: Findings) {
        let own = &mut self.findings;
        own.lost += other.lost;
        own.duplicated += other.duplicated;
        own.early += other.early;
        own.reordered += other.reordered;
        own.overtaken += other.overtaken;
        own.examples.extend(other.examples);
    }

    /// What so much of the stock took at most until Redis had it, in milliseconds.
    pub(crate) fn ms(&self, part: f64) -> i64 {
        quantile(&self.times, part)
    }

    /// How much later than at the first possible moment so many sessions were deleted at most, in milliseconds.
    pub(crate) fn jitter_ms(&self, part: f64) -> i64 {
        quantile(&self.jitters, part)
    }
}

fn without_python(mut own: Witness) -> Witness {
    if let Some(effects) = own.effects.as_mut() {
        effects.retain(|key, _| !key.starts_with(PREFIX));
    }
    own
}

/// 0 of nothing.
fn quantile(sorted: &[i64], part: f64) -> i64 {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(at.max(1) - 1).copied().unwrap_or(0)
}
