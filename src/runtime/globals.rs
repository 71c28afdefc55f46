//! Global tables: one store per process and table, kept by a thread of its own, read by the tasks of all stream threads.
//!
//! ```text
//!  App ─▶ open, one thread per table ─▶ reads all partitions to their ends ─▶ ready ─▶ stream threads start
//!                                        └─ goes on as records come; nothing is committed, the position is in the store
//! ```
//!
//! Per process and not per stream thread: all threads of a process would hold the same, and RocksDB is read by several at
//! once. It is ready before the first record is processed. Afterwards it is as new as the thread has got, for each look-up by
//! itself: a record that is processed once more may find another value.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::error::{Dependency, FatalError};
use crate::kafka::{Followed, FollowedRecord, KafkaFailure, TopicFollower};
use crate::position::{Offset, Partition, TopicPartition};
use crate::store::{GlobalEnd, GlobalState, StateDirectory, StoreError, Written};
use crate::telemetry::Telemetry;
use crate::topology::{GlobalDeclaration, Topology};

use super::options::Options;

/// How long the directory may stay locked by its last owner on this machine.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// How long the end of an application waits for the last look into the tables.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How soon a stop is noticed.
const STEP: Duration = Duration::from_millis(100);
/// Records that are written at once, at most; what is there is written as soon as no more is.
const BATCH_RECORDS: usize = 2_000;
/// The same in bytes of keys and values.
const BATCH_BYTES: usize = 1 << 20;
/// Between two looks whether the topic has more partitions.
const PARTITIONS_LOOK: Duration = Duration::from_secs(30);

/// What the thread of a table tells.
type News = Result<(), FatalError>;

/// The threads of the global tables.
pub(super) struct Globals {
    news: mpsc::Receiver<News>,
    /// Tables that have not been read to their end yet.
    missing: usize,
    /// `None` without tables.
    end: Option<GlobalEnd>,
}

impl Globals {
    /// Opens the tables and starts their threads; they end soon after `stop`, see [`closed`](Self::closed).
    pub(super) async fn start(
        topology: &Topology,
        options: &mut Options,
        directory: &StateDirectory,
        stop: &CancellationToken,
    ) -> Result<Self, FatalError> {
        let tables = topology.globals();
        let (tell, news) = mpsc::channel(2 * tables.len().max(1));
        let mut end = None;
        if !tables.is_empty() {
            let names: Vec<&str> = tables.iter().map(|table| &*table.name).collect();
            let mut state = open(directory, &names, options, stop).await?;
            end = Some(state.end());
            options.globals = Arc::new(state);
        }
        for table in tables {
            let mut keeper = Keeper {
                table: table.clone(),
                follower: TopicFollower::new(&options.kafka, &table.topic)?,
                state: Arc::clone(&options.globals),
                telemetry: options.telemetry.clone(),
                partitions: Vec::new(),
                unread: BTreeSet::new(),
                told: false,
                looked: Instant::now(),
                failures: 0,
                away: false,
            };
            let (tell, stop) = (tell.clone(), stop.clone());
            let work = move || {
                if let Err(error) = keeper.run(&tell, &stop) {
                    // Nobody may listen any more.
                    _ = tell.blocking_send(Err(error));
                }
            };
            let spawned = thread::Builder::new().name(format!("global-{}", table.name)).spawn(work);
            spawned.map_err(|error| FatalError::Other { context: "starting a thread".into(), source: error.into() })?;
        }
        Ok(Globals { news, missing: tables.len(), end })
    }

    /// Until all have been read to their ends; false when the shutdown came first.
    pub(super) async fn ready(&mut self, shutdown: &CancellationToken) -> Result<bool, FatalError> {
        while self.missing > 0 {
            tokio::select! {
                news = self.news.recv() => news.unwrap_or(Ok(()))?,
                () = shutdown.cancelled() => return Ok(false),
            }
            self.missing -= 1;
        }
        Ok(true)
    }

    /// Until one of them can't go on.
    pub(super) async fn failed(&mut self) -> FatalError {
        loop {
            match self.news.recv().await {
                Some(Err(error)) => return error,
                Some(Ok(())) => {}
                // There are none, or they have ended with the application.
                None => std::future::pending().await,
            }
        }
    }

    /// After the stop, until all have let go of the tables and they are closed. The process must not leave before: C++ takes
    /// RocksDB's locks down at the exit, and closing a database without them aborts it.
    pub(super) async fn closed(self) {
        let Some(end) = self.end else { return };
        let ended = tokio::task::spawn_blocking(move || end.wait(END_PATIENCE)).await;
        if !ended.unwrap_or(false) {
            tracing::warn!(target: "headrace", "the global tables are still looked into; they are left open");
        }
    }
}

/// Waits for a last owner on this machine to be gone.
async fn open(
    directory: &StateDirectory,
    names: &[&str],
    options: &Options,
    stop: &CancellationToken,
) -> Result<GlobalState, FatalError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match directory.open_global(names, &options.stores) {
            Err(StoreError::Locked { .. }) if Instant::now() < deadline && !stop.is_cancelled() => {
                tokio::time::sleep(STEP).await;
            }
            opened => {
                let context = "state.directory: the global tables can't be opened".to_owned();
                return opened.map_err(|error| FatalError::Other { context, source: error.into() });
            }
        }
    }
}

