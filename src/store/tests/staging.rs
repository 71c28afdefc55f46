//! Staged writes: what is seen, published, taken back and applied, and when.

use super::super::journal::Journal;
use super::super::{Bounds, Commit, TaskState};
use super::{MEMORY, ROCKS, collect, contents, open, publish, specs};
use crate::position::Offset;

#[test]
fn r17_base_is_untouched_before_commit() {
    let root = tempfile::tempdir().unwrap();
    let mut state = open(root.path());
    state.write(ROCKS, b"key", Some(b"value"));
    assert_eq!(state.read(ROCKS, b"key").unwrap().as_deref(), Some(&b"value"[..]));
    drop(state);
    let mut state = open(root.path());
    assert_eq!(state.read(ROCKS, b"key").unwrap(), None);
}

#[test]
fn n5_a_failed_transaction_takes_the_one_above_it_along() {
    let mut state = TaskState::in_memory(&specs());
    state.write(ROCKS, b"a", Some(b"1"));
    publish(&mut state);
    state.seal();
    state.write(ROCKS, b"b", Some(b"2"));
    assert_eq!(contents(&mut state, ROCKS).len(), 2);
    state.drop_staged();
    assert_eq!(contents(&mut state, ROCKS), []);
}

#[test]
fn n5_commit_applies_the_sealed_transaction_and_leaves_the_one_above_it() {
    let root = tempfile::tempdir().unwrap();
    let mut state = open(root.path());
    state.write(ROCKS, b"a", Some(b"1"));
    publish(&mut state);
    state.seal();
    state.write(ROCKS, b"a", Some(b"2"));
    state.commit(&Commit { changelog_next: &[(ROCKS, Offset(1))], ..Commit::default() }).unwrap();
    assert_eq!(state.read(ROCKS, b"a").unwrap().as_deref(), Some(&b"2"[..]));
    state.drop_staged();
    assert_eq!(state.read(ROCKS, b"a").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
#[should_panic(expected = "on the wire already")]
fn n5_a_third_transaction_is_refused() {
    let mut state = TaskState::in_memory(&specs());
    state.seal();
    state.seal();
}

#[test]
#[should_panic(expected = "were not published")]
fn r21_a_commit_without_its_changelog_is_refused() {
    let mut state = TaskState::in_memory(&specs());
    state.write(MEMORY, b"key", Some(b"value"));
    _ = state.commit(&Commit::default());
}

#[test]
fn r21_the_changelog_gets_the_last_write_of_each_key_and_none_that_was_taken_back() {
    let mut state = TaskState::in_memory(&specs());
    state.write(ROCKS, b"a", Some(b"1"));
    state.write(MEMORY, b"b", Some(b"2"));
    state.write(ROCKS, b"a", Some(b"3"));
    state.begin_record();
    state.write(ROCKS, b"a", Some(b"taken back"));
    state.write(ROCKS, b"c", Some(b"taken back"));
    state.rollback_record();
    let write = |store, key: &[u8], value: &[u8]| (store, key.to_vec(), Some(value.to_vec()));
    assert_eq!(publish(&mut state), [write(MEMORY, b"b", b"2"), write(ROCKS, b"a", b"3")]);
    assert_eq!(publish(&mut state), []);
    state.write(ROCKS, b"a", None);
    assert_eq!(publish(&mut state), [(ROCKS, b"a".to_vec(), None)]);
}

#[test]
fn a_changelog_write_that_the_producer_refused_comes_again() {
    let mut state = TaskState::in_memory(&specs());
    state.write(ROCKS, b"a", Some(b"1"));
    state.write(ROCKS, b"b", Some(b"2"));
    let refused = state.publish_changelog(|write| if write.key == b"b" { Err("queue full") } else { Ok(()) });
    assert_eq!(refused, Err("queue full"));
    assert_eq!(publish(&mut state).len(), 1);
}

#[test]
fn a_scan_hides_committed_keys_that_are_staged_as_deleted() {
    let root = tempfile::tempdir().unwrap();
    let mut state = open(root.path());
    for key in [b"a", b"b", b"c", b"d"] {
        state.write(ROCKS, key, Some(b"old"));
    }
    publish(&mut state);
    state.commit(&Commit::default()).unwrap();
    state.write(ROCKS, b"b", None);
    publish(&mut state);
    state.seal();
    state.write(ROCKS, b"b", Some(b"new"));
    state.write(ROCKS, b"c", None);
    let entry = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    assert_eq!(collect(&mut state, ROCKS, Bounds::between(b"b", b"d")), [entry(b"b", b"new")]);
    state.drop_staged();
    assert_eq!(contents(&mut state, ROCKS).len(), 4);
}

#[test]
fn r8_staged_bytes_grow_with_writes_and_vanish_with_commit() {
    let mut state = TaskState::in_memory(&specs());
    state.write(ROCKS, b"key", Some(&[0; 1000]));
    assert!(state.staged_bytes() >= 1003);
    publish(&mut state);
    state.commit(&Commit::default()).unwrap();
    assert_eq!(state.staged_bytes(), 0);
}

/// RocksDB refuses a file that is not in order; a memtable only gets slower. So the order itself is looked at.
#[test]
fn r17_writes_are_sorted_by_store_and_key_whatever_keys_have_in_common() {
    let keys: [&[u8]; 9] = [
        b"",
        b"k",
        b"key-0001",
        b"key-0001\0",
        b"key-0001\0\0",
        b"key-00010000000000001",
        b"key-00010000000000002",
        b"key-1",
        b"\xff",
    ];
    // From keys that share nothing to keys that share more than is looked at first.
    for keys in [&keys[..], &keys[2..8], &keys[5..7]] {
        let mut journal = Journal::new(3);
        for store in [MEMORY, ROCKS] {
            for key in keys.iter().rev() {
                // Twice, as a restore in bulk may have it.
                journal.push(store, key, None, None);
                journal.push(store, key, Some(b"last"), None);
            }
        }
        let expected: Vec<_> = [ROCKS, MEMORY]
            .iter()
            .flat_map(|store| keys.iter().map(|key| (*store, *key, Some(&b"last"[..]))))
            .collect();
        let mut order = Vec::new();
        let sorted: Vec<_> =
            journal.sorted_writes(&mut order).map(|write| (write.store, write.key, write.value)).collect();
        assert_eq!(sorted, expected);
    }
}
