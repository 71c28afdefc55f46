//! What one run has given, and whether it may count.

use std::fmt::{Display, Formatter};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::cores::Cores;
use crate::measure::Run;
use crate::report;
use crate::spans::Spans;

/// See the module's documentation.
pub(super) struct Outcome {
    /// The others, from the first tenth to the last one.
    pub(super) run: Run,
    pub(super) cores: Cores,
    /// The others' at a rate.
    pub(super) latency: Spans,
    /// Calls of the poison key before it was healed.
    pub(super) attempts: u64,
    /// Its mutations that waited behind the one that was tried.
    pub(super) parked: u64,
    /// From the healing until all of them were applied.
    pub(super) released: Duration,
    /// Calls for what the target had already.
    pub(super) repeated: u64,
}

/// What was measured beside the run itself.
pub(super) fn figures(all: &[&Outcome]) -> Map<String, Value> {
    let each = |figure: &dyn Fn(&Outcome) -> f64| -> Vec<f64> { all.iter().map(|outcome| figure(outcome)).collect() };
    report::figures([
        ("p50_ms", each(&|outcome| outcome.latency.quantile(0.5))),
        ("p99_ms", each(&|outcome| outcome.latency.quantile(0.99))),
        ("parked_followers", each(&|outcome| outcome.parked as f64)),
        ("attempts_on_the_poison_key", each(&|outcome| outcome.attempts as f64)),
        ("released_seconds", each(&|outcome| outcome.released.as_secs_f64())),
        ("repeated_calls", each(&|outcome| outcome.repeated as f64)),
        ("cores_application", each(&|outcome| outcome.cores.application)),
        ("cores_broker", each(&|outcome| outcome.cores.broker)),
        ("cores_target_and_bench", each(&|outcome| outcome.cores.own)),
        ("cores_of_others", each(&|outcome| outcome.cores.others)),
        ("machine_busy", each(&|outcome| outcome.cores.part)),
    ])
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Outcome { run, latency, attempts, parked, released, cores, .. } = self;
        write!(f, "{:.0}/s, {:.1} CPU s; ", run.records_per_second(), run.cpu_seconds)?;
        write!(f, "p50 {:.0} ms, p99 {:.0}; ", latency.quantile(0.5), latency.quantile(0.99))?;
        write!(f, "{parked} parked behind {attempts} attempts, released in {:.2} s; ", released.as_secs_f64())?;
        let (own, others) = (cores.application + cores.broker + cores.own, cores.others);
        write!(f, "cores {own:.2}, others {others:.2}; busy {:.0} %", cores.part * 100.0)
    }
}
