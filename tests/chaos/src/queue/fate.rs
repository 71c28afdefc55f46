//! What is to become of each task: told by its id, so that whoever works on it, and whoever judges, knows without asking.
//!
//! | fate | submitted | its handler says | it has to end |
//! |---|---|---|---|
//! | plain, slow | | done, after a while | DONE |
//! | delayed | `not_before` in some seconds | done | DONE, never called before |
//! | ordered | with an order key | done, or not now and then done | DONE, each after the one before |
//! | unique | with a unique key | done | DONE |
//! | duplicate | after it, with the same key | is not called | DUPLICATE of it |
//! | again | twice with the same id | done | DONE, once |
//! | failing | | not now, not now, done | DONE at the third attempt or later |
//! | hopeless | three attempts | not now | FAILED after three |
//! | refused | | never | FAILED |
//! | late | its deadline is over | is not called | EXPIRED |

use std::fmt;
use std::str::FromStr;

use task_queue::tasks::{State, Task};

use super::ground::now;

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Done at once.
    Plain,
    /// Done after a while.
    Slow,
    /// Not before its time.
    Delayed,
    /// After the one before it.
    Ordered,
    /// The first one of its unique key.
    Unique,
    /// The second one.
    Duplicate,
    /// Submitted twice.
    Again,
    /// Its first attempts fail.
    Failing,
    /// Its first attempt fails; in no plan, but for a run of these alone.
    FailsOnce,
    /// All of its attempts fail.
    Hopeless,
    /// No attempt can help.
    Refused,
    /// Nobody wants it any more.
    Late,
}

/// Attempts that fail of one that does in the end.
pub const FAILURES: u32 = 2;
/// Attempts of one that never succeeds.
pub const HOPELESS_ATTEMPTS: i32 = 3;
/// Attempts of all others: one that a kill has met may count, for nobody knows how far it had come.
const ATTEMPTS: i32 = 50;
/// Tasks for each order key.
const IN_ORDER: u32 = 25;
/// How long a task is put off, in milliseconds.
const DELAY_MS: std::ops::Range<i64> = 500..8_000;
/// The queue whose handlers are called, and the one whose handlers ask.
pub const QUEUES: [&str; 2] = ["called", "asked"];

impl Fate {
    /// All, each with its share of a thousand tasks. A unique one brings its duplicate.
    const SHARES: [(Fate, u32); 10] = [
        (Fate::Plain, 380),
        (Fate::Slow, 100),
        (Fate::Delayed, 100),
        (Fate::Ordered, 150),
        (Fate::Unique, 50),
        (Fate::Again, 50),
        (Fate::Failing, 80),
        (Fate::Hopeless, 30),
        (Fate::Refused, 40),
        (Fate::Late, 20),
    ];

    /// Its name in ids.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Plain => "plain",
            Fate::Slow => "slow",
            Fate::Delayed => "delayed",
            Fate::Ordered => "ordered",
            Fate::Unique => "unique",
            Fate::Duplicate => "duplicate",
            Fate::Again => "again",
            Fate::Failing => "failing",
            Fate::FailsOnce => "fails once",
            Fate::Hopeless => "hopeless",
            Fate::Refused => "refused",
            Fate::Late => "late",
        }
    }

    /// The state that it ends in.
    pub fn end(self) -> State {
        match self {
            Fate::Duplicate => State::Duplicate,
            Fate::Hopeless | Fate::Refused => State::Failed,
            Fate::Late => State::Expired,
            _ => State::Done,
        }
    }

    /// Whether it is for any handler at all.
    pub fn is_called(self) -> bool {
        !matches!(self, Fate::Duplicate | Fate::Late)
    }

    /// What a handler says of an attempt.
    pub fn answer(self, number: u32, attempt: u32) -> Answer {
        match self {
            Fate::Refused => Answer::Never,
            Fate::Hopeless => Answer::NotNow,
            Fate::Failing if attempt <= FAILURES => Answer::NotNow,
            Fate::FailsOnce if attempt == 1 => Answer::NotNow,
            // Some of those that others wait for.
            Fate::Ordered if number.is_multiple_of(7) && attempt == 1 => Answer::NotNow,
            _ => Answer::Done,
        }
    }
}

/// What a handler says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// Another attempt may help.
    NotNow,
    /// None can.
    Never,
}

/// A task to be, in the order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Job {
    /// Its number, from 0.
    pub number: u32,
    /// What is to become of it.
    pub fate: Fate,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.fate.name(), self.number)
    }
}

impl FromStr for Job {
    type Err = String;

