//! Restores: idempotent, resumable, and the same in bulk as one by one.

use super::super::TaskState;
use super::{MEMORY, ROCKS, contents, open};
use crate::position::Offset;

type Record = (Vec<u8>, Option<Vec<u8>>);

/// What is written at once.
const BATCH: usize = 4 << 20;

/// A changelog in which keys are overwritten and deleted.
fn changelog(records: u64) -> Vec<Record> {
    let record = |n: u64| {
        let value = (!n.is_multiple_of(5)).then(|| [n.to_be_bytes().as_slice(), &[7; 200]].concat());
        ((n * 7919 % (records / 2)).to_be_bytes().to_vec(), value)
    };
    (0..records).map(record).collect()
}

fn apply(state: &mut TaskState, store: super::StoreIndex, records: &[Record], next: usize) {
    let records = records.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
    state.restore(store, records, Offset(i64::try_from(next).unwrap())).unwrap();
}

fn expected(records: &[Record]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut map = std::collections::BTreeMap::new();
    for (key, value) in records {
        match value {
            Some(value) => _ = map.insert(key.clone(), value.clone()),
            None => _ = map.remove(key),
        }
    }
    map.into_iter().collect()
}

#[test]
fn r21_a_restore_applied_twice_gives_the_same() {
    let root = tempfile::tempdir().unwrap();
    let records = changelog(100);
    for store in [ROCKS, MEMORY] {
        let mut state = open(root.path());
        apply(&mut state, store, &records[..60], 60);
        apply(&mut state, store, &records[20..60], 60);
        apply(&mut state, store, &records[40..], 100);
        assert_eq!(contents(&mut state, store), expected(&records));
        assert_eq!(state.changelog_next(store), Some(Offset(100)));
    }
}

/// Gives records `from..` to a restore that is under way, with a position after each thousand.
fn feed(state: &mut TaskState, records: &[Record], from: usize) {
    for (n, batch) in records[from..].chunks(1000).enumerate() {
        for (key, value) in batch {
            state.restore_record(ROCKS, key, value.as_deref()).unwrap();
        }
        let next = i64::try_from(from + n * 1000 + batch.len()).unwrap();
        state.restored_to(ROCKS, Offset(next)).unwrap();
    }
}

fn remaining(records: &[Record]) -> u64 {
    u64::try_from(records.len()).unwrap()
}

#[test]
fn r23_a_bulk_restore_gives_the_same_as_one_batch_after_another() {
    let root = tempfile::tempdir().unwrap();
    let records = changelog(60_000);
    let mut state = open(root.path());
    assert!(state.begin_restore(ROCKS, remaining(&records), BATCH).unwrap());
    feed(&mut state, &records, 0);
    state.end_restore(ROCKS).unwrap();
    assert_eq!(contents(&mut state, ROCKS), expected(&records));
    assert_eq!(state.changelog_next(ROCKS), Some(Offset(60_000)));
    assert!(!state.begin_restore(ROCKS, 1_000, BATCH).unwrap(), "files are not worth it for a few records");
    drop(state);
    let mut state = open(root.path());
    assert_eq!(state.changelog_next(ROCKS), Some(Offset(60_000)));
    assert_eq!(contents(&mut state, ROCKS), expected(&records));
}

#[test]
fn r23_a_bulk_restore_goes_over_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    let records = changelog(120_000);
    let mut state = open(root.path());
    apply(&mut state, ROCKS, &records[..30_000], 30_000);
    assert!(state.begin_restore(ROCKS, 90_000, BATCH).unwrap());
    feed(&mut state, &records, 30_000);
    state.end_restore(ROCKS).unwrap();
    assert_eq!(contents(&mut state, ROCKS), expected(&records));
    // And commits go over that.
    apply(&mut state, ROCKS, &[(records[0].0.clone(), None)], 120_001);
    assert_eq!(state.read(ROCKS, &records[0].0).unwrap(), None);
}

#[test]
fn r18_an_interrupted_bulk_restore_goes_on_from_its_last_write() {
    let root = tempfile::tempdir().unwrap();
    let records = changelog(150_000);
    let mut state = open(root.path());
    // As a crash between taking the file over and deleting its first name leaves it.
    std::fs::write(root.path().join("app/0_3/restore.sst.tmp"), "left over").unwrap();
    state.begin_restore(ROCKS, remaining(&records), BATCH).unwrap();
    feed(&mut state, &records[..139_000], 0);
    drop(state);
    let mut state = open(root.path());
    let next = usize::try_from(state.changelog_next(ROCKS).unwrap().0).unwrap();
    assert!((1000..139_000).contains(&next), "{next}");
    assert_eq!(contents(&mut state, ROCKS), expected(&records[..next]));
    apply(&mut state, ROCKS, &records[next..], records.len());
    assert_eq!(contents(&mut state, ROCKS), expected(&records));
}

#[test]
fn r18_a_restore_that_is_ended_early_keeps_all_that_it_was_given() {
    let root = tempfile::tempdir().unwrap();
    let records = changelog(60_000);
    for (part, bulk) in [(10_000, true), (12_000, false)] {
        let mut state = open(root.path());
        let from = state.changelog_next(ROCKS).map_or(0, |next| usize::try_from(next.0).unwrap());
        let remaining = if bulk { remaining(&records) } else { 1 };
        assert_eq!(state.begin_restore(ROCKS, remaining, usize::MAX).unwrap(), bulk);
        feed(&mut state, &records[..part], from);
        state.end_restore(ROCKS).unwrap();
        state.close().unwrap();
        let mut state = open(root.path());
        assert_eq!(state.changelog_next(ROCKS), Some(Offset(i64::try_from(part).unwrap())));
        assert_eq!(contents(&mut state, ROCKS), expected(&records[..part]));
    }
}

#[test]
fn a_restore_is_seen_by_keys_that_were_read_before() {
    let root = tempfile::tempdir().unwrap();
    let mut state = open(root.path());
    assert_eq!(state.read(ROCKS, b"key").unwrap(), None);
    apply(&mut state, ROCKS, &[(b"key".to_vec(), Some(b"value".to_vec()))], 1);
    assert_eq!(state.read(ROCKS, b"key").unwrap().as_deref(), Some(&b"value"[..]));
}
