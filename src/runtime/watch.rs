//! What is looked at once a second, beside the work: lag and the sizes of the stores.
//!
//! ```text
//! stream threads ── inputs, stream time, bytes to compact ──▶ Board ──▶ Watch (a thread) ──▶ metrics
//!                                                  brokers ── positions and ends ──▲
//! ```
//!
//! A thread of its own, because asking the brokers blocks, and because a stream thread that waits for Redis must not stop
//! the one figure that shows it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::error::FatalError;
use crate::kafka::EndOffsets;
use crate::position::{Offset, TopicPartition};
use crate::record::Timestamp;
use crate::telemetry::Lag;

use super::options::Options;
use super::stream_thread::{StreamThread, now};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Ends that are remembered per partition: ten minutes of a topic that grows all the time.
const REMEMBERED: usize = 600;

/// What one stream thread says of itself.
#[derive(Debug, Default, Clone)]
struct Report {
    /// Input partitions, each with its task's stream time.
    inputs: BTreeMap<TopicPartition, Timestamp>,
    compaction_bytes: u64,
}

/// Where the stream threads leave their reports.
#[derive(Debug, Default, Clone)]
pub(super) struct Board(Arc<Mutex<HashMap<usize, Report>>>);

impl Board {
    fn put(&self, thread: usize, report: Report) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(thread, report);
    }

    /// Input partitions of all stream threads.
    pub(super) fn inputs(&self) -> Vec<TopicPartition> {
        self.all().into_iter().flat_map(|report| report.inputs.into_keys()).collect()
    }

    fn all(&self) -> Vec<Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// When a stream thread reports again, and when it has polled last.
#[derive(Debug)]
pub(super) struct Reporter {
    board: Board,
    due: Instant,
    polled: Option<Instant>,
}

impl Reporter {
    pub(super) fn new(board: Board) -> Self {
        Reporter { board, due: Instant::now(), polled: None }
    }
}

impl StreamThread {
    /// Leaves a report, once in a while.
    pub(super) fn report(&mut self) {
        if Instant::now() < self.reporter.due {
            return;
        }
        self.reporter.due = Instant::now() + PERIOD;
        let mut report = Report::default();
        report.inputs.extend(self.unopened.iter().map(|at| (at.clone(), Timestamp::NONE)));
        for owned in self.tasks.iter_mut() {
            let time = owned.task.stream_time();
            report.inputs.extend(owned.inputs.iter().map(|at| (at.clone(), time)));
            let stores: Vec<_> = owned.changelogs.iter().map(|changelog| changelog.store).collect();
            let sizes = stores.into_iter().filter_map(|store| owned.task.state().sizes(store).ok());
            report.compaction_bytes += sizes.map(|sizes| sizes.pending_compaction_bytes).sum::<u64>();
        }
        self.reporter.board.put(self.index, report);
    }

    /// The consumer is polled now.
    pub(super) fn note_poll(&mut self) {
        let last = self.reporter.polled.replace(Instant::now());
        if let Some(last) = last {
            self.metrics.poll_gap.observe(last.elapsed().as_secs_f64());
        }
    }
}

/// Looks at what the stream threads have reported.
pub(super) struct Watch {
    options: Options,
    board: Board,
    ends: EndOffsets,
    histories: BTreeMap<TopicPartition, History>,
}

impl Watch {
    /// Starts the thread; it ends soon after `stop`.
    pub(super) fn start(options: &Options, board: Board, stop: CancellationToken) -> Result<(), FatalError> {
        let ends = EndOffsets::new(&options.kafka)?;
        let mut watch = Watch { options: options.clone(), board, ends, histories: BTreeMap::new() };
        let work = move || {
            while !stop.is_cancelled() {
                watch.look();
                thread::park_timeout(PERIOD);
            }
        };
        let spawned = thread::Builder::new().name("watch".to_owned()).spawn(work);
        spawned
            .map(drop)
            .map_err(|error| FatalError::Other { context: "starting a thread".into(), source: error.into() })
    }