/// Keeps one table.
struct Keeper {
    table: GlobalDeclaration,
    follower: TopicFollower,
    state: Arc<GlobalState>,
    telemetry: Telemetry,
    partitions: Vec<TopicPartition>,
    /// Partitions that were not read to their end yet.
    unread: BTreeSet<Partition>,
    /// Whether it was said that all were.
    told: bool,
    looked: Instant,
    failures: u32,
    away: bool,
}

impl Keeper {
    fn run(&mut self, tell: &mpsc::Sender<News>, stop: &CancellationToken) -> Result<(), FatalError> {
        while !stop.is_cancelled() {
            if self.partitions.is_empty() || self.looked.elapsed() >= PARTITIONS_LOOK {
                self.looked = Instant::now();
                if let Err(error) = self.begin()? {
                    self.is_away(&error.to_string());
                    thread::park_timeout(Backoff::DEPENDENCY.delay(self.failures, fastrand::f64()).min(10 * STEP));
                    self.failures += 1;
                    continue;
                }
            }
            self.take()?;
            if self.unread.is_empty() && !self.partitions.is_empty() && !std::mem::replace(&mut self.told, true) {
                _ = tell.blocking_send(Ok(()));
            }
        }
        Ok(())
    }

    /// Reads on from what the store has, if there are partitions that are not read. What was compacted away since would not
    /// be deleted from the store, so a store that is behind the beginning of its topic, or beyond its end, is filled anew.
    fn begin(&mut self) -> Result<Result<(), KafkaFailure>, FatalError> {
        let partitions = match self.follower.partitions() {
            Ok(partitions) if partitions.is_empty() => {
                return Ok(Err(KafkaFailure(format!("topic {} is not there", self.table.topic))));
            }
            Ok(partitions) => partitions,
            Err(error) => return Ok(Err(error)),
        };
        if partitions == self.partitions {
            return Ok(Ok(()));
        }
        let mut positions = Vec::with_capacity(partitions.len());
        for at in &partitions {
            let bounds = match self.follower.bounds(at) {
                Ok(bounds) => bounds,
                Err(error) => return Ok(Err(error)),
            };
            let known = self.state.position(at);
            let fits = known.is_none_or(|known| bounds.start <= known && known <= bounds.end);
            positions.push((at.clone(), known.filter(|_| fits), bounds.start, fits));
        }
        if positions.iter().any(|(.., fits)| !fits) || positions.iter().all(|(_, known, ..)| known.is_none()) {
            self.state.clear(&self.table.name, &self.table.topic).map_err(|error| self.failed(error))?;
            positions.iter_mut().for_each(|(_, known, ..)| *known = None);
        }
        let positions: Vec<(TopicPartition, Offset)> =
            positions.into_iter().map(|(at, known, start, _)| (at, known.unwrap_or(start))).collect();
        if let Err(error) = self.follower.read(&positions) {
            return Ok(Err(error));
        }
        self.unread = partitions.iter().map(|at| at.partition).collect();
        self.partitions = partitions;
        Ok(Ok(()))
    }

    /// Takes what has come, and writes it.
    fn take(&mut self) -> Result<(), FatalError> {
        let (mut writes, mut bytes): (Vec<Written>, usize) = (Vec::new(), 0);
        let mut positions: Vec<(TopicPartition, Offset)> = Vec::new();
        let mut ended = Vec::new();
        let mut wait = STEP;
        while writes.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match self.follower.poll(wait) {
                Followed::Record(FollowedRecord { at, offset, key: Some(key), value, .. }) => {
                    let next = offset.next();
                    bytes += key.len() + value.as_ref().map_or(0, Vec::len);
                    writes.push((key, value));
                    match positions.iter_mut().find(|(known, _)| *known == at) {
                        Some((_, known)) => *known = next,
                        None => positions.push((at, next)),
                    }
                    self.is_back();
                }
                Followed::End(partition) => ended.push(partition),
                Followed::Away(reason) => {
                    self.is_away(&reason);
                    break;
                }
                // The position is gone from the log, or the topic is: looked at anew.
                Followed::Failed(reason) => {
                    self.is_away(&reason);
                    self.partitions.clear();
                    thread::park_timeout(STEP);
                    break;
                }
                // Without a key it is of no table.
                Followed::Idle | Followed::Record(FollowedRecord { key: None, .. }) => break,
            }
            wait = Duration::ZERO;
        }
        if !writes.is_empty() {
            self.state.apply(&self.table.name, &writes, &positions).map_err(|error| self.failed(error))?;
        }
        for partition in ended {
            self.unread.remove(&partition);
            self.is_back();
        }
        Ok(())
    }

    fn failed(&self, error: StoreError) -> FatalError {
        FatalError::Other { context: format!("global table {}", self.table.name), source: error.into() }
    }

    fn is_away(&mut self, reason: &str) {
        self.away = true;
        self.telemetry.dependency_away(&Dependency::Kafka, reason);
    }

    fn is_back(&mut self) {
        self.failures = 0;
        if std::mem::take(&mut self.away) {
            self.telemetry.dependency_back(&Dependency::Kafka);
        }
    }
}
