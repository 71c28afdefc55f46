//! What the write-ahead log costs: the experiment of rule R-20.

use std::time::Instant;

use super::super::{Commit, Durability, StateDirectory, StoreOptions, StoreResources};
use super::{ROCKS, TASK, TOPOLOGY, publish, specs};
use crate::position::{Offset, Partition, TopicPartition};

/// As in the benchmark of the count: three million writes to 100,000 keys, 100 bytes each, a commit of each 2,000.
const COMMITS: i64 = 1_500;
const WRITES: u64 = 2_000;
const KEYS: u64 = 100_000;

/// CPU seconds of this process, and bytes that it has given to `write`.
fn used() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
    (ticks / 100.0, written.parse().unwrap())
}

/// Run with `--ignored --nocapture`, in a release build.
#[test]
#[ignore = "a measurement, not a test"]
fn r20_what_the_log_costs() {
    for durability in [Durability::Log, Durability::Flush].repeat(3) {
        let root = tempfile::tempdir().unwrap();
        let resources = StoreResources::new(StoreOptions { durability, ..StoreOptions::default() });
        let directory = StateDirectory::open(root.path(), "app").unwrap();
        let mut state = directory.open_task(TASK, &specs(), TOPOLOGY, &resources).unwrap();
        let input = TopicPartition { topic: "input".into(), partition: Partition(3) };
        let (started, before, mut dice) = (Instant::now(), used(), fastrand::Rng::with_seed(1));
        for number in 1..=COMMITS {
            for _ in 0..WRITES {
                let key = dice.u64(..KEYS).to_be_bytes();
                state.write(ROCKS, &key, Some(&[&number.to_be_bytes()[..], &[7; 92]].concat()));
            }
            publish(&mut state);
            let next = Offset(number * 2_000);
            let commit =
                Commit { changelog_next: &[(ROCKS, next)], positions: &[(input.clone(), next)], stream_time: None };
            state.commit(&commit).unwrap();
        }
        state.close().unwrap();
        let (seconds, after) = (started.elapsed().as_secs_f64(), used());
        let (cpu, mib) = (after.0 - before.0, (after.1 - before.1) / f64::from(1 << 20));
        println!("{durability:?}: {seconds:.2} s, {cpu:.2} CPU s, {mib:.0} MiB written");
    }
}
