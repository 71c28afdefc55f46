//! Families of metrics: a name with its labels, whose number the type knows.
//!
//! A wrong number of labels would be a panic in the middle of a commit; here it doesn't compile. A family gives out
//! handles, which a task looks up once: updating one is an atomic addition, without a lookup.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::Collector;
pub use prometheus::{Counter, Gauge, Histogram, IntCounter, IntGauge};
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// What a metric's number means over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric's entry in the catalogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// The full name, `headrace_…`.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The base unit: seconds, bytes, records, or `""` for a plain number.
    pub unit: &'static str,
    /// The labels.
    pub labels: &'static [&'static str],
    /// One sentence for the people who read the dashboard.
    pub help: &'static str,
    /// Upper bounds of a histogram's buckets; empty for the others.
    pub buckets: &'static [f64],
}

/// How a family is made from its entry.
pub(super) trait Family: Sized {
    fn register(registry: &Registry, metric: &Metric) -> Result<Self, prometheus::Error>;
}

fn enlist<C: Collector + Clone + 'static>(
    registry: &Registry,
    vec: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let vec = vec?;
    registry.register(Box::new(vec.clone()))?;
    Ok(vec)
}

macro_rules! family {
    ($(#[$doc:meta])* $name:ident, $vec:ident, $handle:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name<const N: usize>($vec);

        impl<const N: usize> $name<N> {
            /// The handle of one series; look it up once, not for each record.
            pub fn with(&self, labels: [&str; N]) -> $handle {
                self.0.with_label_values(&labels)
            }

            /// Takes one series away, when what it is about is gone.
            pub fn remove(&self, labels: [&str; N]) {
                // An error only says that there is no such series.
                let _ = self.0.remove_label_values(&labels);
            }
        }

        impl<const N: usize> Family for $name<N> {
            fn register(registry: &Registry, metric: &Metric) -> Result<Self, prometheus::Error> {
                if metric.labels.len() != N {
                    return Err(prometheus::Error::InconsistentCardinality { expect: N, got: metric.labels.len() });
                }
                let family = $name(enlist(registry, $vec::new(options!($vec, metric), metric.labels))?);
                if N == 0 {
                    // A metric without labels is there from the start, as 0.
                    family.with([""; N]);
                }
                Ok(family)
            }
        }
    };
}

macro_rules! options {
    (HistogramVec, $metric:expr) => {
        HistogramOpts::new($metric.name, $metric.help).buckets($metric.buckets.to_vec())
    };
    ($vec:ident, $metric:expr) => {
        Opts::new($metric.name, $metric.help)
    };
}

family!(
    /// Counters of whole things.
    Counters, IntCounterVec, IntCounter
);
family!(
    /// Counters of fractions, such as seconds.
    SecondsCounters, CounterVec, Counter
);
family!(
    /// Gauges of whole things: records, bytes.
    Gauges, IntGaugeVec, IntGauge
);
family!(
    /// Gauges of fractions, such as seconds.
    SecondsGauges, GaugeVec, Gauge
);
family!(
    /// Histograms.
    Histograms, HistogramVec, Histogram
);

/// How long something has been going on, worked out when it is asked for: a thread that hangs can't update a gauge, and
/// just then the number matters. 0 while nothing goes on.
#[derive(Debug, Clone)]
pub struct Ages<const N: usize> {
    gauges: SecondsGauges<N>,
    begun: Instant,
    ages: Arc<Mutex<HashMap<[String; N], Age>>>,
}

/// One series of [`Ages`].
#[derive(Debug, Clone)]
pub struct Age {
    base: Instant,
    /// Microseconds from `base` to the start, plus 1; 0 is "not going on".
    since: Arc<AtomicU64>,
}

impl Age {
    /// It begins now, unless it already goes on.
    pub fn start(&self) {
        let micros = u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
        // A failed exchange means that it goes on already: the earlier start stays.
        let _ = self.since.compare_exchange(0, micros, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// It is over.
    pub fn stop(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    fn elapsed(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.base.elapsed().saturating_sub(Duration::from_micros(since - 1)),
        }
    }
}

impl<const N: usize> Ages<N> {
    /// The handle of one series.
    pub fn with(&self, labels: [&str; N]) -> Age {
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Age { base: self.begun, since: Arc::default() };
        ages.entry(labels.map(str::to_owned)).or_insert_with(fresh).clone()
    }

    /// Takes one series away.
    pub fn remove(&self, labels: [&str; N]) {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner).remove(&labels.map(str::to_owned));
        self.gauges.remove(labels);
    }

    /// Works out every series.
    pub(super) fn refresh(&self) {
        for (labels, age) in self.ages.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.gauges.with(labels.each_ref().map(String::as_str)).set(age.elapsed().as_secs_f64());
        }
    }
}

impl<const N: usize> Family for Ages<N> {
    fn register(registry: &Registry, metric: &Metric) -> Result<Self, prometheus::Error> {
        let gauges = SecondsGauges::register(registry, metric)?;
        Ok(Ages { gauges, begun: Instant::now(), ages: Arc::default() })
    }
}
