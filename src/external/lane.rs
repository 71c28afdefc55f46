//! One lane: one connection, one batch at a time, tried until it is done.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::error::Dependency;
use crate::position::Position;
use crate::processor::{Connect, Failure, Reply, Target};
use crate::telemetry::{Metrics, Signals};
use crate::topology::ExternalSpec;

use super::dispatcher::Refusal;

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
    origins: Vec<Position>,
}

impl Batch {
    pub(super) fn push(&mut self, body: &[u8], origin: Position) {
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
    metrics: Arc<Metrics>,
    signals: Arc<Signals>,
    target: Option<Box<dyn Target>>,
    away: bool,
}

impl Lane {
    pub(super) fn new(
        spec: &ExternalSpec,
        options: LaneOptions,
        outcomes: Sender<Outcome>,
        generation: Arc<AtomicU64>,
        metrics: &Arc<Metrics>,
        signals: &Arc<Signals>,
    ) -> Self {
        Lane {
            name: spec.name.clone(),
            dependency: Dependency::External(spec.name.clone()),
            connect: Arc::clone(&spec.target),
            options,
            outcomes,
            generation,
            metrics: Arc::clone(metrics),
            signals: Arc::clone(signals),
            target: None,
            away: false,
        }
    }

    /// Runs until the dispatcher is gone. Connects at once, so that a wrong address is known before the first record.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        self.connect_until(|| batches.is_closed()).await;
        while let Some(batch) = batches.recv().await {
            let refusals = self.settle(&batch, || batches.is_closed()).await;
            // The dispatcher may be gone; then nobody waits for the outcome.
            _ = self.outcomes.send(Outcome { generation: batch.generation, refusals });
        }
        if self.away {
            self.signals.back(&self.dependency);
        }
    }

    /// Sends the batch until the target has answered, or until it was abandoned.
    async fn settle(&mut self, batch: &Batch, closed: impl Fn() -> bool) -> Vec<Refusal> {
        let bodies: Vec<&[u8]> = batch.bodies.iter().map(|range| &batch.arena[range.clone()]).collect();
        let mut attempt = 0;
        while batch.generation == self.generation.load(Ordering::Acquire) && !closed() {
            if self.target.is_none() {
                self.connect_until(|| batch.generation != self.generation.load(Ordering::Acquire) || closed()).await;
                continue;
            }
            let started = Instant::now();
            match self.send(&bodies).await {
                Ok(replies) => {
                    self.reached();
                    self.metrics.external_batch(&self.name, bodies.len(), started.elapsed());
                    return self.refusals(batch, replies);
                }
                Err(failure) => {
                    self.target = None;
                    self.failed(&failure, bodies.len());
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
            let connecting = tokio::time::timeout(self.options.timeout, self.connect.connect());
            match connecting.await.unwrap_or_else(|_| Err(Failure::Away("connecting timed out".into()))) {
                Ok(target) => {
                    self.target = Some(target);
                    self.reached();
                }
                Err(failure) => {
                    self.failed(&failure, 0);
                    tokio::time::sleep(self.options.backoff.delay(attempt, fastrand::f64())).await;
                    attempt += 1;
                }
            }
        }
    }

    fn refusals(&self, batch: &Batch, replies: Vec<Reply>) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for (reply, position) in replies.into_iter().zip(&batch.origins) {
            match reply {
                Reply::Done(label) => self.metrics.external_outcome(&self.name, label),
                Reply::Refused(reason) => {
                    self.metrics.external_outcome(&self.name, "refused");
                    refusals.push(Refusal { position: position.clone(), sink: self.name.clone(), reason });
                }
            }
        }
        refusals
    }

    fn reached(&mut self) {
        if self.away {
            self.away = false;
            self.signals.back(&self.dependency);
        }
    }

    fn failed(&mut self, failure: &Failure, requests: usize) {
        self.metrics.external_retry(&self.name, requests);
        self.away = true;
        self.signals.away(&self.dependency, &failure.to_string());
    }
}
