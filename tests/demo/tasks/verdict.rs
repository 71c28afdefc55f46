//! The comparison of each task with its results.

use std::collections::BTreeMap;

use chaos::queue::results::Results;
use task_queue::tasks::State;

use super::kinds::{Kind, Submitted};

/// Wrong tasks that are shown one by one.
const SHOWN: usize = 5;

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Tasks without a result.
    pub(crate) lost: u64,
    /// Tasks with more than one.
    pub(crate) twice: u64,
    /// Tasks with a result that is not theirs.
    pub(crate) wrong: u64,
    /// Tasks that ended before their time.
    pub(crate) early: u64,
    /// From submission to result, or from a task's time on, in milliseconds, by kind.
    times: BTreeMap<Kind, Vec<i64>>,
    /// The first of what is wrong, for people.
    pub(crate) examples: Vec<String>,
}

impl Verdict {
    pub(crate) fn reach(submitted: &[Submitted], results: &Results) -> Self {
        let mut verdict = Verdict::default();
        submitted.iter().for_each(|one| verdict.compare(one, results));
        verdict.times.values_mut().for_each(|times| times.sort_unstable());
        verdict
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.twice + self.wrong + self.early == 0
    }

    fn compare(&mut self, one: &Submitted, results: &Results) {
        let own = results.get(&one.id).map(Vec::as_slice).unwrap_or_default();
        let Some(result) = own.first() else {
            self.lost += 1;
            return self.example("lost", one, &"no result");
        };
        match result.state {
            State::Done => self.done += 1,
            _ => self.failed += 1,
        }
        if own.len() > 1 {
            self.twice += 1;
            self.example("twice", one, &own);
        }
        if !one.kind.fits(result) {
            self.wrong += 1;
            self.example("wrong", one, result);
        }
        if one.not_before.is_some_and(|at| result.ended < at) {
            self.early += 1;
            self.example("early", one, result);
        }
        self.times.entry(one.kind).or_default().push(result.ended - one.not_before.unwrap_or(one.at));
    }

    fn example(&mut self, what: &str, one: &Submitted, found: &dyn std::fmt::Debug) {
        if self.examples.len() < SHOWN {
            self.examples.push(format!("{what} {one:?}\n  {found:?}"));
        }
    }

    /// How many tasks of a kind have a result.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.times.get(&kind).map_or(0, Vec::len)
    }

    /// What so much of a kind's tasks took at most, in milliseconds; 0 without tasks.
    pub(crate) fn ms(&self, kind: Kind, part: f64) -> i64 {
        let times = self.times.get(&kind).map(Vec::as_slice).unwrap_or_default();
        let at = (times.len() as f64 * part).ceil() as usize;
        times.get(at.max(1) - 1).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use task_queue::tasks::TaskResult;

    use super::*;

    fn result(id: &str, state: State, result: Option<&str>) -> TaskResult {
        TaskResult {
            id: id.to_owned(),
            queue: "mail".to_owned(),
            state,
            result: result.map(|text| text.as_bytes().to_vec()),
            error: None,
            attempts: 3,
            ended: 1_000,
            duplicate_of: None,
            trace: None,
        }
    }

    fn submitted(id: &str, kind: Kind, not_before: Option<i64>) -> Submitted {
        Submitted { id: id.to_owned(), kind, at: 900, not_before }
    }

    #[test]
    fn finds_what_is_lost_twice_wrong_and_early_and_nothing_else() {
        let tasks = [submitted("a", Kind::Fast, None), submitted("b", Kind::Scheduled, Some(990))];
        let good = |id: &str| result(id, State::Done, Some(&format!("sent {id}")));
        let right: Results = [("a".to_owned(), vec![good("a")]), ("b".to_owned(), vec![good("b")])].into();
        let verdict = Verdict::reach(&tasks, &right);
        assert!(verdict.is_clean() && verdict.done == 2, "{verdict:?}");
        assert_eq!((verdict.ms(Kind::Fast, 0.5), verdict.ms(Kind::Scheduled, 0.99)), (100, 10));
        let found = |change: &dyn Fn(&mut Results)| {
            let mut results = right.clone();
            change(&mut results);
            let Verdict { lost, twice, wrong, early, .. } = Verdict::reach(&tasks, &results);
            [lost, twice, wrong, early]
        };
        assert_eq!(found(&|results| _ = results.remove("a")), [1, 0, 0, 0]);
        assert_eq!(found(&|results| results.get_mut("a").expect("it").push(good("a"))), [0, 1, 0, 0]);
        assert_eq!(found(&|results| results.get_mut("a").expect("it")[0].result = None), [0, 0, 1, 0]);
        assert_eq!(found(&|results| results.get_mut("b").expect("it")[0].ended = 989), [0, 0, 0, 1]);
    }
}
