//! What processors have counted in a transaction: told when that has committed, so that what is tried again, or was aborted, counts
//! once. Counters are at most once: of a commit whose outcome is never heard of, and of a process that ends behind it, nothing is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::processor::Effects;
use crate::telemetry::Metrics;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<(Arc<str>, &'static str), BTreeMap<String, u64>>);

impl Tally {
    /// Adds what a record or a tick has counted.
    pub(super) fn add(&mut self, effects: &Effects) {
        for (processor, event, of) in effects.counts() {
            let counts = self.0.entry((Arc::clone(processor), event)).or_default();
            match counts.get_mut(of) {
                Some(count) => *count += 1,
                None => _ = counts.insert(of.to_owned(), 1),
            }
        }
    }

    /// Tells the counters.
    pub(super) fn tell(&self, metrics: &Metrics) {
        for ((processor, event), counts) in &self.0 {
            for (of, count) in counts {
                metrics.processor_events.with([processor.as_ref(), event, of.as_str()]).inc_by(*count);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_under_its_own_names() {
        let (mut effects, mut tally) = (Effects::default(), Tally::default());
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        effects.count(&one, "done", "mail");
        let mark = effects.mark();
        effects.count(&one, "failed", "mail");
        effects.roll_back(mark);
        effects.count(&one, "done", "mail");
        effects.count(&other, "done", "");
        tally.add(&effects);
        effects.clear();
        tally.add(&effects);
        let metrics = Metrics::new(true).unwrap();
        tally.tell(&metrics);
        let count = |labels| metrics.processor_events.with(labels).get();
        assert_eq!(count(["one", "done", "mail"]), 2);
        assert_eq!(count(["one", "failed", "mail"]), 0, "it was taken back");
        assert_eq!(count(["other", "done", ""]), 1);
    }
}
