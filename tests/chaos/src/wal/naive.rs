//! The control arm: the applier that everybody writes first. It commits what it has read when it has read it, keeps what is put off in
//! memory, to the second, and what fails goes to the end, to be tried when its turn comes. It remembers no token.
//!
//! The judge has to find that a kill loses what it had in memory, that what was written twice is done twice, that seconds are too early,
//! and that whoever does not wait for one that failed overtakes it.

use std::collections::VecDeque;
use std::time::Duration;

use super::judge::{Findings, judge};
use super::plan::{Planned, Written, plan};
use super::receiver::{Book, Call, Manners};
use super::settings::NAMESPACE;
use crate::pause::Stop;
use crate::queue::ground::now;

/// Mutations, and kills that are spread over them.
const MUTATIONS: u32 = 2_000;
const KILLS: usize = 3;
/// What it reads at once.
const BATCH: usize = 50;
/// One call in so many fails.
const FAILS: u32 = 6;
/// Before it looks again, with nothing to do.
const REST: Duration = Duration::from_millis(5);

/// What it has read, and not done.
struct Open {
    planned: Planned,
    /// To the second.
    at: i64,
}

/// What the judge finds.
pub fn control(seed: u64) -> Findings {
    let (plan, pause) = (plan(seed, MUTATIONS), Stop::default());
    let mut book = Book::new(Manners { seed, fails: FAILS, ..Manners::GOOD });
    let (mut written, mut open) = (Vec::new(), VecDeque::new());
    let kills: Vec<usize> = (1..=KILLS).map(|kill| plan.len() * kill / (KILLS + 1) / BATCH).collect();
    for (at, batch) in plan.chunks(BATCH).enumerate() {
        if kills.contains(&at) {
            open.clear();
        }
        for planned in batch {
            let due = planned.mutation(NAMESPACE).due(0);
            written.push(Written { planned: planned.clone(), due });
            let times = if planned.twice { 2 } else { 1 };
            open.extend((0..times).map(|_| Open { planned: planned.clone(), at: due / 1_000 * 1_000 }));
        }
        turn(&mut open, &mut book);
    }
    while !open.is_empty() {
        turn(&mut open, &mut book);
        pause.pause(REST);
    }
    judge(&written, None, &[book.witness("naive")])
}

/// Tries each of them once, if its time has come.
fn turn(open: &mut VecDeque<Open>, book: &mut Book) {
    for _ in 0..open.len() {
        let Some(next) = open.pop_front() else { return };
        let value = next.planned.mutation(NAMESPACE).value;
        let call = Call { key: &next.planned.key, value: value.as_deref(), once: None, sequence: None };
        if next.at > now() || !book.call(call).0 {
            open.push_back(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_found_of_it() {
        let findings = control(3);
        assert!(findings.is_of_each_kind(), "{findings:#?}");
    }
}
