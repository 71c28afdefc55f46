//! What each key ought to have, from what has come to the logs, by rules of its own: of all mutations of a key the one with the greatest
//! version counts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use write_ahead_log::entry::State;
use write_ahead_log::input::Input;
use write_ahead_log::mutation::{Mutation, Operation};

use super::side::{CACHE, Side};
use crate::Result;
use crate::wal::records::Records;
use crate::wal::results;

/// Examples that are shown of what is wrong.
const EXAMPLES: usize = 5;

/// What a run has shown.
#[derive(Debug, Default)]
pub struct Findings {
    /// Keys that differ between the regions' stores.
    pub divergent: usize,
    /// Keys whose value is not that of the greatest version.
    pub wrong: usize,
    /// Mutations that have no end at a store of either region.
    pub lost: usize,
    /// Mutations that were superseded.
    pub conflicts: usize,
    /// Keys that would differ if what comes last were the last.
    pub control: usize,
    /// Some of what is wrong.
    pub examples: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.divergent + self.wrong + self.lost == 0
    }
}

/// What has come to a region's store, in its order, each token once.
fn came(side: &Side<'_>) -> Result<Vec<Mutation>> {
    let topic = format!("{}-lanes-repartition", side.ground.id);
    let (records, mut known, mut came) = (Records::new(&side.ground)?, HashSet::new(), Vec::new());
    results::visit(&side.ground, &topic, |payload| {
        let Input { mutation, .. } = records.read_input(payload)?;
        let mutation = mutation.filter(|mutation| mutation.target.as_deref() == Some(CACHE));
        // One of the other region has its name behind its token.
        let mutation = mutation.map(|mutation| {
            let token = mutation.token.split('@').next().unwrap_or_default().to_owned();
            Mutation { token, ..mutation }
        });
        came.extend(mutation.filter(|mutation| known.insert(mutation.token.clone())));
        Ok(())
    })?;
    Ok(came)
}

fn value(mutation: &Mutation) -> Option<String> {
    (mutation.operation == Operation::Put).then(|| mutation.token.clone())
}

/// Judges both regions, of which the processes have ended.
pub(super) fn judge(sides: &[Side<'_>; 2], tokens: &[String]) -> Result<Findings> {
    let mut findings = Findings::default();
    let came = [came(&sides[0])?, came(&sides[1])?];
    let keys: BTreeSet<&str> = came.iter().flatten().map(|mutation| mutation.key.as_str()).collect();
    // A version is the same in both regions; who came there first has given it.
    let mut greatest: HashMap<&str, &Mutation> = HashMap::new();
    for mutation in came.iter().flatten() {
        let known = greatest.entry(&mutation.key).or_insert(mutation);
        if known.version < mutation.version {
            *known = mutation;
        }
    }
    let last = came
        .each_ref()
        .map(|came| came.iter().map(|mutation| (mutation.key.as_str(), value(mutation))).collect::<BTreeMap<_, _>>());
    for key in keys {
        let there = [sides[0].value(key)?, sides[1].value(key)?];
        let expected = greatest.get(key).and_then(|mutation| value(mutation));
        findings.divergent += usize::from(there[0] != there[1]);
        findings.control += usize::from(last[0].get(key) != last[1].get(key));
        if there.iter().any(|there| *there != expected) {
            findings.wrong += 1;
            findings.examples.push(format!("{key}: {there:?}, expected {expected:?}"));
        }
    }
    for side in sides {
        let results = results::read(&side.ground)?;
        let of = |token: &String| {
            let region = token.split('-').next().unwrap_or_default();
            let known = if region == side.name { token.clone() } else { format!("{token}@{region}") };
            results.get(&(known, CACHE.to_owned()))
        };
        let lost: Vec<&String> = tokens.iter().filter(|token| of(token).is_none()).collect();
        findings.lost += lost.len();
        findings.examples.extend(lost.iter().map(|token| format!("{token} has no end in {}", side.name)));
        let superseded = results.values().flatten().filter(|result| result.state == State::Superseded);
        findings.conflicts += superseded.count();
    }
    findings.examples.truncate(EXAMPLES);
    Ok(findings)
}
