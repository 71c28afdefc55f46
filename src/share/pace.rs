//! How much is worth having in stock: what ends within the time that fetching more takes.
//!
//! A delivery that waits in a stock burns its lock, and one of the few deliveries that it has if the process ends before it
//! was begun. With too small a stock, workers wait for brokers. So the stock follows the rate at which work ends (Little's
//! law), and is almost nothing while all workers are at something slow:
//!
//! ```text
//!  ended/s   51,000 ▔▔▔▔\                                   stock = rate × AHEAD
//!                        \______/▔▔\_____                   within [LEAST, most]
//! ```

use std::time::{Duration, Instant};

/// How long it takes until more has come: what is on its way to the broker now, which answers acknowledgements once they are
/// in its log, and the next request.
const AHEAD: Duration = Duration::from_millis(30);
/// Over how long a rate is measured; half of a new rate and half of the old one make the next.
const SPAN: Duration = Duration::from_millis(10);
/// So that there is always one to go on with.
const LEAST: usize = 1;

/// The rate at which work ends.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    ended: u32,
    per_second: f64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Pace { since: now, ended: 0, per_second: 0.0 }
    }

    /// Something was done.
    pub(super) fn ended(&mut self) {
        self.ended += 1;
    }

    /// How many should be in stock, and no more than `most`.
    pub(super) fn stock(&mut self, most: usize, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= SPAN {
            let rate = f64::from(self.ended) / elapsed.as_secs_f64();
            // Spans in which nobody looked count as well: the old rate halves with each of them.
            let spans = elapsed.as_secs_f64() / SPAN.as_secs_f64();
            let old = 0.5_f64.powf(spans);
            self.per_second = self.per_second * old + rate * (1.0 - old);
            (self.since, self.ended) = (now, 0);
        }
        let stock = (self.per_second * AHEAD.as_secs_f64()).ceil();
        (stock as usize).max(LEAST).min(most)
    }

    /// When [`stock`](Self::stock) has another answer although nothing ends; `None` if it has none.
    pub(super) fn changes(&self) -> Option<Instant> {
        let more = self.per_second * AHEAD.as_secs_f64() > LEAST as f64 || self.ended > 0;
        more.then(|| self.since + SPAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pace: &mut Pace, begun: Instant, spans: std::ops::Range<u32>, ended: u32) -> usize {
        spans.fold(0, |_, span| {
            (0..ended).for_each(|_| pace.ended());
            pace.stock(256, begun + SPAN * (span + 1))
        })
    }

    #[test]
    fn the_stock_is_what_ends_until_more_has_come() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        assert_eq!(pace.stock(256, begun), 1, "nothing is known yet");
        let stock = at(&mut pace, begun, 0..20, 20);
        assert!((59..=61).contains(&stock), "2,000 a second, and 30 ms: {stock}");
        assert_eq!(at(&mut pace, begun, 20..40, 2000), 256, "no more than there may be");
    }

    #[test]
    fn it_melts_while_nothing_ends() {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        at(&mut pace, begun, 0..20, 200);
        assert!(pace.changes().is_some());
        let later = begun + SPAN * 40;
        assert_eq!(pace.stock(256, later), 1, "also if nobody has looked meanwhile");
        assert_eq!(pace.changes(), None, "then there is nothing to wait for");
    }
}
