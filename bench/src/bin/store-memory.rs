//! How much memory the stores of many tasks take: opened, restored from nothing, written to and read at random. Prints the
//! process's memory after each step, and its peak, in bytes.
//!
//! Its own binary, so that its memory is its own; `bench/tests/memory.rs` holds its figures against a bound.

use std::process::ExitCode;

use headrace::position::{Offset, Partition, TaskId};
use headrace::store::{
    Commit, StateDirectory, StoreIndex, StoreKind, StoreOptions, StoreResources, StoreSpec, TaskState,
};

type Failure = Box<dyn std::error::Error>;

const VALUE_BYTES: usize = 200;
/// Restores write so much at once, as the runtime's do by default.
const BATCH_BYTES: usize = 10 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store-memory: {error}");
            ExitCode::FAILURE
        }
    }
}

fn resident(which: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(which)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

fn step(name: &str, resources: &StoreResources) -> Result<(), Failure> {
    let (cache, memtables) = (resources.block_cache_bytes(), resources.write_buffer_bytes());
    println!("{name} {} cache {cache} memtables {memtables}", resident("VmRSS:")?);
    Ok(())
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, tasks, stores, keys, rounds, ..] = arguments.as_slice() else {
        return Err("usage: store-memory DIRECTORY TASKS STORES KEYS ROUNDS [READ_CACHE_BYTES]".into());
    };
    let (tasks, stores): (i32, usize) = (tasks.parse()?, stores.parse()?);
    let (keys, rounds): (u32, u32) = (keys.parse()?, rounds.parse()?);
    let mut options = StoreOptions::default();
    if let Some(bytes) = arguments.get(5) {
        options.read_cache_bytes = bytes.parse()?;
    }
    let resources = StoreResources::new(options);
    let spec = |n: usize| {
        let (index, name) = (StoreIndex(n), format!("values-{n}"));
        StoreSpec { index, name, kind: StoreKind::Rocks, changelog: true }
    };
    let specs: Vec<StoreSpec> = (0..stores).map(spec).collect();
    let directory = StateDirectory::open(directory.as_ref(), "store-memory")?;
    step("begun", &resources)?;
    let open = |partition| {
        let id = TaskId { sub_topology: 0, partition: Partition(partition) };
        directory.open_task(id, &specs, 1, &resources)
    };
    let mut states = (0..tasks).map(open).collect::<Result<Vec<TaskState>, _>>()?;
    step("opened", &resources)?;
    let mut memtables = 0;
    for state in &mut states {
        restore(state, stores, keys)?;
        memtables = memtables.max(resources.write_buffer_bytes());
    }
    step("restored", &resources)?;
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..rounds {
        let (mut value, offset) = ([0; VALUE_BYTES], Offset(i64::from(round) + 1));
        for state in &mut states {
            random.fill(&mut value);
            for _ in 0..4 {
                write(state, stores, &key(random.u32(..keys)), &value)?;
            }
            state.publish_changelog(|_| Ok::<(), Failure>(()))?;
            state.commit(&Commit { changelog_next: &[(StoreIndex(0), offset)], positions: &[], stream_time: None })?;
            memtables = memtables.max(resources.write_buffer_bytes());
        }
    }
    step("used", &resources)?;
    println!("memtables {memtables}");
    println!("peak {}", resident("VmHWM:")?);
    Ok(())
}

fn key(number: u32) -> [u8; 12] {
    let mut key = *b"key-........";
    key[4..].copy_from_slice(format!("{number:08}").as_bytes());
    key
}

fn restore(state: &mut TaskState, stores: usize, keys: u32) -> Result<(), Failure> {
    let (mut random, mut value) = (fastrand::Rng::with_seed(2), [0; VALUE_BYTES]);
    for store in (0..stores).map(StoreIndex) {
        state.begin_restore(store, u64::from(keys), BATCH_BYTES)?;
        for number in 0..keys {
            random.fill(&mut value);
            state.restore_record(store, &key(number), Some(&value))?;
            state.restored_to(store, Offset(i64::from(number) + 1))?;
        }
        state.end_restore(store)?;
    }
    Ok(())
}

fn write(state: &mut TaskState, stores: usize, key: &[u8], value: &[u8]) -> Result<(), Failure> {
    state.begin_record();
    for store in (0..stores).map(StoreIndex) {
        state.read_with(store, key, |_| ())?;
        state.write(store, key, Some(value));
    }
    state.commit_record();
    Ok(())
}
