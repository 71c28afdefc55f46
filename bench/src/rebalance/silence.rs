//! How long a committed reader has heard nothing of a partition.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headrace::wire::fetch::{Event, Fetcher};

use crate::Failure;
use crate::counting::{PARTITIONS, committed_reader};

const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(120);

struct Shared {
    /// Of each partition, when something came.
    heard: Mutex<Vec<Vec<Instant>>>,
    seen: AtomicU64,
    stop: AtomicBool,
    failed: Mutex<Option<String>>,
}

/// A reader on a thread of its own.
pub(super) struct Silence {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Silence {
    /// Begins to listen to a topic.
    pub(super) fn watch(servers: &str, topic: &str) -> Result<Self, Failure> {
        let reader = committed_reader(servers, topic)?;
        let shared = Arc::new(Shared {
            heard: Mutex::new(vec![Vec::new(); PARTITIONS as usize]),
            seen: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            failed: Mutex::new(None),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            if let Err(error) = listen(&reader, &own) {
                *locked(&own.failed) = Some(error.to_string());
            }
        });
        Ok(Silence { shared, thread: Some(thread) })
    }

    /// The longest silence of each partition since then.
    pub(super) fn longest_since(&self, begun: Instant) -> Result<Vec<Duration>, Failure> {
        if let Some(error) = locked(&self.shared.failed).clone() {
            return Err(error.into());
        }
        let (heard, now) = (locked(&self.shared.heard), Instant::now());
        let longest = |times: &Vec<Instant>| {
            let first = times.iter().rposition(|time| *time <= begun).unwrap_or(0);
            let since = times.get(first).copied().unwrap_or(begun);
            let rest = times.iter().skip(first + 1).copied().chain([now]);
            let gaps = rest.scan(since, |last, time| Some(time - std::mem::replace(last, time)));
            gaps.max().unwrap_or_default()
        };
        Ok(heard.iter().map(longest).collect())
    }

    /// Waits until so many outputs have come.
    pub(super) fn wait(&self, outputs: u64) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.shared.seen.load(Ordering::Acquire) {
                seen if seen >= outputs => return Ok(()),
                seen if Instant::now() > deadline => return Err(format!("{seen} outputs of {outputs}").into()),
                _ => std::thread::sleep(LOOK),
            }
        }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its failure was told, or nobody asked.
            _ = thread.join();
        }
    }
}

fn listen(reader: &Fetcher, shared: &Shared) -> Result<(), Failure> {
    while !shared.stop.load(Ordering::Acquire) {
        match reader.poll(LOOK) {
            Event::Records(mut portion) => {
                let partition = usize::try_from(portion.partition().partition.0)?;
                let mut records = 0;
                while let Some(record) = portion.next_record() {
                    record?;
                    records += 1;
                }
                if let Some(times) = locked(&shared.heard).get_mut(partition).filter(|_| records > 0) {
                    times.push(Instant::now());
                }
                shared.seen.fetch_add(records, Ordering::Release);
            }
            Event::End { .. } | Event::Idle => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(())
}
