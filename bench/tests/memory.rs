//! What the stores of 64 tasks with four stores each take, as a process sees it, beside what the budget reckons with.
//!
//! They are opened, restored from nothing, then written to and read at random: memtables, caches and RocksDB's own
//! structures are all at work. The bench `memory` does the same to the whole runtime, with rebalances.

use std::collections::BTreeMap;
use std::process::Command;

use headrace::config::PROCESS_BYTES;
use headrace::runtime::{STORE_BYTES, TASK_BYTES};
use headrace::store::StoreOptions;

const TASKS: u64 = 64;
const STORES: u64 = 4;
/// Of each store: what is restored is three times the block cache.
const KEYS: u64 = 3_500;
/// Commits of each task, of four keys of each store.
const ROUNDS: u64 = 200;
/// What a restore collects and RocksDB copies on the way.
const RESTORE_BYTES: u64 = 20 << 20;

/// The figures that the program prints, by their names.
fn run(keys: u64, rounds: u64, read_cache_bytes: u64) -> BTreeMap<String, u64> {
    let directory = tempfile::tempdir().expect("tempdir");
    let numbers = [TASKS, STORES, keys, rounds, read_cache_bytes].map(|number| number.to_string());
    let output = Command::new(env!("CARGO_BIN_EXE_store-memory"))
        .arg(directory.path())
        .args(numbers)
        // As the command line sets its allocator.
        .envs([("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "4194304"), ("MALLOC_TRIM_THRESHOLD_", "8388608")])
        .output()
        .expect("store-memory");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    let figure = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(figure).collect()
}

fn bound(options: &StoreOptions) -> u64 {
    let parts = options.block_cache_bytes + options.write_buffer_bytes + options.read_cache_bytes * 3 / 2;
    parts as u64 + TASKS * (TASK_BYTES + STORES * STORE_BYTES) + RESTORE_BYTES + PROCESS_BYTES
}

#[test]
fn r25_the_stores_of_many_tasks_stay_within_what_the_budget_reckons_with() {
    let options = StoreOptions::default();
    let figures = run(KEYS, ROUNDS, options.read_cache_bytes as u64);
    assert!(figures["memtables"] <= options.write_buffer_bytes as u64, "{figures:?}");
    assert!(figures["peak"] <= bound(&options), "{figures:?}, and {} were due", bound(&options));
}

/// The control: 8 MiB for each task, whatever their number, as it once was.
#[test]
fn a_cache_of_a_fixed_size_for_each_task_goes_beyond_it() {
    let figures = run(KEYS, 4 * ROUNDS, TASKS * (8 << 20));
    assert!(figures["peak"] > bound(&StoreOptions::default()), "{figures:?}");
}

/// What an open task takes before it holds anything is what the start reckons with.
#[test]
fn r25_an_open_task_takes_what_the_start_reckons_with() {
    let figures = run(1, 1, 32 << 20);
    let each = (figures["used"] - figures["begun"]) / TASKS;
    assert!(each <= TASK_BYTES + STORES * STORE_BYTES, "{each} bytes");
    assert!(each > (TASK_BYTES + STORES * STORE_BYTES) / 4, "{each} bytes: the start reckons with far too much");
}
