//! Metrics: a registry for the process, its families, and the handles of the hot path.
//!
//! No global registry: two instances in one test process don't count into each other. Per record nothing is looked up
//! and nothing is locked: a caller adds once for each batch, to handles that it has got at its start.
//!
//! ```text
//! task ── once ──▶ Metrics::thread(name) ─▶ ThreadMetrics ── per batch ──▶ atomics ◀── scrape ── Metrics::render()
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use prometheus::{Registry, TextEncoder};

use super::catalogue::{CATALOGUE, Families};
use super::family::{Age, Counters, Family, Histogram, IntCounter, IntGauge, Kind, Metric};
use super::process;
use crate::error::{FatalError, Source};
use crate::position::Partition;

/// All metrics of a process. Reads as its [`Families`].
#[derive(Debug)]
pub struct Metrics {
    families: Families,
    registry: Registry,
    begun: Instant,
    extra: Mutex<Vec<Metric>>,
    partition_labels: bool,
    /// Lag by topic and partition, where the series have only topics.
    lag: Mutex<BTreeMap<String, HashMap<Partition, Lag>>>,
}

/// How far behind a partition is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// End offset − position.
    pub records: i64,
    /// Age of the next record to be processed.
    pub seconds: f64,
}

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.families
    }
}

fn failed(source: prometheus::Error) -> FatalError {
    FatalError::Other { context: "registering metrics".to_owned(), source: Source::from(source) }
}

impl Metrics {
    /// A registry with every family. `partition_labels`: whether lag has a series for each partition.
    ///
    /// # Errors
    /// Only if the catalogue is broken, which a test excludes.
    pub fn new(partition_labels: bool) -> Result<Self, FatalError> {
        let registry = Registry::new();
        let families = Families::register(&registry).map_err(failed)?;
        Ok(Metrics {
            families,
            registry,
            begun: Instant::now(),
            extra: Mutex::default(),
            partition_labels,
            lag: Mutex::default(),
        })
    }

