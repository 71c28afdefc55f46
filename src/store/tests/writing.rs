//! A committed transaction on its way into the database: seen by reads, waited for, and missed when it does not arrive.

use super::super::shares::Shares;
use super::super::writer::{HeldJobs, Writer};
use super::super::{Commit, StateDirectory, StoreError, TaskState};
use super::{ROCKS, TASK, TOPOLOGY, contents, publish, resources, specs};
use crate::position::Offset;

/// Without a read cache, so that a read has to look where the write is.
fn open_held(root: &std::path::Path) -> (TaskState, HeldJobs) {
    let mut resources = resources();
    resources.shares = Shares::new(0);
    let (writer, jobs) = Writer::held();
    resources.writer = writer;
    let directory = StateDirectory::open(root, "app").unwrap();
    (directory.open_task(TASK, &specs(), TOPOLOGY, &resources).unwrap(), jobs)
}

fn commit(state: &mut TaskState, value: &[u8], next: i64) -> Result<(), StoreError> {
    state.write(ROCKS, b"key", Some(value));
    publish(state);
    state.commit(&Commit { changelog_next: &[(ROCKS, Offset(next))], ..Commit::default() })
}

fn on_disk(state: &TaskState) -> Option<Vec<u8>> {
    let value = state.rocks.as_ref().unwrap().read("on-disk", b"key").unwrap();
    value.map(|value| value.to_vec())
}

#[test]
fn r17_what_is_committed_is_read_before_it_is_in_the_database() {
    let root = tempfile::tempdir().unwrap();
    let (mut state, jobs) = open_held(root.path());
    commit(&mut state, b"1", 1).unwrap();
    assert_eq!(on_disk(&state), None);
    assert_eq!(state.read(ROCKS, b"key").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(state.changelog_next(ROCKS), Some(Offset(1)));
    state.drop_staged();
    assert_eq!(state.read(ROCKS, b"key").unwrap().as_deref(), Some(&b"1"[..]), "an abort takes back no commit");

    jobs.write_next();
    state.check().unwrap();
    assert_eq!(on_disk(&state).as_deref(), Some(&b"1"[..]));
    assert_eq!(contents(&mut state, ROCKS), [(b"key".to_vec(), b"1".to_vec())]);
    assert_eq!(state.staged_bytes(), 0);
}

#[test]
fn r18_a_write_that_never_arrives_is_told_and_replayed_from_where_the_database_is() {
    let root = tempfile::tempdir().unwrap();
    let (mut state, jobs) = open_held(root.path());
    commit(&mut state, b"1", 1).unwrap();
    jobs.write_next();
    commit(&mut state, b"2", 2).unwrap();
    jobs.lose_next();
    let error = commit(&mut state, b"3", 3).unwrap_err();
    assert!(error.to_string().contains("the writer thread has ended") && !error.is_unusable(), "{error}");
    drop(state);
    let (mut state, _jobs) = open_held(root.path());
    assert_eq!(state.changelog_next(ROCKS), Some(Offset(1)), "data and position are of one commit");
    assert_eq!(state.read(ROCKS, b"key").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn r17_a_task_that_is_dropped_waits_for_its_write() {
    let root = tempfile::tempdir().unwrap();
    let directory = StateDirectory::open(root.path(), "app").unwrap();
    for next in 1..100 {
        let mut state = directory.open_task(TASK, &specs(), TOPOLOGY, &resources()).unwrap();
        assert_eq!(state.changelog_next(ROCKS), (next > 1).then_some(Offset(next - 1)));
        commit(&mut state, b"value", next).unwrap();
    }
}
