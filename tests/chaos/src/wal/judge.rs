//! The verdict on a run, pure: what was written, what the log says became of it, and what the targets have.
//!
//! | finding | what it is |
//! |---|---|
//! | lost | a mutation without a result at a target, with another one than that it was applied, or without an effect; a key that does not have what was written to it last |
//! | duplicated | an effect, or a result, that is there again, or of nobody's mutation |
//! | early | an effect, or a result, before the mutation's time |
//! | reordered | an effect before that of a mutation that has to be before it; a number that goes back |
//!
//! One is no finding, but counted. Where mutations that are put off and such that are not share a key, a crash may come between the effect
//! of one and the log's knowing of it, and the other one have its turn first in the life after: a target with a fence lets it pass no more,
//! says so, and keeps what has a higher number. That one is *overtaken*.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use write_ahead_log::entry::State;

use super::plan::Written;
use super::results::Results;

/// Findings that are shown one by one.
const SHOWN: usize = 10;

/// Something that a target did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The mutation that it is of.
    pub token: String,
    /// When, in milliseconds since the epoch.
    pub at: i64,
}

/// What a target has.
#[derive(Debug, Clone, Default)]
pub struct Witness {
    /// Its name.
    pub target: &'static str,
    /// By key, in their order; nothing if it keeps no history.
    pub effects: Option<BTreeMap<String, Vec<Effect>>>,
    /// The token of what each key has.
    pub values: BTreeMap<String, String>,
    /// Numbers that went back, in words.
    pub backward: Vec<String>,
}

/// What is wrong; see the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Not there.
    pub lost: usize,
    /// There more than once.
    pub duplicated: usize,
    /// Before its time.
    pub early: usize,
    /// Before another one.
    pub reordered: usize,
    /// Not there because a later one is; not wrong.
    pub overtaken: usize,
    /// The first findings, for people.
    pub examples: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.early + self.reordered == 0
    }

    /// Whether there is something of each kind, so that each check has shown that it is able to fail.
    pub fn is_of_each_kind(&self) -> bool {
        [self.lost, self.duplicated, self.early, self.reordered].iter().all(|count| *count > 0)
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < SHOWN {
            self.examples.push(text());
        }
    }
}

/// Mutations of one key, each of which has to be after the one before.
struct Chain<'a> {
    key: &'a str,
    all: Vec<&'a Written>,
}

/// Those of each key that were put off, by when they were due, and those that were not.
fn chains(written: &[Written]) -> Vec<Chain<'_>> {
    let mut chains: BTreeMap<(&str, bool), Vec<&Written>> = BTreeMap::new();
    for one in written {
        chains.entry((&one.planned.key, one.planned.delay_ms.is_some())).or_default().push(one);
    }
    let mut sorted = Vec::with_capacity(chains.len());
    for ((key, is_put_off), mut all) in chains {
        if is_put_off {
            all.sort_by_key(|one| one.due);
        }
        sorted.push(Chain { key, all });
    }
    sorted
}

/// Compares everything. `written`: those of a key in the order in which they were. Without results only what the targets have is
/// looked at.
pub fn judge(written: &[Written], results: Option<&Results>, witnesses: &[Witness]) -> Findings {
    let mut findings = Findings::default();
    let known: HashMap<&str, &Written> = written.iter().map(|one| (one.planned.token.as_str(), one)).collect();
    let chains = chains(written);
    for witness in witnesses {
        if let Some(results) = results {
            judge_results(written, results, witness.target, &mut findings);
        }
        if let Some(effects) = &witness.effects {
            judge_effects(&known, effects, witness.target, &mut findings);
            let passed = |one: &Written| is_overtaken(one, effects, results, witness.target, &known);
            chains.iter().for_each(|chain| judge_order(chain, effects, (witness.target, &passed), &mut findings));
        }
        judge_values(&chains, witness, &mut findings);
        findings.reordered += witness.backward.len();
        witness.backward.iter().for_each(|text| findings.example(|| format!("{}: {text}", witness.target)));
    }
    for ((token, target), own) in results.into_iter().flatten() {
        if !known.contains_key(token.as_str()) || witnesses.iter().all(|witness| witness.target != target) {
            findings.duplicated += own.len();
            findings.example(|| format!("{target}: a result of {token}, which nobody has written"));
        }
    }
    findings
}

