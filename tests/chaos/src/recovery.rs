//! How long a fault's victims are away: from the fault until records that came *after* it are committed.
//!
//! Records that came before it may have been in a transaction that was already decided; one that came after it can only
//! have been processed by whoever took over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;
use crate::pause::Stop;
use crate::positions::{Offsets, Positions};

/// A recovery that takes longer has not happened.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks; what the measurement is exact to.
const LOOK: Duration = Duration::from_millis(5);

/// How long one fault's victims were away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Until the first new record of any of its partitions was committed.
    pub first: Duration,
    /// Until each of its partitions had one.
    pub all: Duration,
}

/// A fault whose end is waited for.
#[derive(Debug, Clone)]
pub struct Outage {
    since: Instant,
    /// What has to be passed: stage, partition, end of the input just after the fault.
    waiting: Vec<(usize, usize, i64)>,
}

impl Outage {
    /// One of these partitions of each stage, which began at `since`; partitions that never had a record are left out.
    ///
    /// # Errors
    /// The broker does not say for too long where the input ends.
    pub fn new(positions: &Positions, owned: &[Vec<i32>; 2], since: Instant) -> Result<Outage> {
        let ends: Offsets =
            testbed::wait::until("the input's end", PATIENCE, || positions.ends().map_err(|error| error.to_string()))?;
        let mut waiting = Vec::new();
        for (stage, owned) in owned.iter().enumerate() {
            let partitions = owned.iter().filter_map(|partition| usize::try_from(*partition).ok());
            waiting.extend(partitions.map(|at| (stage, at, ends[stage][at])).filter(|(_, _, end)| *end > 0));
        }
        Ok(Outage { since, waiting })
    }

    /// Waits for its end; `None` if it had no partition. `meanwhile` is called before each look.
    ///
    /// # Errors
    /// It has not ended in time; or what `meanwhile` says.
    pub fn wait(
        mut self,
        positions: &Positions,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<Option<Recovery>> {
        let (mut first, pause) = (None, Stop::default());
        let all = self.waiting.len();
        while !self.waiting.is_empty() {
            if self.since.elapsed() > PATIENCE {
                let (waiting, committed, ends) = (self.waiting, positions.committed()?, positions.ends()?);
                return Err(format!(
                    "no new record is committed of (stage, partition, end then) {waiting:?}; committed {committed:?} of {ends:?}"
                )
                .into());
            }
            meanwhile()?;
            pause.pause(LOOK);
            // A broker that is away is asked again.
            let Ok(committed) = positions.committed() else { continue };
            self.waiting.retain(|&(stage, partition, end)| committed[stage][partition] <= end);
            if self.waiting.len() < all {
                first.get_or_insert_with(|| self.since.elapsed());
            }
        }
        Ok(first.map(|first| Recovery { first, all: self.since.elapsed() }))
    }
}

/// Percentiles, in milliseconds; the nearest that were measured.
pub fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |share: f64| {
        let place = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len());
        times[place - 1].as_secs_f64() * 1000.0
    };
    if times.is_empty() {
        return Value::Null;
    }
    let rounded = |millis: f64| (millis * 10.0).round() / 10.0;
    json!({
        "count": times.len(),
        "p50_ms": rounded(at(0.5)),
        "p99_ms": rounded(at(0.99)),
        "max_ms": rounded(at(1.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_ranks() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        let found = percentiles(times);
        assert_eq!(found, json!({"count": 200, "p50_ms": 100.0, "p99_ms": 198.0, "max_ms": 200.0}));
        assert_eq!(percentiles(Vec::new()), Value::Null);
    }
}
