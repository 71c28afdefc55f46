//! The verdict on a run, pure: what was submitted, what handlers were called with, and what results there are.
//!
//! | finding | what it is |
//! |---|---|
//! | lost | a task without a result |
//! | twice | a task with more than one |
//! | wrong | a result of another state, other bytes or attempts than the task's fate has; one of no task; a call for a task that is nobody's |
//! | out of order | a task of an order key that a handler began before the one before it was done |
//! | early | a call before the task's time |
//!
//! A handler may be called again with an attempt that has ended (its caller was killed before it could say so): that is no
//! finding, but counted. So of each task the *first* call has to be after the end of what comes before.

use std::collections::HashMap;
use std::time::Instant;

use task_queue::tasks::{State, TaskResult};

use super::fate::{Answer, FAILURES, Fate, HOPELESS_ATTEMPTS, Job};
use super::handlers::{Call, Calls};
use super::results::Results;
use super::submit::Submitted;

/// Findings that are shown one by one.
const SHOWN: usize = 10;

/// What is wrong.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Tasks without a result.
    pub lost: usize,
    /// Tasks with several.
    pub twice: usize,
    /// See the module's documentation.
    pub wrong: usize,
    /// Tasks that were begun too early of their order.
    pub out_of_order: usize,
    /// Calls before their time.
    pub early: usize,
    /// The most results that a task has.
    pub most_results: usize,
    /// Calls with an attempt that had been called before.
    pub repeated: usize,
    /// The first findings, for people.
    pub examples: Vec<String>,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.total() == 0
    }

    /// How much is wrong.
    pub fn total(&self) -> usize {
        self.lost + self.twice + self.wrong + self.out_of_order + self.early
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < SHOWN {
            self.examples.push(text());
        }
    }
}

/// Compares everything.
pub fn judge(submitted: &[Submitted], results: &Results, calls: &Calls) -> Findings {
    let mut findings = Findings::default();
    let known: HashMap<String, Job> = submitted.iter().map(|one| (one.job.to_string(), one.job)).collect();
    for (id, own) in results {
        findings.most_results = findings.most_results.max(own.len());
        if !known.contains_key(id) {
            findings.wrong += 1;
            findings.example(|| format!("a result of {id}, which nobody has submitted"));
        }
    }
    for one in submitted {
        let calls = calls.get(&one.job).map(Vec::as_slice).unwrap_or_default();
        judge_end(one.job, results.get(&one.job.to_string()), calls, &mut findings);
        judge_calls(one, calls, &mut findings);
    }
    judge_order(submitted, calls, &mut findings);
    findings
}

fn judge_end(job: Job, results: Option<&Vec<TaskResult>>, calls: &[Call], findings: &mut Findings) {
    let Some(results) = results.filter(|results| !results.is_empty()) else {
        findings.lost += 1;
        return findings.example(|| format!("{job} has no result; calls: {calls:?}"));
    };
    if results.len() > 1 {
        findings.twice += 1;
        findings.example(|| format!("{job} has several results: {results:?}"));
    }
    for result in results {
        if let Err(reason) = fits(job, result, calls) {
            findings.wrong += 1;
            findings.example(|| format!("{job}: {reason}: {result:?}"));
        }
    }
}

/// Whether a result is what the task's fate has.
fn fits(job: Job, result: &TaskResult, calls: &[Call]) -> Result<(), &'static str> {
    let expect = |holds: bool, reason| if holds { Ok(()) } else { Err(reason) };
    expect(result.state == job.fate.end(), "not the state that it has to end in")?;
    let bytes = (result.state == State::Done).then(|| job.result().into_bytes());
    expect(result.result == bytes, "not what its handler gave back")?;
    let done = calls.iter().any(|call| matches!(call.ended, Some((_, Answer::Done))));
    expect(done == (result.state == State::Done), "not what its handler said")?;
    expect(
        result.duplicate_of == job.first().map(|first| first.to_string()),
        "not the task that it is a duplicate of",
    )?;
    let attempts = match job.fate {
        Fate::Duplicate | Fate::Late => result.attempts == 0,
        Fate::Hopeless => result.attempts == HOPELESS_ATTEMPTS,
        Fate::Failing => i64::from(result.attempts) > i64::from(FAILURES),
        _ => result.attempts >= 1,
    };
    expect(attempts, "not as many attempts as it has to have")
}

fn judge_calls(one: &Submitted, calls: &[Call], findings: &mut Findings) {
    if !one.job.fate.is_called() && !calls.is_empty() {
        findings.wrong += 1;
        findings.example(|| format!("{} was called though it is for nobody", one.job));
    }
    for call in calls.iter().filter(|call| one.not_before.is_some_and(|at| call.at < at)) {
        findings.early += 1;
        findings.example(|| format!("{} was called at {}, not before {:?}", one.job, call.at, one.not_before));
    }
    let mut attempts: Vec<u32> = calls.iter().map(|call| call.attempt).collect();
    attempts.sort_unstable();
    attempts.dedup();
    findings.repeated += calls.len() - attempts.len();
}

