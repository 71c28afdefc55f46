//! The path of a record through the count topology, without a broker: bytes ─▶ task ─▶ staged writes ─▶ changelog and
//! output. For callgrind, which counts the instructions, and for a count of allocations.
//!
//! `count-path RECORDS [careless]` prints the allocations of the path. What is counted in the state is kept in memory:
//! what RocksDB takes is not this code's, and off the path.

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use count_topology::{Careless, Count, Events, Topics, with};
use headrace::position::{Offset, Partition, TaskId};
use headrace::record::{Headers, RawRecord, Timestamp};
use headrace::store::{Commit, StoreSpec, TaskState};
use headrace::task::{Limits, Task};
use headrace::topology::Topology;

type Failure = Box<dyn std::error::Error>;

/// Few enough to be hot: nine of ten reads find their key staged.
const KEYS: u32 = 1_000;
/// What 100 ms bring at 100,000 records a second.
const RECORDS_PER_COMMIT: usize = 10_000;

/// Counts allocations; everything else is the system's.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: each call is handed on unchanged to the system's allocator, whose promises are therefore kept; the counter
// does not allocate.
#[allow(unsafe_code)] // an allocator is unsafe by its nature
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(at, layout, bytes) }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(allocations) => {
            println!("{allocations}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("count-path: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u64, Failure> {
    let mut arguments = std::env::args().skip(1);
    let records: usize = arguments.next().ok_or("usage: count-path RECORDS [careless]")?.parse()?;
    let topics = Topics { events: "events".into(), counts: "counts".into() };
    let topology = match arguments.next().as_deref() {
        Some("careless") => with(&topics, |counts| Careless { counts })?,
        _ => with(&topics, |counts| Count { counts })?,
    };
    let mut path = Path::new(&topology);
    // Made beforehand and always as many: what making them takes is the same in each run.
    let mut events = Events::new(KEYS);
    let mut made = Vec::with_capacity(RECORDS_PER_COMMIT);
    for _ in 0..RECORDS_PER_COMMIT {
        events.advance();
        made.push((events.key().to_vec(), events.value().to_vec()));
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for (number, (key, value)) in (0..records).zip(made.iter().cycle()) {
        path.record(i64::try_from(number)?, key, value)?;
        if number % RECORDS_PER_COMMIT == RECORDS_PER_COMMIT - 1 {
            path.commit()?;
        }
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    // Each record gives one output and one changelog record; else something else was measured.
    let (outputs, changes) = (path.outputs, path.changes);
    if (outputs, changes) != (records, records) {
        return Err(format!("{outputs} outputs and {changes} changes of {records} records").into());
    }
    Ok(allocations)
}

/// What a stream thread does with a record, up to where the producer takes over.
struct Path {
    task: Task,
    headers: Headers,
    outputs: usize,
    changes: usize,
    bytes: usize,
}

impl Path {
    fn new(topology: &Topology) -> Self {
        let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
        let id = TaskId { sub_topology: 0, partition: Partition(0) };
        let limits = Limits { max_output_bytes: 1 << 20 };
        let task = Task::new(topology, "count-path", id, TaskState::in_memory(&specs), limits);
        Path { task, headers: Headers::new(), outputs: 0, changes: 0, bytes: 0 }
    }

    fn record(&mut self, offset: i64, key: &[u8], value: &[u8]) -> Result<(), Failure> {
        let raw = RawRecord {
            topic: "events",
            partition: Partition(0),
            offset: Offset(offset),
            timestamp: Timestamp(offset),
            key: Some(key),
            value: Some(value),
            headers: &self.headers,
        };
        self.task.process(&raw, Timestamp(offset))?;
        let (changes, bytes) = (&mut self.changes, &mut self.bytes);
        self.task.state().publish_changelog(|write| {
            *changes += 1;
            *bytes += write.key.len() + write.value.map_or(0, <[u8]>::len);
            Ok::<(), Failure>(())
        })?;
        let effects = self.task.effects();
        for output in effects.outputs() {
            self.outputs += 1;
            self.bytes += effects.size(output);
        }
        effects.clear();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let positions = self.task.positions();
        let stream_time = Some(self.task.stream_time());
        self.task.state().commit(&Commit { changelog_next: &[], positions: &positions, stream_time })?;
        self.task.committed(&positions);
        Ok(())
    }
}