fn judge_results(written: &[Written], results: &Results, target: &str, findings: &mut Findings) {
    for one in written {
        let token = &one.planned.token;
        let own = results.get(&(token.clone(), target.to_owned())).map(Vec::as_slice).unwrap_or_default();
        match own.first() {
            Some(result) if result.state == State::Applied => {}
            other => {
                findings.lost += 1;
                findings.example(|| format!("{target}: {one:?} was not applied: {other:?}"));
            }
        }
        if own.len() > 1 {
            findings.duplicated += own.len() - 1;
            findings.example(|| format!("{target}: {token} has several results: {own:?}"));
        }
        if own.iter().any(|result| result.ended < one.due) {
            findings.early += 1;
            findings.example(|| format!("{target}: {token} ended before {}: {own:?}", one.due));
        }
    }
}

fn judge_effects(
    known: &HashMap<&str, &Written>,
    effects: &BTreeMap<String, Vec<Effect>>,
    target: &str,
    findings: &mut Findings,
) {
    for (key, own) in effects {
        let mut seen = HashSet::new();
        for effect in own {
            let one = known.get(effect.token.as_str()).filter(|one| one.planned.key == *key);
            if one.is_none() || !seen.insert(&effect.token) {
                findings.duplicated += 1;
                findings.example(|| format!("{target}: {effect:?} of {key} is there again, or nobody's"));
            }
            if one.is_some_and(|one| effect.at < one.due) {
                findings.early += 1;
                findings.example(|| format!("{target}: {effect:?} of {key} is before its time: {one:?}"));
            }
        }
    }
}

/// Whether one without an effect is, because one of its key's other chain was done before its end, under a higher number.
fn is_overtaken(
    one: &Written,
    effects: &BTreeMap<String, Vec<Effect>>,
    results: Option<&Results>,
    target: &str,
    known: &HashMap<&str, &Written>,
) -> bool {
    let result = |token: &str| results?.get(&(token.to_owned(), target.to_owned()))?.first();
    let Some(own) = result(&one.planned.token).filter(|own| matches!(own.how.as_deref(), Some("stale" | "equal")))
    else {
        return false;
    };
    let is_of_other_chain = |effect: &Effect| {
        known
            .get(effect.token.as_str())
            .is_some_and(|by| by.planned.delay_ms.is_some() != one.planned.delay_ms.is_some())
    };
    let mut others = effects.get(&one.planned.key).into_iter().flatten().filter(|effect| is_of_other_chain(effect));
    others.any(|by| by.at <= own.ended && result(&by.token).is_some_and(|by| by.number > own.number))
}

/// `passed`: whether one without an effect need have none.
fn judge_order(
    chain: &Chain<'_>,
    effects: &BTreeMap<String, Vec<Effect>>,
    (target, passed): (&str, &dyn Fn(&Written) -> bool),
    findings: &mut Findings,
) {
    let own = effects.get(chain.key).map(Vec::as_slice).unwrap_or_default();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (at, effect) in own.iter().enumerate() {
        places.entry(&effect.token).or_insert(at);
    }
    let mut last: Option<(usize, &Written)> = None;
    for one in &chain.all {
        let Some(&at) = places.get(one.planned.token.as_str()) else {
            if passed(one) {
                findings.overtaken += 1;
                continue;
            }
            findings.lost += 1;
            findings.example(|| format!("{target}: {one:?} has no effect"));
            continue;
        };
        if let Some((_, before)) = last.filter(|(before, _)| at < *before) {
            findings.reordered += 1;
            findings.example(|| format!("{target}: {one:?} was done before {before:?}"));
        }
        last = Some((at, one));
    }
}

