//! What readers on other threads see: committed data with its positions, page by page, and nothing of a closed task.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::{Bounds, Commit, TaskState, View, ViewError, Wanted};
use super::{ROCKS, open, open_held, publish};
use crate::position::{Offset, Partition, TopicPartition};

const STORE: &str = "on-disk";

fn input() -> TopicPartition {
    TopicPartition { topic: "in".into(), partition: Partition(3) }
}

fn commit(state: &mut TaskState, pairs: &[(&[u8], &[u8])], next: i64) {
    pairs.iter().for_each(|(key, value)| state.write(ROCKS, key, Some(value)));
    publish(state);
    let changelog_next = [(ROCKS, Offset(next))];
    let positions = [(input(), Offset(next))];
    state.commit(&Commit { changelog_next: &changelog_next, positions: &positions, stream_time: None }).unwrap();
    state.finish_applying().unwrap();
}

fn value(view: &View, key: &[u8]) -> (Option<Vec<u8>>, Option<Offset>) {
    let found = view.read(STORE, key).unwrap();
    (found.value, found.positions.first().map(|(at, next)| (at == &input()).then_some(*next).unwrap()))
}

#[test]
fn r17_a_reader_sees_nothing_of_an_open_or_sealed_transaction() {
    let root = tempfile::tempdir().unwrap();
    let mut state = open(root.path());
    let view = state.view().unwrap();
    assert_eq!(value(&view, b"key"), (None, None));
    commit(&mut state, &[(b"key", b"1")], 7);
    assert_eq!(value(&view, b"key"), (Some(b"1".to_vec()), Some(Offset(7))));
    state.write(ROCKS, b"key", Some(b"2"));
    publish(&mut state);
    state.seal();
    state.write(ROCKS, b"key", Some(b"3"));
    assert_eq!(state.read(ROCKS, b"key").unwrap().as_deref(), Some(&b"3"[..]), "the control: the task sees it");
    assert_eq!(value(&view, b"key"), (Some(b"1".to_vec()), Some(Offset(7))));
    state.drop_staged();
    assert_eq!(value(&view, b"key"), (Some(b"1".to_vec()), Some(Offset(7))));
}

#[test]
fn r17_value_and_position_arrive_in_one_step() {
    let root = tempfile::tempdir().unwrap();
    let (mut state, jobs) = open_held(root.path());
    let view = state.view().unwrap();
    state.write(ROCKS, b"key", Some(b"1"));
    publish(&mut state);
    let positions = [(input(), Offset(5))];
    state.commit(&Commit { positions: &positions, ..Commit::default() }).unwrap();
    assert_eq!(value(&view, b"key"), (None, None), "committed, and on its way");
    jobs.write_next();
    assert_eq!(value(&view, b"key"), (Some(b"1".to_vec()), Some(Offset(5))));
}

/// Values and position are the same number in every commit; a torn answer has two.
#[test]
fn r17_no_answer_is_torn_while_commits_go_on() {
    let root = tempfile::tempdir().unwrap();
    let mut state = open(root.path());
    commit(&mut state, &[(b"a", b"0"), (b"b", b"0")], 0);
    let (view, over) = (state.view().unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut last) = (0, 0);
            while !over.load(Ordering::Relaxed) || reads == 0 {
                let wanted = Wanted { bounds: Bounds::ALL, reverse: reads % 2 == 0, limit: 10, max_bytes: 1000 };
                let page = view.scan(STORE, &wanted).unwrap();
                let numbers: Vec<i64> =
                    page.entries.iter().map(|(_, value)| String::from_utf8_lossy(value).parse().unwrap()).collect();
                let next = page.positions[0].1.0;
                assert_eq!(numbers, [next, next]);
                assert!(next >= last, "back in time");
                (reads, last) = (reads + 1, next);
            }
        });
        for next in 1..500 {
            let text = next.to_string();
            commit(&mut state, &[(b"a", text.as_bytes()), (b"b", text.as_bytes())], next);
        }
        over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn a_view_ends_with_its_task_and_the_directory_can_be_opened_again_at_once() {
    let root = tempfile::tempdir().unwrap();
    for ends in [drop::<TaskState>, |state: TaskState| state.close().unwrap()] {
        let mut state = open(root.path());
        commit(&mut state, &[(b"key", b"1")], 1);
        let view = state.view().unwrap();
        ends(state);
        assert!(view.is_closed());
        assert!(matches!(view.read(STORE, b"key"), Err(ViewError::Closed)));
        // RocksDB refuses a second open of what is still open.
        drop(open(root.path()));
    }
}

#[test]
fn r18_a_restore_closes_what_readers_have() {
    let root = tempfile::tempdir().unwrap();
    let mut state = open(root.path());
    let view = state.view().unwrap();
    state.restore(ROCKS, [(&b"key"[..], Some(&b"1"[..]))], Offset(1)).unwrap();
    assert!(matches!(view.positions(), Err(ViewError::Closed)));
    let again = state.view().unwrap();
    assert_eq!(value(&again, b"key"), (Some(b"1".to_vec()), None));
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255)], 0..4)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![key().prop_map(Bound::Included), key().prop_map(Bound::Excluded), Just(Bound::Unbounded)]
}

fn borrowed(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// All pages of a scan, one after the other.
fn pages(view: &View, bounds: Bounds<'_>, reverse: bool, limit: usize, max_bytes: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut all, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let mut bounds = bounds;
        match (&after, reverse) {
            (Some(after), false) => bounds.start = Bound::Excluded(after),
            (Some(after), true) => bounds.end = Bound::Excluded(after),
            (None, _) => {}
        }
        let page = view.scan(STORE, &Wanted { bounds, reverse, limit, max_bytes }).unwrap();
        assert!(page.entries.len() <= limit && (!page.more || !page.entries.is_empty()));
        all.extend(page.entries.iter().cloned());
        after = page.entries.last().map(|(key, _)| key.clone());
        if !page.more {
            return all;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn pages_one_after_the_other_are_the_range_of_a_map(
        map in prop::collection::btree_map(key(), key(), 0..40),
        scans in prop::collection::vec((bound(), bound(), any::<bool>(), 1..6_usize, 1..40_usize), 1..12),
    ) {
        let root = tempfile::tempdir().unwrap();
        let mut state = open(root.path());
        let pairs: Vec<(&[u8], &[u8])> = map.iter().map(|(key, value)| (&**key, &**value)).collect();
        commit(&mut state, &pairs, 1);
        let view = state.view().unwrap();
        for (start, end, reverse, limit, max_bytes) in scans {
            let bounds = Bounds { start: borrowed(&start), end: borrowed(&end) };
            let mut expected = BTreeMap::new();
            if !bounds.is_empty() {
                expected = map.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone())).collect();
            }
            let mut expected: Vec<_> = expected.into_iter().collect();
            if reverse {
                expected.reverse();
            }
            prop_assert_eq!(pages(&view, bounds, reverse, limit, max_bytes), expected);
        }
    }
}
