//! kill −9 while commits are written, in a process of its own: this test binary, started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::{Commit, StateDirectory, StoreError};
use super::{ROCKS, TASK, TOPOLOGY, contents, open, publish, resources, specs};
use crate::position::{Offset, Partition, TopicPartition};

/// Set for the child: the state directory's root.
const ROOT: &str = "HEADRACE_TEST_CRASH_ROOT";
/// Keys per commit; each commit writes its number under all of them.
const KEYS: u32 = 50;
const KILLS: usize = 5;

fn input() -> TopicPartition {
    TopicPartition { topic: "input".into(), partition: Partition(3) }
}

/// The child's part: commits as fast as it can until it is killed. Does nothing in an ordinary run of the tests.
#[test]
fn child_commits_until_it_is_killed() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let mut state = open(Path::new(&root));
    let mut number = state.position(&input()).map_or(0, |position| position.0);
    loop {
        number += 1;
        for key in 0..KEYS {
            state.write(ROCKS, &key.to_be_bytes(), Some(&[&number.to_be_bytes()[..], &[0; 500]].concat()));
        }
        publish(&mut state);
        let next = Offset(number);
        let commit = Commit { changelog_next: &[(ROCKS, next)], positions: &[(input(), next)], stream_time: None };
        state.commit(&commit).unwrap();
        println!("committed {number}");
    }
}

fn start_child(root: &Path) -> Child {
    let name = format!("{}::child_commits_until_it_is_killed", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--nocapture"]).env(ROOT, root).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// The numbers that the child says it has committed; ends when it is dead.
fn committed(child: &mut Child) -> impl Iterator<Item = i64> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.rsplit_once("committed ")?.1.parse().ok())
}

#[test]
fn r20_kill_loses_no_commit_and_meta_moves_with_data() {
    let root = tempfile::tempdir().unwrap();
    for round in 0..KILLS {
        let mut child = start_child(root.path());
        let mut numbers = committed(&mut child);
        let first = numbers.next().unwrap();
        let target = first + 100 + i64::try_from(round).unwrap() * 37;
        let mut last = numbers.by_ref().find(|number| *number >= target).unwrap();

        let error = StateDirectory::open(root.path(), "app").unwrap();
        let error = error.open_task(TASK, &specs(), TOPOLOGY, &resources()).unwrap_err();
        assert!(matches!(error, StoreError::Locked { holder: Some(pid), .. } if pid == child.id()), "{error}");

        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        last = numbers.last().unwrap_or(last);

        // The lock died with its owner, so this opens.
        let mut state = open(root.path());
        let position = state.position(&input()).unwrap();
        assert!(position.0 >= last, "commit {last} was acknowledged, {position} is on disk");
        assert_eq!(state.changelog_next(ROCKS), Some(position));
        let contents = contents(&mut state, ROCKS);
        assert_eq!(contents.len(), KEYS as usize);
        assert!(contents.iter().all(|(_, value)| value[..8] == position.0.to_be_bytes()), "torn at {position}");
    }
}
