//! kill −9 while commits are written, in a process of its own: this test binary, started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::{Commit, Durability, StateDirectory, StoreError, StoreOptions, StoreResources, TaskState};
use super::{ROCKS, TASK, TOPOLOGY, contents, publish, resources, specs};
use crate::position::{Offset, Partition, TopicPartition};

/// Set for the child: the state directory's root.
const ROOT: &str = "HEADRACE_TEST_CRASH_ROOT";
/// Set for the child to go without a log.
const NO_LOG: &str = "HEADRACE_TEST_CRASH_NO_LOG";
/// Keys per commit; each commit writes its number under all of them.
const KEYS: u32 = 50;
const KILLS: i64 = 5;

fn open(root: &Path, durability: Durability) -> TaskState {
    let options = StoreOptions { durability, ..resources().options };
    let directory = StateDirectory::open(root, "app").unwrap();
    directory.open_task(TASK, &specs(), TOPOLOGY, &StoreResources::new(options)).unwrap()
}

fn input() -> TopicPartition {
    TopicPartition { topic: "input".into(), partition: Partition(3) }
}

/// The child's part: commits as fast as it can until it is killed. Does nothing in an ordinary run of the tests.
#[test]
fn child_commits_until_it_is_killed() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let durability = std::env::var(NO_LOG).map_or(Durability::Log, |_| Durability::Flush);
    let mut state = open(Path::new(&root), durability);
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

fn start_child(root: &Path, durability: Durability) -> Child {
    let name = format!("{}::child_commits_until_it_is_killed", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--nocapture"]).env(ROOT, root).stdout(Stdio::piped()).stderr(Stdio::null());
    if durability == Durability::Flush {
        command.env(NO_LOG, "1");
    }
    command.spawn().unwrap()
}

/// The numbers that the child says it has committed; ends when it is dead.
fn committed(child: &mut Child) -> impl Iterator<Item = i64> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.rsplit_once("committed ")?.1.parse().ok())
}

/// Lets a child commit for a while, kills it, and says which commit it had reported last and which is on disk; whatever
/// that is, data and positions must be of one commit.
fn kill_while_committing(root: &Path, durability: Durability, commits: i64) -> (i64, i64) {
    let mut child = start_child(root, durability);
    let mut numbers = committed(&mut child);
    let first = numbers.next().unwrap();
    let mut last = numbers.by_ref().find(|number| *number >= first + commits).unwrap();

    let directory = StateDirectory::open(root, "app").unwrap();
    let error = directory.open_task(TASK, &specs(), TOPOLOGY, &resources()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { holder: Some(pid), .. } if pid == child.id()), "{error}");

    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    last = numbers.last().unwrap_or(last);

    // The lock died with its owner, so this opens.
    let mut state = open(root, durability);
    let position = state.position(&input()).unwrap();
    assert_eq!(state.changelog_next(ROCKS), Some(position));
    let contents = contents(&mut state, ROCKS);
    assert_eq!(contents.len(), KEYS as usize);
    assert!(contents.iter().all(|(_, value)| value[..8] == position.0.to_be_bytes()), "torn at {position}");
    (last, position.0)
}

#[test]
fn r20_kill_loses_no_more_than_the_commit_under_way_and_meta_moves_with_data() {
    let root = tempfile::tempdir().unwrap();
    for round in 0..KILLS {
        let (last, on_disk) = kill_while_committing(root.path(), Durability::Log, 100 + round * 37);
        // The writer may not have come to the last one yet; that one is replayed from the changelog.
        assert!(on_disk >= last - 1, "commit {last} was acknowledged, {on_disk} is on disk");
    }
}

/// Also the control arm of the test above: without a log, more than the commit under way must be seen to get lost.
#[test]
fn r20_without_a_log_kill_loses_the_last_commits_and_never_half_of_one() {
    let root = tempfile::tempdir().unwrap();
    let rounds = (0..KILLS).map(|round| kill_while_committing(root.path(), Durability::Flush, 100 + round * 37));
    let lost = rounds.map(|(last, on_disk)| last - on_disk).max().unwrap();
    assert!(lost > 1, "no more was lost than the commit under way, so the kill proves nothing");
}
