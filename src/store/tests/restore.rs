//! Restores: idempotent, resumable, and the same in bulk as one by one.

use super::super::TaskState;
use super::{MEMORY, ROCKS, contents, open};
use crate::position::Offset;

type Record = (Vec<u8>, Option<Vec<u8>>);

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

#[test]
fn r23_a_bulk_restore_gives_the_same_as_one_batch_after_another() {
    let root = tempfile::tempdir().unwrap();
    let records = changelog(40_000);
    let mut state = open(root.path());
    assert!(state.begin_bulk(ROCKS).unwrap());
    for (n, batch) in records.chunks(1000).enumerate() {
        apply(&mut state, ROCKS, batch, (n + 1) * 1000);
    }
    state.end_bulk(ROCKS).unwrap();
    assert_eq!(contents(&mut state, ROCKS), expected(&records));
    assert_eq!(state.changelog_next(ROCKS), Some(Offset(40_000)));
    assert!(!state.begin_bulk(ROCKS).unwrap(), "only an empty store is filled in bulk");
    drop(state);
    let mut state = open(root.path());
    assert_eq!(state.changelog_next(ROCKS), Some(Offset(40_000)));
    assert_eq!(contents(&mut state, ROCKS), expected(&records));
}

#[test]
fn r18_an_interrupted_bulk_restore_goes_on_from_its_last_write() {
    let root = tempfile::tempdir().unwrap();
    let records = changelog(150_000);
    let mut state = open(root.path());
    // As a crash between taking the file over and deleting its first name leaves it.
    std::fs::write(root.path().join("app/0_3/restore.sst.tmp"), "left over").unwrap();
    state.begin_bulk(ROCKS).unwrap();
    for (n, batch) in records[..140_000].chunks(1000).enumerate() {
        apply(&mut state, ROCKS, batch, (n + 1) * 1000);
    }
    drop(state);
    let mut state = open(root.path());
    let next = usize::try_from(state.changelog_next(ROCKS).unwrap().0).unwrap();
    assert!((1000..140_000).contains(&next), "{next}");
    assert_eq!(contents(&mut state, ROCKS), expected(&records[..next]));
    apply(&mut state, ROCKS, &records[next..], records.len());
    assert_eq!(contents(&mut state, ROCKS), expected(&records));
}

#[test]
fn a_restore_is_seen_by_keys_that_were_read_before() {
    let root = tempfile::tempdir().unwrap();
    let mut state = open(root.path());
    assert_eq!(state.read(ROCKS, b"key").unwrap(), None);
    apply(&mut state, ROCKS, &[(b"key".to_vec(), Some(b"value".to_vec()))], 1);
    assert_eq!(state.read(ROCKS, b"key").unwrap().as_deref(), Some(&b"value"[..]));
}
