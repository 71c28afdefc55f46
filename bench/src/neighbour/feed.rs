//! Who submits: both sides' tasks, evenly, from a thread of its own; what is due is not put off because something is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use headrace::codec::registry::Registry;
use headrace::codec::{Avro, AvroSchema as _, Binding, Codec as _, Schemas, avro};
use task_queue::tasks::{Priority, Task};

use crate::Failure;
use crate::spans::now_us;
use crate::state::Writer;

const TICK: Duration = Duration::from_millis(1);
const SECOND_US: u64 = 1_000_000;
/// Of a schema registry.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(10);

/// Whose a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Victim,
    Neighbour,
}

/// Whose a task is, and which: by its id.
pub(super) fn named(id: &str) -> Option<(Side, u64)> {
    let (side, number) = id.split_once('-')?;
    let side = match side {
        "victim" => Side::Victim,
        "neighbour" => Side::Neighbour,
        _ => return None,
    };
    Some((side, number.parse().ok()?))
}

/// What one side submits.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) side: Side,
    pub(super) queue: &'static str,
    pub(super) priority: Priority,
    /// What a task takes.
    pub(super) millis: u64,
    /// A second.
    pub(super) rate: u64,
}

/// Submits to one topic.
pub(super) struct Submitter {
    writer: Writer,
    topic: String,
    tasks: Avro<Task>,
}

impl Submitter {
    /// Registers the schema.
    pub(super) fn start(servers: &str, registry: &str, topic: &str) -> Result<Self, Failure> {
        let registry = Registry::new(registry, None, REGISTRY_TIMEOUT)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (schemas, tasks) = (Arc::<Schemas>::default(), avro());
        let id = runtime.block_on(registry.register(&format!("{topic}-value"), Task::SCHEMA))?;
        schemas.insert(id, Task::SCHEMA)?;
        tasks.bind(&Binding { schemas, writer: Some(id) });
        Ok(Submitter { writer: Writer::start(servers)?, topic: topic.to_owned(), tasks })
    }

    fn submit(&mut self, kind: &Kind, number: u64, not_before: Option<i64>) -> Result<(), Failure> {
        let side = if kind.side == Side::Victim { "victim" } else { "neighbour" };
        let (id, queue) = (format!("{side}-{number}"), kind.queue.to_owned());
        let task = Task {
            id: id.clone(),
            queue,
            kind: kind.millis.to_string(),
            priority: kind.priority,
            payload: vec![0; 100],
            not_before,
            ..Task::default()
        };
        let mut value = Vec::new();
        self.tasks.encode(&task, &mut value)?;
        self.writer.write(&self.topic, id.as_bytes(), Some(&value))
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// The neighbour's, to be submitted at once.
    extra: AtomicU64,
    /// When those may begin, in milliseconds since the epoch.
    not_before: AtomicI64,
    neighbours: AtomicU64,
}

/// A load under way.
pub(super) struct Feed {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), String>>,
    /// Of the victim's tasks.
    pub(super) pace: Pace,
}

/// When each one is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The first, in microseconds since the epoch.
    begin: i64,
    rate: u64,
}

impl Pace {
    /// When this one is due, in microseconds since the epoch.
    pub(super) fn due(&self, number: u64) -> i64 {
        self.begin + (number * SECOND_US / self.rate).cast_signed()
    }

    /// The first one that is due at this time or later.
    pub(super) fn from(&self, at: i64) -> u64 {
        ((at - self.begin).max(0).cast_unsigned() * self.rate).div_ceil(SECOND_US)
    }
}

impl Feed {
    /// Begins; the neighbour, if there is one, submits so many at once first.
    pub(super) fn start(
        mut submitter: Submitter,
        victim: Kind,
        neighbour: Option<(Kind, u64)>,
    ) -> Result<Self, Failure> {
        let (shared, pace) = (Arc::<Shared>::default(), Pace { begin: now_us(), rate: victim.rate });
        if let Some((_, backlog)) = &neighbour {
            shared.extra.store(*backlog, Ordering::Relaxed);
        }
        let own = Arc::clone(&shared);
        let feed = move || {
            let fed = feed(&mut submitter, &victim, neighbour.map(|(kind, _)| kind), pace.begin, &own);
            fed.map_err(|error| error.to_string())
        };
        Ok(Feed { shared, thread: std::thread::spawn(feed), pace })
    }

    /// So many of the neighbour's at once, besides; they may begin at this time, in milliseconds since the epoch.
    pub(super) fn burst(&self, tasks: u64, not_before: i64) {
        self.shared.not_before.store(not_before, Ordering::Relaxed);
        self.shared.extra.fetch_add(tasks, Ordering::Release);
    }

    /// The neighbour's so far.
    pub(super) fn neighbours(&self) -> u64 {
        self.shared.neighbours.load(Ordering::Relaxed)
    }

    pub(super) fn stop(self) -> Result<(), Failure> {
        self.shared.stop.store(true, Ordering::Release);
        Ok(self.thread.join().map_err(|_| "the load panicked")??)
    }
}

fn feed(
    submitter: &mut Submitter,
    victim: &Kind,
    neighbour: Option<Kind>,
    begin: i64,
    shared: &Shared,
) -> Result<(), Failure> {
    let (mut victims, mut evenly, mut neighbours) = (0, 0, 0);
    while !shared.stop.load(Ordering::Acquire) {
        let elapsed = (now_us() - begin).max(0).cast_unsigned();
        // The number k is due at k / rate.
        while victims * SECOND_US <= elapsed * victim.rate {
            submitter.submit(victim, victims, None)?;
            victims += 1;
        }
        if let Some(kind) = &neighbour {
            let due = (elapsed * kind.rate / SECOND_US).saturating_sub(evenly);
            evenly += due;
            let extra = shared.extra.swap(0, Ordering::Acquire);
            let not_before = Some(shared.not_before.load(Ordering::Relaxed));
            for place in 0..due + extra {
                submitter.submit(kind, neighbours, not_before.filter(|_| place >= due))?;
                neighbours += 1;
            }
            shared.neighbours.store(neighbours, Ordering::Relaxed);
        }
        submitter.writer.serve()?;
        std::thread::sleep(TICK);
    }
    submitter.writer.flush()
}
