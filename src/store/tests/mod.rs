//! Tests of the state stores, by what they hold on to: the model, the crash, the directory, the restore, the handle.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod crash;
mod directory;
mod durability;
mod handle;
mod lines;
mod model;
mod restore;
mod staging;
mod table;
mod timers;
mod view;
mod writing;

use std::path::Path;

use super::writer::{HeldJobs, Writer};
use super::{Bounds, StateDirectory, StoreIndex, StoreKind, StoreOptions, StoreResources, StoreSpec, TaskState};
use crate::position::{Partition, TaskId};

const ROCKS: StoreIndex = StoreIndex(0);
const MEMORY: StoreIndex = StoreIndex(2);
const TASK: TaskId = TaskId { sub_topology: 0, partition: Partition(3) };
const TOPOLOGY: u64 = 7;

/// Two stores with changelogs; number 1 belongs to another sub-topology.
fn specs() -> Vec<StoreSpec> {
    let spec = |index, name: &str, kind| StoreSpec { index, name: name.to_owned(), kind, changelog: true };
    vec![spec(ROCKS, "on-disk", StoreKind::Rocks), spec(MEMORY, "in-memory", StoreKind::Memory)]
}

/// Small bounds, so that the read cache turns over and memtables are flushed within a test.
fn resources() -> StoreResources {
    StoreResources::new(StoreOptions {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        memtable_bytes: 256 << 10,
        read_cache_bytes: 4 << 10,
        ..StoreOptions::default()
    })
}

fn open(root: &Path) -> TaskState {
    StateDirectory::open(root, "app").unwrap().open_task(TASK, &specs(), TOPOLOGY, &resources()).unwrap()
}

/// With a writer that writes when the test says so.
fn open_held(root: &Path) -> (TaskState, HeldJobs) {
    let mut resources = resources();
    let (writer, jobs) = Writer::held();
    resources.writer = writer;
    let directory = StateDirectory::open(root, "app").unwrap();
    (directory.open_task(TASK, &specs(), TOPOLOGY, &resources).unwrap(), jobs)
}

/// The whole of a store, staged writes included.
fn contents(state: &mut TaskState, store: StoreIndex) -> Vec<(Vec<u8>, Vec<u8>)> {
    collect(state, store, Bounds::ALL)
}

fn collect(state: &mut TaskState, store: StoreIndex, bounds: Bounds<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scan = state.range(store, bounds).unwrap();
    let mut found = Vec::new();
    while let Some((key, value)) = scan.next().unwrap() {
        found.push((key.to_vec(), value.to_vec()));
    }
    found
}

/// A changelog record.
type Published = (StoreIndex, Vec<u8>, Option<Vec<u8>>);

/// Publishes as the runtime does before it seals or commits: everything goes to the changelog.
fn publish(state: &mut TaskState) -> Vec<Published> {
    let mut published = Vec::new();
    let done: Result<(), std::convert::Infallible> = state.publish_changelog(|write| {
        published.push((write.store, write.key.to_vec(), write.value.map(<[u8]>::to_vec)));
        Ok(())
    });
    assert!(done.is_ok());
    published
}
