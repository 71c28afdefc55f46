//! Events at a steady rate, from a thread of their own, whoever is there to process them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::contents::Contents;
use super::load::Writer;
use crate::Failure;

const TICK: Duration = Duration::from_millis(1);

/// How often each key has come, what was loaded included.
pub(crate) type Counts = Vec<u16>;

/// A feed under way.
pub(crate) struct Feed {
    fed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Counts, String>>,
}

/// What a store of these contents counts at first.
pub(crate) fn loaded(contents: Contents) -> Counts {
    (0..contents.keys).map(|number| Contents::count(number) as u16).collect()
}

impl Feed {
    /// Starts to write events of random keys, so many a second, and counts them.
    pub(crate) fn start(servers: &str, topic: String, rate: u64, counts: Counts, seed: u64) -> Result<Self, Failure> {
        let mut writer = Writer::start(servers)?;
        let (fed, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (told, asked) = (Arc::clone(&fed), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut counts = counts;
            let result = feed(&mut writer, &topic, rate, &mut counts, seed, (&told, &asked));
            result.and_then(|()| writer.flush()).map_err(|error| error.to_string()).map(|()| counts)
        });
        Ok(Feed { fed, stop, thread })
    }

    /// Events so far.
    pub(crate) fn fed(&self) -> u64 {
        self.fed.load(Ordering::Acquire)
    }

    /// Ends it; gives the number of events, and how often each key has come.
    pub(crate) fn stop(self) -> Result<(u64, Counts), Failure> {
        self.stop.store(true, Ordering::Release);
        let counts = self.thread.join().map_err(|_| "the feed panicked")??;
        Ok((self.fed.load(Ordering::Acquire), counts))
    }
}

fn feed(
    writer: &mut Writer,
    topic: &str,
    rate: u64,
    counts: &mut Counts,
    seed: u64,
    (fed, stop): (&AtomicU64, &AtomicBool),
) -> Result<(), Failure> {
    let (mut random, start) = (fastrand::Rng::with_seed(seed), Instant::now());
    let (mut key, mut value, mut sent) = (String::new(), String::new(), 0);
    while !stop.load(Ordering::Acquire) {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due {
            let number = random.u32(..counts.len() as u32);
            counts[number as usize] += 1;
            Contents::key(number, &mut key);
            Contents::value(number, u64::from(counts[number as usize]), &mut value);
            writer.write(topic, key.as_bytes(), Some(value.as_bytes()))?;
            sent += 1;
        }
        fed.store(sent, Ordering::Release);
        writer.serve()?;
        std::thread::sleep(TICK);
    }
    Ok(())
}
