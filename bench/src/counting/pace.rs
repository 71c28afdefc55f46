//! A load that goes on evenly, whatever happens, until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::KEYS;
use super::latency::{Load, TICK, now_ms};
use crate::Failure;

/// A producer on a thread of its own.
pub(crate) struct Pace {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<u32>, String>>,
}

impl Pace {
    /// Begins to send so many records per second.
    pub(crate) fn start(servers: &str, topic: &str, records_per_second: u64) -> Result<Self, Failure> {
        let (load, stop) = (Load::new(servers, topic)?, Arc::new(AtomicBool::new(false)));
        let own = Arc::clone(&stop);
        let send = move || send(load, records_per_second as f64, &own).map_err(|error| error.to_string());
        Ok(Pace { stop, thread: std::thread::spawn(send) })
    }

    /// Whether it still goes on; it ends by itself when it can't produce.
    pub(crate) fn goes_on(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends it; gives the number of records of each key.
    pub(crate) fn stop(self) -> Result<Vec<u32>, Failure> {
        self.stop.store(true, Ordering::Release);
        Ok(self.thread.join().map_err(|_| "the load panicked")??)
    }
}

fn send(mut load: Load, rate: f64, stop: &AtomicBool) -> Result<Vec<u32>, Failure> {
    let mut expected = vec![0; KEYS as usize];
    // The topic may be too new for all brokers to know; the pace begins when it is known.
    expected[load.send(now_ms())? as usize] += 1;
    load.flush()?;
    let (mut sent, start) = (0_u64, Instant::now());
    while !stop.load(Ordering::Acquire) {
        let due = (start.elapsed().as_secs_f64() * rate) as u64;
        let timestamp = now_ms();
        while sent < due {
            expected[load.send(timestamp)? as usize] += 1;
            sent += 1;
        }
        load.serve(Duration::ZERO)?;
        std::thread::sleep(TICK);
    }
    load.flush()?;
    Ok(expected)
}