    fn from_str(id: &str) -> Result<Job, String> {
        let known = Fate::SHARES.iter().map(|(fate, _)| *fate).chain([Fate::Duplicate, Fate::FailsOnce]);
        let job = id.split_once('-').and_then(|(name, number)| {
            let fate = known.clone().find(|fate| fate.name() == name)?;
            Some(Job { number: number.parse().ok()?, fate })
        });
        job.ok_or_else(|| format!("{id} is no task of ours"))
    }
}

impl Job {
    /// What its handler gives back.
    pub fn result(self) -> String {
        format!("done {self}")
    }

    /// The order key that it shares with others. Which of a key's tasks come in which order, their numbers tell.
    pub fn order_key(self, of: u32) -> Option<String> {
        let keys = (of / IN_ORDER / 6).max(2);
        (self.fate == Fate::Ordered).then(|| format!("customer-{}", self.number % keys))
    }

    /// The one that it is a duplicate of.
    pub fn first(self) -> Option<Job> {
        (self.fate == Fate::Duplicate).then(|| Job { number: self.number - 1, fate: Fate::Unique })
    }

    /// The task, submitted now as one of so many.
    pub fn task(self, of: u32) -> Task {
        let id = self.to_string();
        let unique = self.first().or((self.fate == Fate::Unique).then_some(self));
        let delay = fastrand::Rng::with_seed(self.number.into()).i64(DELAY_MS);
        Task {
            queue: QUEUES[self.number as usize / 2 % 2].to_owned(),
            payload: id.clone().into_bytes(),
            id,
            not_before: (self.fate == Fate::Delayed).then(|| now() + delay),
            deadline: (self.fate == Fate::Late).then(|| now() - 1),
            order_key: self.order_key(of),
            unique_key: unique.map(|first| format!("invoice-{}", first.number)),
            max_attempts: Some(if self.fate == Fate::Hopeless { HOPELESS_ATTEMPTS } else { ATTEMPTS }),
            ..Task::default()
        }
    }
}

/// So many tasks of all fates; a seed decides which. Each duplicate follows the one that it is of.
pub fn plan(seed: u64, tasks: u32) -> Vec<Job> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut plan: Vec<Job> = Vec::new();
    while let Some(number) = u32::try_from(plan.len()).ok().filter(|number| *number < tasks) {
        let mut left = dice.u32(0..1000);
        let drawn = Fate::SHARES.iter().find(|(_, share)| {
            let found = left < *share;
            left = left.saturating_sub(*share);
            found
        });
        let fate = drawn.map_or(Fate::Plain, |(fate, _)| *fate);
        plan.push(Job { number, fate });
        if fate == Fate::Unique && number + 1 < tasks {
            plan.push(Job { number: number + 1, fate: Fate::Duplicate });
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_as_many_tasks_as_were_asked_for_of_all_fates_and_the_same_ones_by_the_same_seed() {
        let jobs = plan(7, 2_000);
        assert_eq!(jobs.len(), 2_000);
        assert_eq!(jobs, plan(7, 2_000));
        assert_ne!(jobs, plan(8, 2_000));
        for fate in Fate::SHARES.iter().map(|(fate, _)| *fate).chain([Fate::Duplicate]) {
            assert!(jobs.iter().any(|job| job.fate == fate), "{fate:?}");
        }
        assert_eq!(Fate::SHARES.iter().map(|(_, share)| share).sum::<u32>(), 1000);
        for (number, job) in (0..).zip(&jobs) {
            assert_eq!(job.number, number);
            assert_eq!(job.to_string().parse(), Ok(*job));
        }
    }

    #[test]
    fn a_duplicate_has_the_key_of_the_task_before_it_and_a_late_one_is_over() {
        let jobs = plan(1, 500);
        let tasks: Vec<Task> = jobs.iter().map(|job| job.task(500)).collect();
        for (job, pair) in jobs[1..].iter().zip(tasks.windows(2)) {
            assert_eq!(
                job.fate == Fate::Duplicate,
                pair[1].unique_key.is_some() && pair[0].unique_key == pair[1].unique_key
            );
        }
        assert!(tasks.iter().all(|task| task.deadline.is_none_or(|deadline| deadline < now())));
        let queues = QUEUES.map(|queue| tasks.iter().filter(|task| task.queue == queue).count());
        assert!(queues[0].abs_diff(queues[1]) <= 2, "{queues:?}");
        let keys: std::collections::BTreeSet<_> = tasks.iter().filter_map(|task| task.order_key.as_ref()).collect();
        assert!(keys.len() > 1);
    }
}
