//! Timers under any clock: each is taken once, at the first look at or after its time, in the order of times.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{StoreIndex, Stores, TaskState, Timer, Timers};
use crate::codec::raw;
use crate::record::Timestamp;

#[derive(Debug, Clone)]
enum Op {
    Set(i64, u8),
    Cancel(i64, u8),
    /// A look at a time, at so many at most.
    Take(i64, usize),
}

/// Times around those at which a mark is moved for its own sake, and those that a clock would have to be broken for.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 0..40i64,
        4 => (0..40i64).prop_map(|at| 100_000 + at),
        1 => prop::sample::select(vec![i64::MIN, -1, i64::MAX]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (time(), 0..3u8).prop_map(|(at, of)| Op::Set(at, of)),
        1 => (time(), 0..3u8).prop_map(|(at, of)| Op::Cancel(at, of)),
        3 => (time(), 0..4usize).prop_map(|(now, most)| Op::Take(now, most)),
    ]
}

fn timers() -> (TaskState, Timers) {
    let (spec, store) = Stores::rocks(raw(), raw()).build("timers", StoreIndex(0));
    (TaskState::in_memory(&[spec]), Timers::new(store))
}

proptest! {
    #[test]
    fn each_is_taken_once_and_never_early_whatever_the_clock_does(ops in prop::collection::vec(op(), 0..60)) {
        let (mut state, timers) = timers();
        let mut model = BTreeSet::new();
        for op in ops {
            match op {
                Op::Set(at, of) => {
                    timers.set(&mut state, Timestamp(at), &[of]).unwrap();
                    model.insert((at.max(0), vec![of]));
                }
                Op::Cancel(at, of) => {
                    timers.cancel(&mut state, Timestamp(at), &[of]).unwrap();
                    model.remove(&(at.max(0), vec![of]));
                }
                Op::Take(now, most) => {
                    // Nobody lives to see the last millisecond there is.
                    let due = model.iter().filter(|(at, _)| *at <= now && *at < i64::MAX).take(most).cloned();
                    let due: Vec<_> = due.collect();
                    let taken = timers.take(&mut state, Timestamp(now), most).unwrap();
                    let taken: Vec<_> = taken.into_iter().map(|Timer { at, of }| (at.0, of)).collect();
                    prop_assert_eq!(&taken, &due);
                    model.retain(|timer| !due.contains(timer));
                }
            }
        }
    }
}

#[test]
fn one_that_an_owner_sets_whose_clock_is_behind_is_not_passed_over() {
    let (mut state, timers) = timers();
    timers.set(&mut state, Timestamp(900_000), b"first").unwrap();
    assert_eq!(timers.take(&mut state, Timestamp(1_000_000), 10).unwrap().len(), 1);
    // The next owner's clock is a minute behind, and it does not look before the first one's time is over.
    timers.set(&mut state, Timestamp(950_000), b"second").unwrap();
    let taken = timers.take(&mut state, Timestamp(1_000_001), 10).unwrap();
    assert_eq!(taken, [Timer { at: Timestamp(950_000), of: b"second".to_vec() }]);
}

#[test]
fn a_look_begins_where_the_last_one_ended() {
    let (mut state, timers) = timers();
    for at in 0..5 {
        timers.set(&mut state, Timestamp(at), b"x").unwrap();
    }
    let mut mark = |now, most| {
        timers.take(&mut state, Timestamp(now), most).unwrap();
        timers.mark(&mut state).unwrap()
    };
    assert_eq!(mark(10, 3), Some(2), "there may be more of the last one's time");
    assert_eq!(mark(10, 3), Some(10));
    assert_eq!(mark(20, 3), Some(10), "nothing was due, and not long ago");
    assert_eq!(mark(100_000, 3), Some(100_000), "though nothing was due");
}
