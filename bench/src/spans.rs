//! Spans of time, and the clock that they are measured by: the machine's, which all of its processes have in common.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the epoch.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Milliseconds, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spans(Vec<f64>);

impl Spans {
    pub(crate) fn of(mut micros: Vec<i64>) -> Self {
        micros.sort_unstable();
        Spans(micros.into_iter().map(|micros| micros as f64 / 1_000.0).collect())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest one that so large a part is not above; 0 of none.
    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let place = (self.0.len() as f64 * quantile).ceil() as usize;
        self.0.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
    }
}