/// Of a key with two chains either may have been the last one to write.
fn judge_values(chains: &[Chain<'_>], witness: &Witness, findings: &mut Findings) {
    let mut lasts: BTreeMap<&str, BTreeSet<Option<&str>>> = BTreeMap::new();
    for chain in chains {
        let last = chain.all.last().map(|one| (!one.planned.deletes).then_some(one.planned.token.as_str()));
        lasts.entry(chain.key).or_default().extend(last);
    }
    for (key, lasts) in lasts {
        let value = witness.values.get(key).map(String::as_str);
        if !lasts.contains(&value) {
            findings.lost += 1;
            findings.example(|| format!("{}: {key} has {value:?}, and {lasts:?} was written last", witness.target));
        }
    }
}

#[cfg(test)]
mod tests {
    use write_ahead_log::entry::MutationResult;

    use super::super::plan::{Lane, Planned};
    use super::*;

    fn written(key: &str, token: &str, due: i64, delay_ms: Option<i64>) -> Written {
        let (key, token) = (key.to_owned(), token.to_owned());
        let deletes = token.starts_with('x');
        Written { planned: Planned { lane: Lane::Steady, key, token, deletes, delay_ms, twice: false }, due }
    }

    fn result(token: &str) -> MutationResult {
        MutationResult {
            namespace: "shop".to_owned(),
            token: token.to_owned(),
            target: "book".to_owned(),
            key: String::new(),
            state: State::Applied,
            number: None,
            attempts: 1,
            how: None,
            reason: None,
            ended: 1_000,
        }
    }

    /// A run of which all is right; of `b`, the second one was due before the first one.
    fn world() -> (Vec<Written>, Results, Witness) {
        let all = vec![
            written("a", "1", 10, None),
            written("a", "x1", 20, None),
            written("b", "2", 900, Some(800)),
            written("b", "3", 300, Some(100)),
            written("b", "4", 100, None),
        ];
        let entry = |one: &Written| ((one.planned.token.clone(), "book".to_owned()), vec![result(&one.planned.token)]);
        let results = all.iter().map(entry).collect();
        let effect = |token: &str| Effect { token: token.to_owned(), at: 1_000 };
        let effects = |tokens: &[&str]| tokens.iter().map(|token| effect(token)).collect();
        let effects = [("a".to_owned(), effects(&["1", "x1"])), ("b".to_owned(), effects(&["3", "4", "2"]))];
        let values = [("b".to_owned(), "2".to_owned())].into();
        (all, results, Witness { target: "book", effects: Some(effects.into()), values, backward: Vec::new() })
    }

    #[test]
    fn a_run_of_which_all_is_right_is_clean() {
        let (all, results, mut witness) = world();
        let findings = judge(&all, Some(&results), std::slice::from_ref(&witness));
        assert!(findings.is_clean(), "{findings:#?}");
        witness.effects = None;
        assert!(judge(&all, None, &[witness]).is_clean(), "it need not keep a history");
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        type Change = fn(&mut Results, &mut Witness);
        fn own<'a>(witness: &'a mut Witness, key: &str) -> &'a mut Vec<Effect> {
            witness.effects.as_mut().and_then(|effects| effects.get_mut(key)).expect("it has them")
        }
        fn of<'a>(results: &'a mut Results, token: &str) -> &'a mut Vec<MutationResult> {
            results.get_mut(&(token.to_owned(), "book".to_owned())).expect("it has one")
        }
        // Lost, duplicated, early, reordered.
        let changes: [(Change, [usize; 4]); 11] = [
            (|results, _| of(results, "1").clear(), [1, 0, 0, 0]),
            (|results, _| of(results, "1")[0].state = State::Exhausted, [1, 0, 0, 0]),
            (|results, _| of(results, "1").push(result("1")), [0, 1, 0, 0]),
            (|results, _| of(results, "2")[0].ended = 899, [0, 0, 1, 0]),
            (|results, _| _ = results.insert(("9".to_owned(), "book".to_owned()), vec![result("9")]), [0, 1, 0, 0]),
            (|_, witness| _ = own(witness, "b").remove(1), [1, 0, 0, 0]),
            (|_, witness| own(witness, "b").push(Effect { token: "3".to_owned(), at: 1_000 }), [0, 1, 0, 0]),
            (|_, witness| own(witness, "b")[2].at = 899, [0, 0, 1, 0]),
            (|_, witness| own(witness, "a").swap(0, 1), [0, 0, 0, 1]),
            (|_, witness| own(witness, "b").swap(0, 2), [0, 0, 0, 1]),
            (|_, witness| _ = witness.values.insert("a".to_owned(), "1".to_owned()), [1, 0, 0, 0]),
        ];
        for (at, (change, expected)) in changes.into_iter().enumerate() {
            let (all, mut results, mut witness) = world();
            change(&mut results, &mut witness);
            let findings = judge(&all, Some(&results), &[witness]);
            let Findings { lost, duplicated, early, reordered, .. } = findings;
            assert_eq!([lost, duplicated, early, reordered], expected, "{at}: {findings:#?}");
        }
        let (all, mut results, mut witness) = world();
        own(&mut witness, "b").remove(1);
        (of(&mut results, "4")[0].how, of(&mut results, "4")[0].number) = (Some("stale".to_owned()), Some(7));
        assert_eq!(judge(&all, Some(&results), std::slice::from_ref(&witness)).lost, 1, "nobody has overtaken it");
        of(&mut results, "3")[0].number = Some(8);
        let findings = judge(&all, Some(&results), std::slice::from_ref(&witness));
        assert!(findings.is_clean() && findings.overtaken == 1, "{findings:#?}");
        witness.backward.push("2 after 3".to_owned());
        assert_eq!(judge(&all, None, &[witness]).reordered, 1);
    }
}