    /// Every metric of the runtime.
    pub fn catalogue() -> &'static [Metric] {
        CATALOGUE
    }

    /// Every metric of this process: the runtime's and those that the topology has added.
    pub fn all(&self) -> Vec<Metric> {
        let extra = self.extra.lock().unwrap_or_else(PoisonError::into_inner);
        CATALOGUE.iter().chain(extra.iter()).copied().collect()
    }

    /// Adds a topology's own counters.
    ///
    /// # Errors
    /// If the name is taken or against the rules (`headrace_…_total`, a help), or `N` isn't the number of labels.
    pub fn counters<const N: usize>(&self, metric: &'static Metric) -> Result<Counters<N>, FatalError> {
        let broken = |rule: &str| FatalError::Topology(format!("metric `{}`: {rule}", metric.name));
        if metric.kind != Kind::Counter || !metric.name.starts_with("headrace_") || !metric.name.ends_with("_total") {
            return Err(broken("a counter is called headrace_<part>_<what>[_<unit>]_total"));
        }
        if metric.help.is_empty() {
            return Err(broken("has no help"));
        }
        let counters = Counters::register(&self.registry, metric).map_err(|error| broken(&error.to_string()))?;
        self.extra.lock().unwrap_or_else(PoisonError::into_inner).push(*metric);
        Ok(counters)
    }

    /// The handles of a stream thread.
    pub fn thread(&self, name: &str) -> ThreadMetrics {
        let phase = |phase| self.commit.with([phase]);
        ThreadMetrics {
            transaction_open: self.transaction_open.with([name]),
            staged_bytes: self.staged.with([name]),
            commits: self.commits.with([]),
            commit_flush: phase("flush"),
            commit_offsets: phase("offsets"),
            commit_end: phase("end"),
            commit_apply: phase("apply"),
            commit_external: phase("external"),
            poll_gap: self.poll_gap.with([]),
            record_latency: self.record_latency.with([]),
        }
    }

    /// How far behind a partition is. Once a second is often enough.
    pub fn lag(&self, topic: &str, partition: Partition, lag: Lag) {
        if self.partition_labels {
            let partition = partition.to_string();
            self.lag_records.with([topic, &partition]).set(lag.records);
            self.lag_seconds.with([topic, &partition]).set(lag.seconds);
            return;
        }
        let mut topics = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.to_owned()).or_default().insert(partition, lag);
        self.sum_lag(topic, &topics);
    }

    /// Takes a partition's lag away, after it was revoked.
    pub fn forget_lag(&self, topic: &str, partition: Partition) {
        if self.partition_labels {
            let partition = partition.to_string();
            self.lag_records.remove([topic, &partition]);
            self.lag_seconds.remove([topic, &partition]);
            return;
        }
        let mut topics = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(partitions) = topics.get_mut(topic) {
            partitions.remove(&partition);
        }
        self.sum_lag(topic, &topics);
    }

    /// A topic's sum of records and highest age.
    fn sum_lag(&self, topic: &str, topics: &BTreeMap<String, HashMap<Partition, Lag>>) {
        let partitions = || topics.get(topic).into_iter().flat_map(HashMap::values);
        self.lag_records.with([topic, "all"]).set(partitions().map(|lag| lag.records).sum());
        self.lag_seconds.with([topic, "all"]).set(partitions().map(|lag| lag.seconds).fold(0.0, f64::max));
    }

    /// The sum of a counter over its labels; 0 for a name that counts nothing.
    pub fn total(&self, name: &str) -> u64 {
        let families = self.registry.gather();
        let series = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        series.map(|series| series.get_counter().get_value() as u64).sum()
    }

    /// The text exposition (format 0.0.4). A family without series yet is there with its help and type.
    ///
    /// # Errors
    /// If the encoder refuses a family.
    pub fn render(&self) -> Result<String, FatalError> {
        self.transaction_open.refresh();
        self.dependency_away.refresh();
        self.uptime.with([]).set(self.begun.elapsed().as_secs_f64());
        if let Some(usage) = process::usage() {
            self.process_resident.with([]).set(usage.resident_bytes);
            self.process_threads.with([]).set(usage.threads);
            self.process_open_files.with([]).set(usage.open_files);
            let cpu = self.process_cpu.with([]);
            cpu.inc_by((usage.cpu_seconds - cpu.get()).max(0.0));
        }
        let families = self.registry.gather();
        let mut text = String::with_capacity(32 * 1024);
        TextEncoder::new().encode_utf8(&families, &mut text).map_err(failed)?;
        for metric in self.all() {
            if !families.iter().any(|family| family.name() == metric.name) {
                // Writing to a String can't fail.
                let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
                let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind.name());
            }
        }
        Ok(text)
    }
}

