//! One lane: one connection, one batch at a time, tried until it is done.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::error::Dependency;
use crate::position::Origin;
use crate::processor::{Connect, Failure, Reply, Target};
use crate::telemetry::Telemetry;
use crate::topology::ExternalSpec;

use super::dispatcher::Refusal;

/// How long a lane rests before it looks whether its target is still there.
const IDLE: Duration = Duration::from_secs(1);

/// How lanes work.
#[derive(Debug, Clone, Copy)]
pub struct LaneOptions {
    /// Connections per sink and stream thread.
    pub lanes: usize,
    /// Largest number of requests sent at once.
    pub batch_requests: usize,
    /// Between tries.
    pub backoff: Backoff,
    /// Patience with one connection attempt or one batch.
    pub timeout: Duration,
}

/// Requests that are sent together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) generation: u64,
    arena: Vec<u8>,
    bodies: Vec<Range<usize>>,
    origins: Vec<Origin>,
}

impl Batch {
    pub(super) fn push(&mut self, body: &[u8], origin: Origin) {
        let start = self.arena.len();
        self.arena.extend_from_slice(body);
        self.bodies.push(start..self.arena.len());
        self.origins.push(origin);
    }

    pub(super) fn len(&self) -> usize {
        self.bodies.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) generation: u64,
    pub(super) refusals: Vec<Refusal>,
}

pub(super) struct Lane {
    name: String,
    dependency: Dependency,
    connect: Arc<dyn Connect>,
    options: LaneOptions,
    outcomes: Sender<Outcome>,
    generation: Arc<AtomicU64>,
    /// How many lanes of the dispatcher are without their target.
    lanes_away: Arc<AtomicUsize>,
    telemetry: Telemetry,
    target: Option<Box<dyn Target>>,
    away: bool,
}

impl Lane {
    pub(super) fn new(
        spec: &ExternalSpec,
        options: LaneOptions,
        outcomes: Sender<Outcome>,
        generation: Arc<AtomicU64>,
        lanes_away: Arc<AtomicUsize>,
        telemetry: &Telemetry,
    ) -> Self {
        Lane {
            name: spec.name.clone(),
            dependency: Dependency::External(spec.name.clone()),
            connect: Arc::clone(&spec.target),
            options,
            outcomes,
            generation,
            lanes_away,
            telemetry: telemetry.clone(),
            target: None,
            away: false,
        }
    }

    /// Runs until the dispatcher is gone. Connects at once, so that a wrong address is known before the first record.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        loop {
            // Also when the batch that lost the connection was abandoned: the stream thread sends no other before it
            // hears that the target is back.
            self.connect_until(|| batches.is_closed() || !batches.is_empty()).await;
            let batch = match tokio::time::timeout(IDLE, batches.recv()).await {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(_) => {
                    self.look_after().await;
                    continue;
                }
            };
            let in_flight = self.telemetry.metrics.external_in_flight.with([&self.name]);
            in_flight.add(batch.len() as i64);
            let refusals = self.settle(&batch, || batches.is_closed()).await;
            in_flight.sub(batch.len() as i64);
            // The dispatcher may be gone; then nobody waits for the outcome.
            _ = self.outcomes.send(Outcome { generation: batch.generation, refusals });
        }
        self.reached();
    }

    /// Nothing is to be sent: an empty batch shows whether the target is still there. One that was replaced has to be
    /// prepared before somebody trusts what it holds, not only when the next record comes.
    async fn look_after(&mut self) {
        if self.target.is_none() {
            self.connect_once().await;
        } else if let Err(failure) = self.send(&[]).await {
            self.target = None;
            self.failed(&failure, 0);
        }
    }

    /// Sends the batch until the target has answered, or until it was abandoned.
    async fn settle(&mut self, batch: &Batch, closed: impl Fn() -> bool) -> Vec<Refusal> {
        let bodies: Vec<&[u8]> = batch.bodies.iter().map(|range| &batch.arena[range.clone()]).collect();
        let mut attempt = 0;
        while batch.generation == self.generation.load(Ordering::Acquire) && !closed() {
            if self.target.is_none() {
                let generation = Arc::clone(&self.generation);
                self.connect_until(|| batch.generation != generation.load(Ordering::Acquire) || closed()).await;
                continue;
            }
            let started = Instant::now();
            match self.send(&bodies).await {
                Ok(replies) => {
                    self.reached();
                    self.telemetry.metrics.external.with([&self.name]).observe(started.elapsed().as_secs_f64());
                    return self.refusals(batch, replies);
                }
                Err(failure) => {
                    self.target = None;
                    self.failed(&failure, attempt + 1);
                    tokio::time::sleep(self.options.backoff.delay(attempt, fastrand::f64())).await;
                    attempt += 1;
                }
            }
        }
        Vec::new()
    }

    async fn send(&mut self, bodies: &[&[u8]]) -> Result<Vec<Reply>, Failure> {
        let Some(target) = self.target.as_mut() else { return Err(Failure::Away("not connected".into())) };
        let replies = match tokio::time::timeout(self.options.timeout, target.send(bodies)).await {
            Ok(replies) => replies?,
            Err(_) => return Err(Failure::Away(format!("no reply within {:?}", self.options.timeout))),
        };
        match replies.len() == bodies.len() {
            true => Ok(replies),
            false => Err(Failure::Away(format!("{} replies to {} requests", replies.len(), bodies.len()))),
        }
    }

    async fn connect_until(&mut self, give_up: impl Fn() -> bool) {
        let mut attempt = 0;
        while self.target.is_none() && !give_up() {
            self.connect_once().await;
            if self.target.is_none() {
                tokio::time::sleep(self.options.backoff.delay(attempt, fastrand::f64())).await;
                attempt += 1;
            }
        }
    }

    async fn connect_once(&mut self) {
        let connecting = tokio::time::timeout(self.options.timeout, self.connect.connect());
        match connecting.await.unwrap_or_else(|_| Err(Failure::Away("connecting timed out".into()))) {
            Ok(target) => {
                self.target = Some(target);
                self.reached();
            }
            Err(failure) => self.failed(&failure, 0),
        }
    }

    fn refusals(&self, batch: &Batch, replies: Vec<Reply>) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (reply, origin) in replies.into_iter().zip(&batch.origins) {
            match reply {
                Reply::Done(label) => *counts.entry(label).or_default() += 1,
                Reply::Refused(reason) => {
                    *counts.entry("refused").or_default() += 1;
                    refusals.push(Refusal { origin: origin.clone(), sink: self.name.clone(), reason });
                }
            }
        }
        for (outcome, count) in counts {
            self.telemetry.metrics.external_requests.with([&self.name, outcome]).inc_by(count);
        }
        refusals
    }

    fn reached(&mut self) {
        if self.away {
            self.away = false;
            self.lanes_away.fetch_sub(1, Ordering::AcqRel);
        }
        if self.target.is_some() {
            self.telemetry.dependency_back(&self.dependency);
        }
    }

    fn failed(&mut self, failure: &Failure, attempt: u32) {
        if !self.away {
            self.away = true;
            self.lanes_away.fetch_add(1, Ordering::AcqRel);
        }
        if attempt > 0 {
            self.telemetry.external_retried(&self.name, attempt, &failure.to_string());
        }
        self.telemetry.dependency_away(&self.dependency, &failure.to_string());
    }
}