fn judge_order(submitted: &[Submitted], calls: &Calls, findings: &mut Findings) {
    let mut before: HashMap<&str, (Job, Option<Instant>)> = HashMap::new();
    for one in submitted {
        let (Some(key), Some(own)) = (&one.order_key, calls.get(&one.job)) else { continue };
        let begun = own.iter().map(|call| call.begun).min();
        let done = own.iter().filter_map(|call| match call.ended {
            Some((at, Answer::Done)) => Some(at),
            _ => None,
        });
        if let Some((last, ended)) = before.insert(key, (one.job, done.min()))
            && (ended.is_none() || begun < ended)
        {
            findings.out_of_order += 1;
            findings.example(|| format!("{} was begun before {last} of {key} was done", one.job));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn submitted(fate: Fate, number: u32) -> Submitted {
        let job = Job { number, fate };
        Submitted {
            job,
            not_before: (fate == Fate::Delayed).then_some(1_000),
            order_key: (fate == Fate::Ordered).then(|| "k".to_owned()),
        }
    }

    /// A run of which all is right.
    fn world() -> (Vec<Submitted>, Results, Calls) {
        let fates = [Fate::Plain, Fate::Delayed, Fate::Ordered, Fate::Ordered, Fate::Unique, Fate::Duplicate];
        let more = [Fate::Failing, Fate::Hopeless, Fate::Refused, Fate::Late];
        let all: Vec<Submitted> =
            (0..).zip(fates.into_iter().chain(more)).map(|(n, fate)| submitted(fate, n)).collect();
        let (mut results, mut calls, start) = (Results::new(), Calls::new(), Instant::now());
        for Submitted { job, .. } in &all {
            let attempts = match job.fate {
                Fate::Duplicate | Fate::Late => 0,
                Fate::Failing | Fate::Hopeless => 3,
                _ => 1,
            };
            let call = |attempt: u32| {
                let begun = start + Duration::from_secs((job.number * 10 + attempt).into());
                let ended = Some((begun + Duration::from_millis(500), job.fate.answer(job.number, attempt)));
                Call { attempt, at: 1_000, begun, ended }
            };
            calls.insert(*job, (1..=attempts).map(call).collect());
            let state = job.fate.end();
            let result = TaskResult {
                id: job.to_string(),
                queue: "called".to_owned(),
                state,
                result: (state == State::Done).then(|| job.result().into_bytes()),
                error: None,
                attempts: i32::try_from(attempts).expect("small"),
                ended: 0,
                duplicate_of: job.first().map(|first| first.to_string()),
                trace: None,
            };
            results.insert(job.to_string(), vec![result]);
        }
        (all, results, calls)
    }

    #[test]
    fn a_run_of_which_all_is_right_is_clean_and_a_repeated_call_is_counted() {
        let (all, results, mut calls) = world();
        let findings = judge(&all, &results, &calls);
        assert!(findings.is_clean() && findings.repeated == 0 && findings.most_results == 1, "{findings:#?}");
        let plain = calls.get_mut(&all[0].job).expect("it was called");
        plain.push(plain[0]);
        let findings = judge(&all, &results, &calls);
        assert!(findings.is_clean() && findings.repeated == 1, "{findings:#?}");
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        type Change = fn(&[Submitted], &mut Results, &mut Calls);
        type Count = fn(&Findings) -> usize;
        let changes: [(Change, Count); 9] = [
            (|all, results, _| _ = results.remove(&all[0].job.to_string()), |found| found.lost),
            (|_, results, _| results.values_mut().for_each(|own| own.push(own[0].clone())), |found| found.twice / 10),
            (|_, results, _| results.get_mut("plain-0").expect("it")[0].result = None, |found| found.wrong),
            (|_, results, _| results.get_mut("plain-0").expect("it")[0].state = State::Failed, |found| found.wrong),
            (|_, results, _| results.get_mut("hopeless-7").expect("it")[0].attempts = 4, |found| found.wrong),
            (|_, results, _| results.get_mut("duplicate-5").expect("it")[0].duplicate_of = None, |found| found.wrong),
            (|all, _, calls| calls.get_mut(&all[1].job).expect("it")[0].at = 999, |found| found.early),
            (
                |all, _, calls| {
                    let first = calls[&all[2].job][0].begun;
                    calls.get_mut(&all[3].job).expect("it")[0].begun = first;
                },
                |found| found.out_of_order,
            ),
            (
                |all, _, calls| {
                    let call = calls[&all[0].job][0];
                    // Nobody was to be asked for this one; that it was "done" besides is wrong, too.
                    calls.get_mut(&all[9].job).expect("it").push(call);
                },
                |found| found.wrong / 2,
            ),
        ];
        for (at, (change, count)) in changes.into_iter().enumerate() {
            let (all, mut results, mut calls) = world();
            change(&all, &mut results, &mut calls);
            let findings = judge(&all, &results, &calls);
            assert_eq!((count(&findings), findings.is_clean()), (1, false), "{at}: {findings:#?}");
        }
        let (_, results, calls) = world();
        assert_eq!(judge(&[], &results, &calls).wrong, results.len(), "of nobody's tasks");
    }
}
