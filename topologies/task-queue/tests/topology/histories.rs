//! Histories by chance: whatever is submitted, said and commanded in whatever order, each task ends once, and what has an order
//! keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use task_queue::tasks::{Action, OutcomeKind, ReadyTask, State, Task};

use crate::support::{Queue, task};

#[derive(Debug, Clone)]
enum Step {
    Submit {
        id: u8,
        order: Option<u8>,
        unique: Option<u8>,
        delay: u16,
        deadline: Option<u16>,
        attempts: u8,
    },
    /// One of the attempts that were handed out, whether or not it is under way.
    Say {
        which: u8,
        kind: OutcomeKind,
    },
    Command {
        id: u8,
        cancel: bool,
    },
    Advance {
        millis: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = prop_oneof![
        3 => Just(OutcomeKind::Done), 3 => Just(OutcomeKind::Failed),
        1 => Just(OutcomeKind::Refused), 1 => Just(OutcomeKind::Progress)
    ];
    let few = || proptest::option::of(0..3_u8);
    prop_oneof![
        4 => (0..12_u8, few(), few(), 0..3_000_u16, proptest::option::of(0..6_000_u16), 1..4_u8).prop_map(
            |(id, order, unique, delay, deadline, attempts)| Step::Submit { id, order, unique, delay, deadline, attempts }
        ),
        6 => (any::<u8>(), kinds).prop_map(|(which, kind)| Step::Say { which, kind }),
        1 => (0..12_u8, any::<bool>()).prop_map(|(id, cancel)| Step::Command { id, cancel }),
        2 => (0..4_000_u16).prop_map(|millis| Step::Advance { millis }),
    ]
}

/// What was seen of a queue.
#[derive(Default)]
struct Seen {
    tasks: BTreeMap<String, Task>,
    handed_out: Vec<ReadyTask>,
    /// Those that have ended, and how.
    ended: BTreeMap<String, State>,
    /// The tasks of each order key, as they lined up.
    orders: BTreeMap<String, Vec<String>>,
    /// Attempts that do not count any more.
    before: BTreeMap<String, i32>,
}

impl Seen {
    /// What has left the queue obeys the rules.
    fn look(&mut self, queue: &mut Queue, now: i64) {
        // Ends first: the next of an order begins with them.
        for result in queue.ended() {
            let before = self.ended.insert(result.id.clone(), result.state);
            assert_eq!(before, None, "{} has ended twice: {:?}", result.id, result.state);
        }
        for ready in queue.ready() {
            let (id, task) = (&ready.task.id, &self.tasks[&ready.task.id]);
            assert_eq!(&Task { deadline: task.deadline, ..ready.task.clone() }, task, "as it was submitted");
            assert!(task.not_before.is_none_or(|at| at <= now), "{id} is too early");
            let before = self.before.get(id).copied().unwrap_or(0);
            assert!(ready.attempt - before <= task.max_attempts.unwrap_or(5), "{id} has too many attempts");
            let is_it = |other: &ReadyTask| (&other.task.id, other.attempt) == (id, ready.attempt);
            assert!(!self.handed_out.iter().any(is_it), "attempt {} of {id} was handed out twice", ready.attempt);
            let order = task.order_key.as_ref().map_or(&[][..], |key| &self.orders[key]);
            let earlier = order.iter().take_while(|other| *other != id);
            let open: Vec<_> = earlier.filter(|other| !self.ended.contains_key(*other)).collect();
            assert!(open.is_empty(), "{id} begins, and {open:?} stand before it");
            self.handed_out.push(ready);
        }
    }

    /// It takes its place in the order of its key, the last one.
    fn line_up(&mut self, task: &Task) {
        let Some(key) = &task.order_key else { return };
        let order = self.orders.entry(key.clone()).or_default();
        order.retain(|id| *id != task.id);
        order.push(task.id.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_task_ends_once_and_orders_are_kept(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut queue, mut seen) = (Queue::new(), Seen::default());
        for step in steps {
            run(&mut queue, &mut seen, step);
            let now = queue.now();
            seen.look(&mut queue, now);
        }
        // Whatever is left has its chance: all attempts succeed from now on.
        for _ in 0..200 {
            let handed_out = seen.handed_out.clone();
            handed_out.iter().for_each(|ready| queue.say(ready, OutcomeKind::Done));
            queue.advance(Duration::from_secs(1));
            let now = queue.now();
            seen.look(&mut queue, now);
        }
        for id in seen.tasks.keys() {
            prop_assert!(seen.ended.contains_key(id), "{id} has not ended");
        }
    }
}

fn run(queue: &mut Queue, seen: &mut Seen, step: Step) {
    let lane_of = |seen: &Seen, id: &str| seen.tasks.get(id).map_or(id.to_owned(), |task| task.lane().to_owned());
    match step {
        Step::Submit { id, order, unique, delay, deadline, attempts } => {
            let now = queue.now();
            let new = Task {
                order_key: order.map(|order| format!("order {order}")),
                // A lane of its own: what is unique is so within its order.
                unique_key: unique.map(|unique| format!("unique {unique} {order:?}")),
                not_before: (delay > 1_000).then(|| now + i64::from(delay)),
                deadline: deadline.map(|deadline| now + i64::from(deadline)),
                max_attempts: Some(i32::from(attempts)),
                ..task(&format!("task {id}"))
            };
            // Submitted again it is what it was: other fields do not matter, but another lane would be another place.
            let new = seen.tasks.get(&new.id).cloned().unwrap_or(new);
            assert!(queue.submit(&new));
            if seen.tasks.insert(new.id.clone(), new.clone()).is_none() {
                seen.line_up(&new);
            }
        }
        Step::Say { which, kind } => {
            if let Some(ready) = seen.handed_out.get(usize::from(which) % seen.handed_out.len().max(1)).cloned() {
                queue.say(&ready, kind);
            }
        }
        Step::Command { id, cancel } => {
            let id = format!("task {id}");
            if !cancel && seen.ended.get(&id) == Some(&State::Failed) {
                seen.ended.remove(&id);
                let last = seen.handed_out.iter().filter(|ready| ready.task.id == id).map(|ready| ready.attempt).max();
                seen.before.insert(id.clone(), last.unwrap_or(0));
                seen.line_up(&seen.tasks[&id].clone());
            }
            let action = if cancel { Action::Cancel } else { Action::Retry };
            queue.command(&lane_of(seen, &id), &id, action);
        }
        Step::Advance { millis } => queue.advance(Duration::from_millis(u64::from(millis))),
    }
}
