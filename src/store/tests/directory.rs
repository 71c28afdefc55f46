//! The directory: who may open it, what it refuses, and what it sets aside.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::{Commit, StateDirectory, StoreError, TaskState};
use super::{ROCKS, TASK, TOPOLOGY, open, publish, resources, specs};
use crate::position::{Offset, Partition, TaskId};

fn filled(root: &std::path::Path) -> StateDirectory {
    let mut state = open(root);
    for n in 0..100u32 {
        state.write(ROCKS, &n.to_be_bytes(), Some(b"value"));
    }
    publish(&mut state);
    state.commit(&Commit { changelog_next: &[(ROCKS, Offset(100))], ..Commit::default() }).unwrap();
    state.close().unwrap();
    StateDirectory::open(root, "app").unwrap()
}

fn reopen(directory: &StateDirectory) -> Result<TaskState, StoreError> {
    directory.open_task(TASK, &specs(), TOPOLOGY, &resources())
}

#[test]
fn r24_a_second_opener_is_told_who_holds_the_lock() {
    let root = tempfile::tempdir().unwrap();
    let state = open(root.path());
    let directory = StateDirectory::open(root.path(), "app").unwrap();
    let error = reopen(&directory).unwrap_err();
    assert!(matches!(error, StoreError::Locked { holder: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(directory.quarantine(TASK, "test").is_err());
    drop(state);
    reopen(&directory).unwrap();
}

#[test]
fn state_is_readable_by_its_owner_only() {
    let root = tempfile::tempdir().unwrap();
    let directory = filled(root.path());
    for path in [directory.path().to_owned(), directory.path().join("0_3")] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn an_application_id_that_leaves_the_root_is_refused() {
    for id in ["", "..", "a/b", ".hidden"] {
        assert!(StateDirectory::open(std::path::Path::new("/nonexistent"), id).is_err(), "{id}");
    }
}

#[test]
fn r19_state_of_another_topology_is_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let directory = filled(root.path());
    let error = directory.open_task(TASK, &specs(), TOPOLOGY + 1, &resources()).unwrap_err();
    assert!(matches!(error, StoreError::Format { .. }) && error.is_unusable(), "{error}");
    let mut state = reopen(&directory).unwrap();
    assert!(state.read(ROCKS, &7u32.to_be_bytes()).unwrap().is_some());
}

#[test]
fn r19_quarantine_gives_an_empty_state_and_keeps_the_last_two() {
    let root = tempfile::tempdir().unwrap();
    for n in 1..=4 {
        let directory = filled(root.path());
        let target = directory.quarantine(TASK, "topic was recreated").unwrap().unwrap();
        assert!(target.ends_with(format!("quarantine/0_3-{n}")));
        assert_eq!(fs::read_to_string(target.join("QUARANTINE_REASON")).unwrap(), "topic was recreated");
        assert_eq!(reopen(&directory).unwrap().changelog_next(ROCKS), None);
    }
    let left = fs::read_dir(root.path().join("app/quarantine")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["0_3-3", "0_3-4"]);
}

#[test]
fn r19_damaged_files_are_reported_as_corrupt() {
    type Spoil = fn(&std::path::Path);
    let damage: [(&str, Spoil); 4] = [
        ("CURRENT", |path| fs::write(path, "nonsense").unwrap()),
        ("MANIFEST", |path| fs::write(path, "nonsense").unwrap()),
        ("MANIFEST", |path| fs::remove_file(path).unwrap()),
        (".sst", |path| fs::remove_file(path).unwrap()),
    ];
    for (name, spoil) in damage {
        let root = tempfile::tempdir().unwrap();
        let directory = filled(root.path());
        let files = fs::read_dir(directory.path().join("0_3")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.to_str().unwrap().contains(name)).for_each(|path| spoil(&path));
        let error = reopen(&directory).unwrap_err();
        assert_eq!(error.class(), "corrupt", "{name}: {error}");
        directory.quarantine(TASK, error.class()).unwrap();
        reopen(&directory).unwrap();
    }
}

#[test]
fn a_full_or_unwritable_disk_is_no_proof_of_corruption() {
    let root = tempfile::tempdir().unwrap();
    let directory = StateDirectory::open(root.path(), "app").unwrap();
    fs::write(directory.path().join("0_3"), "a file where the directory should be").unwrap();
    let error = reopen(&directory).unwrap_err();
    assert!(!error.is_unusable(), "{error}");
}

#[test]
fn tasks_with_state_are_listed() {
    let root = tempfile::tempdir().unwrap();
    let directory = filled(root.path());
    directory.quarantine(TASK, "test").unwrap();
    let other = TaskId { sub_topology: 1, partition: Partition(12) };
    directory.open_task(other, &specs(), TOPOLOGY, &resources()).unwrap();
    assert_eq!(directory.tasks().unwrap(), [other]);
}

#[test]
fn a_task_without_stores_has_no_database() {
    let root = tempfile::tempdir().unwrap();
    let directory = StateDirectory::open(root.path(), "app").unwrap();
    let mut state = directory.open_task(TASK, &[], TOPOLOGY, &resources()).unwrap();
    state.commit(&Commit::default()).unwrap();
    assert!(!directory.path().join("0_3").exists());
}