    fn look(&mut self) {
        let reports = self.board.all();
        let metrics = &self.options.telemetry.metrics;
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics.rocksdb_block_cache.with([]).set(gauge(self.options.stores.block_cache_bytes() as u64));
        metrics.rocksdb_memtable.with([]).set(gauge(self.options.stores.write_buffer_bytes() as u64));
        let compaction = reports.iter().map(|report| report.compaction_bytes).sum();
        metrics.rocksdb_pending_compaction.with([]).set(gauge(compaction));
        let inputs: BTreeMap<TopicPartition, Timestamp> =
            reports.into_iter().flat_map(|report| report.inputs).collect();
        for gone in self.histories.keys().filter(|at| !inputs.contains_key(*at)) {
            metrics.forget_lag(&gone.topic, gone.partition);
        }
        self.histories.retain(|at, _| inputs.contains_key(at));
        let asked: Vec<TopicPartition> = inputs.keys().cloned().collect();
        if asked.is_empty() {
            return;
        }
        match self.ends.of(&asked) {
            Ok(found) => found.iter().for_each(|(at, position, end)| self.tell(at, *position, *end, inputs.get(at))),
            // The clients that do the work say so where people look; the figures keep their last value.
            Err(error) => tracing::debug!(target: "headrace::runtime", %error, "looking at the lag failed"),
        }
    }

    fn tell(&mut self, at: &TopicPartition, position: Offset, end: Offset, stream_time: Option<&Timestamp>) {
        let history = self.histories.entry(at.clone()).or_default();
        history.note(Instant::now(), end);
        let known = history.behind(position, Instant::now());
        // Older than what was watched: about as old as the last record that was processed.
        let processed = stream_time.filter(|time| time.0 > 0).map_or(0, |time| (now().0 - time.0).max(0));
        let seconds = match known {
            Age::Exact(age) => age.as_secs_f64(),
            Age::AtLeast(age) => age.max(Duration::from_millis(processed.unsigned_abs())).as_secs_f64(),
        };
        let records = (end.0 - position.0).max(0);
        self.options.telemetry.metrics.lag(&at.topic, at.partition, Lag { records, seconds });
    }
}

/// When the end of a partition passed which offset.
#[derive(Debug, Default)]
struct History(VecDeque<(Instant, Offset)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Exact(Duration),
    AtLeast(Duration),
}

impl History {
    fn note(&mut self, at: Instant, end: Offset) {
        if self.0.back().is_some_and(|(_, last)| *last > end) {
            // The topic was made anew.
            self.0.clear();
        }
        if self.0.back().is_none_or(|(_, last)| *last < end) {
            self.0.push_back((at, end));
            if self.0.len() > REMEMBERED {
                self.0.pop_front();
            }
        }
    }

    /// How long ago the end passed this position: the age of the record that stands there, to a period.
    fn behind(&self, position: Offset, now: Instant) -> Age {
        match self.0.partition_point(|(_, end)| *end <= position) {
            passed if passed == self.0.len() => Age::Exact(Duration::ZERO),
            0 => Age::AtLeast(self.0.front().map_or(Duration::ZERO, |(at, _)| now - *at)),
            passed => Age::Exact(now - self.0[passed].0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn lag_is_the_time_since_the_end_passed_the_position() {
        let (mut history, start) = (History::default(), Instant::now());
        for (second, end) in [(0, 100), (10, 200), (20, 200), (30, 300)] {
            history.note(start + seconds(second), Offset(end));
        }
        let behind = |position| history.behind(Offset(position), start + seconds(40));
        assert_eq!(behind(300), Age::Exact(seconds(0)), "caught up");
        assert_eq!(behind(250), Age::Exact(seconds(10)));
        assert_eq!(behind(199), Age::Exact(seconds(30)));
        assert_eq!(behind(50), Age::AtLeast(seconds(40)), "older than what was watched");
    }

    #[test]
    fn an_idle_topic_ages_nothing_and_a_new_one_forgets() {
        let (mut history, start) = (History::default(), Instant::now());
        history.note(start, Offset(100));
        assert_eq!(history.behind(Offset(100), start + seconds(3600)), Age::Exact(seconds(0)));
        history.note(start + seconds(3600), Offset(101));
        assert_eq!(history.behind(Offset(100), start + seconds(3601)), Age::Exact(seconds(1)), "not an hour");
        history.note(start + seconds(3700), Offset(5));
        assert_eq!(history.0.len(), 1);
    }

    #[test]
    fn history_is_bounded() {
        let (mut history, start) = (History::default(), Instant::now());
        (0..10_000).for_each(|end| history.note(start, Offset(end)));
        assert_eq!(history.0.len(), REMEMBERED);
    }
}
