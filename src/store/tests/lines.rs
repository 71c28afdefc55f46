//! Lines against plain queues: whose turn it is, whoever joins and leaves in between.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::super::{Lines, Place, ReadError, StoreIndex, Stores, TaskState};
use crate::codec::raw;

#[derive(Debug, Clone)]
enum Op {
    Join(usize),
    /// Takes a number for later.
    Take,
    /// Joins with the number that was taken first.
    JoinAt(usize),
    /// Leaves the line of a key from so far behind its first; there may be nobody.
    Leave(usize, usize),
}

/// Keys that begin with each other, and bytes at which bounds go wrong.
const KEYS: [&[u8]; 6] = [b"", b"a", b"ab", b"a\0", b"\xff", b"\xff\xff"];

fn op() -> impl Strategy<Value = Op> {
    let key = 0..KEYS.len();
    let later = prop_oneof![Just(Op::Take), key.clone().prop_map(Op::JoinAt)];
    prop_oneof![3 => key.clone().prop_map(Op::Join), 2 => later, 2 => (key, 0..3usize).prop_map(|(key, at)| Op::Leave(key, at))]
}

fn lines() -> (TaskState, Lines) {
    let (spec, store) = Stores::rocks(raw(), raw()).build("lines", StoreIndex(0));
    (TaskState::in_memory(&[spec]), Lines::new(store))
}

proptest! {
    #[test]
    fn who_is_first_is_who_came_first_of_those_who_are_left(ops in prop::collection::vec(op(), 0..80)) {
        let (mut state, lines) = lines();
        let mut model: BTreeMap<usize, VecDeque<(i64, Vec<u8>)>> = BTreeMap::new();
        let mut taken = VecDeque::new();
        for (number, op) in ops.into_iter().enumerate() {
            let of = number.to_be_bytes().to_vec();
            match op {
                Op::Join(key) => {
                    let line = model.entry(key).or_default();
                    let Place { number, is_first } = lines.join(&mut state, KEYS[key], &of).unwrap();
                    prop_assert_eq!(is_first, line.is_empty());
                    prop_assert!(line.back().is_none_or(|(last, _)| *last < number));
                    line.push_back((number, of));
                }
                Op::Take => taken.push_back(lines.take_number(&mut state).unwrap()),
                Op::JoinAt(key) => {
                    let Some(number) = taken.pop_front() else { continue };
                    let line = model.entry(key).or_default();
                    let at = line.partition_point(|(other, _)| *other < number);
                    let is_first = lines.join_at(&mut state, KEYS[key], number, &of).unwrap();
                    prop_assert_eq!(is_first, at == 0);
                    line.insert(at, (number, of));
                }
                Op::Leave(key, at) => {
                    let line = model.entry(key).or_default();
                    // A number that nobody has any more changes nothing.
                    let left = line.get(at).map_or(i64::MAX, |(number, _)| *number);
                    let next = lines.leave(&mut state, KEYS[key], left).unwrap();
                    line.remove(at);
                    let expected = if at == 0 { line.front().cloned() } else { None };
                    prop_assert_eq!(next, expected);
                }
            }
            for (key, line) in &model {
                prop_assert_eq!(lines.first(&mut state, KEYS[*key]).unwrap(), line.front().cloned());
                let front: Vec<_> = line.iter().take(2).cloned().collect();
                prop_assert_eq!(lines.front(&mut state, KEYS[*key], 2).unwrap(), front);
            }
        }
    }
}

#[test]
fn who_has_left_leaves_nothing_behind() {
    let (mut state, lines) = lines();
    for of in [b"one", b"two"] {
        lines.join(&mut state, b"key", of).unwrap();
    }
    assert_eq!(lines.leave(&mut state, b"key", 0).unwrap(), Some((1, b"two".to_vec())));
    assert_eq!(lines.leave(&mut state, b"key", 0).unwrap(), None, "it has left before");
    assert_eq!(lines.leave(&mut state, b"key", 1).unwrap(), None);
    let mut left = state.range(StoreIndex(0), super::super::Bounds::ALL).unwrap();
    assert_eq!(left.next().unwrap().map(|(key, _)| key.to_vec()), Some(b"next".to_vec()), "but the next number");
    assert!(left.next().unwrap().is_none());
}

#[test]
fn a_number_that_is_none_is_an_error_and_no_empty_line() {
    let (mut state, lines) = lines();
    state.write(StoreIndex(0), b"\0\0\0\x01k", Some(b"\0\0"));
    assert!(matches!(lines.first(&mut state, b"k"), Err(ReadError::Decode(_))));
    assert!(matches!(lines.join(&mut state, b"k", b"x"), Err(ReadError::Decode(_))));
}