/// What a stream thread counts, looked up once. For record latency take `record_latency.local()` and flush it at each
/// commit.
#[derive(Debug, Clone)]
pub struct ThreadMetrics {
    /// Start it with the transaction, stop it when that has ended.
    pub transaction_open: Age,
    /// Staged bytes, set at each batch.
    pub staged_bytes: IntGauge,
    /// Commits that succeeded.
    pub commits: IntCounter,
    /// Flush: every produced record acknowledged.
    pub commit_flush: Histogram,
    /// Offsets into the transaction.
    pub commit_offsets: Histogram,
    /// EndTxn.
    pub commit_end: Histogram,
    /// The stores' WriteBatch.
    pub commit_apply: Histogram,
    /// External calls of the batch.
    pub commit_external: Histogram,
    /// Between two polls.
    pub poll_gap: Histogram,
    /// Timestamp to commit.
    pub record_latency: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(true).unwrap()
    }

    #[test]
    fn names_follow_the_rules_and_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for metric in Metrics::catalogue() {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("headrace_") && metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Histogram, !metric.buckets.is_empty(), "{}", metric.name);
            let plain = metric.name.trim_end_matches("_total");
            let has_unit = metric.unit.is_empty() || plain.ends_with(metric.unit) || metric.unit == "records";
            assert!(has_unit, "{} is in {}", metric.name, metric.unit);
            assert!(metric.buckets.windows(2).all(|pair| pair[0] < pair[1]), "{}", metric.name);
        }
    }

    #[test]
    fn every_metric_is_in_the_exposition_before_it_is_used() {
        let text = metrics().render().unwrap();
        for metric in Metrics::catalogue() {
            let line = format!("# TYPE {} {}\n", metric.name, metric.kind.name());
            assert_eq!(text.matches(&line).count(), 1, "{line}{text}");
        }
        assert!(text.contains("\nheadrace_fenced_total 0\n"));
    }

    #[test]
    fn counts_arrive_in_the_exposition() {
        let metrics = metrics();
        let source = metrics.records_in.with(["row-changes"]);
        source.inc_by(1000);
        metrics.dead_letters.with(["deserialize", "bad \"magic\"\n"]).inc();
        let text = metrics.render().unwrap();
        assert!(text.contains("headrace_records_in_total{source=\"row-changes\"} 1000\n"), "{text}");
        assert!(text.contains("class=\"bad \\\"magic\\\"\\n\""), "{text}");
    }

    #[test]
    fn totals_sum_over_labels() {
        let metrics = metrics();
        metrics.records_in.with(["a"]).inc_by(2);
        metrics.records_in.with(["b"]).inc_by(3);
        assert_eq!((metrics.total("headrace_records_in_total"), metrics.total("headrace_nothing")), (5, 0));
    }

    #[test]
    fn ages_grow_by_themselves_and_end_at_zero() {
        let metrics = metrics();
        let age = metrics.transaction_open.with(["t-1"]);
        age.start();
        let first = open_seconds(&metrics);
        let second = open_seconds(&metrics);
        assert!(second > first, "{first} {second}");
        age.start();
        assert!(open_seconds(&metrics) > second, "a second start must not reset it");
        age.stop();
        assert_eq!(open_seconds(&metrics), 0.0);
    }

    fn open_seconds(metrics: &Metrics) -> f64 {
        let text = metrics.render().unwrap();
        let line = text.lines().find(|line| line.starts_with("headrace_transaction_open_seconds{")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    #[test]
    fn process_figures_are_plausible() {
        let metrics = metrics();
        metrics.render().unwrap();
        assert!(metrics.process_resident.with([]).get() > 1 << 20);
        assert!(metrics.process_threads.with([]).get() >= 1);
        assert!(metrics.process_open_files.with([]).get() >= 3);
    }

    #[test]
    fn lag_without_partition_labels_is_summed() {
        let metrics = Metrics::new(false).unwrap();
        metrics.lag("t", Partition(0), Lag { records: 5, seconds: 1.0 });
        metrics.lag("t", Partition(1), Lag { records: 7, seconds: 0.5 });
        assert_eq!(metrics.lag_records.with(["t", "all"]).get(), 12);
        assert_eq!(metrics.lag_seconds.with(["t", "all"]).get(), 1.0);
        metrics.forget_lag("t", Partition(0));
        assert_eq!(metrics.lag_records.with(["t", "all"]).get(), 7);
        let text = metrics.render().unwrap();
        assert!(!text.contains("partition=\"0\""), "{text}");
    }

    #[test]
    fn lag_of_a_revoked_partition_goes_away() {
        let metrics = metrics();
        metrics.lag("t", Partition(3), Lag { records: 5, seconds: 1.0 });
        assert!(metrics.render().unwrap().contains("headrace_lag_records{partition=\"3\",topic=\"t\"} 5"));
        metrics.forget_lag("t", Partition(3));
        assert!(!metrics.render().unwrap().contains("topic=\"t\""));
    }

    static STALE: Metric = Metric {
        name: "headrace_invalidation_stale_total",
        kind: Kind::Counter,
        unit: "records",
        labels: &["table"],
        help: "Row changes that were older than what the store has.",
        buckets: &[],
    };
    static BAD: Metric = Metric { name: "stale", ..STALE };
    static OTHER: Metric = Metric { name: "headrace_invalidation_other_total", ..STALE };

    #[test]
    fn a_topology_adds_its_own_counters_to_the_catalogue() {
        let metrics = metrics();
        metrics.counters::<1>(&STALE).unwrap().with(["users"]).inc_by(3);
        assert!(metrics.render().unwrap().contains("headrace_invalidation_stale_total{table=\"users\"} 3"));
        assert!(metrics.all().contains(&STALE));
        assert!(metrics.counters::<1>(&STALE).is_err(), "taken");
        assert!(metrics.counters::<2>(&OTHER).is_err(), "wrong number of labels");
        assert!(metrics.counters::<1>(&BAD).is_err(), "bad name");
    }
}
