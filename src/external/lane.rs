//! One lane: one connection, one batch at a time, tried until it is done; or, of calls, until each is answered.
//!
//! ```text
//!  sink   batch ─▶ send ─▶ all done or refused          else the whole batch again
//!  call   batch ─▶ round: one of each order key ─▶ send ─▶ answers; behind one that was not done: held
//!           ▲──────── what is left ◀──────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::error::Dependency;
use crate::processor::{Answer, Connect, Failure, Reply, SinkIndex, Target};
use crate::telemetry::Telemetry;
use crate::topology::ExternalSpec;

use super::batch::{Batch, Entry, Held};
use super::dispatcher::{Answered, Refusal};

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

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) generation: u64,
    pub(super) refusals: Vec<Refusal>,
    pub(super) answers: Vec<Answered>,
}

pub(super) struct Lane {
    sink: SinkIndex,
    name: String,
    is_call: bool,
    held: Held,
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
        sink: SinkIndex,
        spec: &ExternalSpec,
        options: LaneOptions,
        outcomes: Sender<Outcome>,
        generation: &Arc<AtomicU64>,
        lanes_away: &Arc<AtomicUsize>,
        telemetry: &Telemetry,
    ) -> Self {
        Lane {
            sink,
            is_call: spec.is_call,
            held: Held::default(),
            name: spec.name.clone(),
            dependency: Dependency::External(spec.name.clone()),
            connect: Arc::clone(&spec.target),
            options,
            outcomes,
            generation: Arc::clone(generation),
            lanes_away: Arc::clone(lanes_away),
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
            let mut outcome = Outcome { generation: batch.generation, refusals: Vec::new(), answers: Vec::new() };
            match self.is_call {
                true => outcome.answers = self.answer(&batch, || batches.is_closed()).await,
                false => outcome.refusals = self.settle(&batch, || batches.is_closed()).await,
            }
            in_flight.sub(batch.len() as i64);
            // The dispatcher may be gone; then nobody waits for the outcome.
            _ = self.outcomes.send(outcome);
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

    /// Sends a sink's batch until all of it is done or refused, or until it was abandoned.
    async fn settle(&mut self, batch: &Batch, closed: impl Fn() -> bool) -> Vec<Refusal> {
        let all: Vec<usize> = (0..batch.len()).collect();
        let replies = self.deliver(batch, &all, &closed).await.unwrap_or_default();
        let mut refusals = Vec::new();
        for (reply, Entry { origin, .. }) in replies.iter().zip(&batch.entries) {
            if let Reply::Refused(reason) = reply {
                refusals.push(Refusal { origin: origin.clone(), sink: self.name.clone(), reason: reason.clone() });
            }
        }
        self.count(replies.iter().map(label));
        refusals
    }

    /// Sends a batch of calls in rounds, until each is answered, or until they were abandoned.
    async fn answer(&mut self, batch: &Batch, closed: impl Fn() -> bool) -> Vec<Answered> {
        self.held.begin(batch);
        let mut answers: Vec<(usize, Answer)> = Vec::with_capacity(batch.len());
        let mut left: Vec<usize> = (0..batch.len()).collect();
        while !left.is_empty() {
            let round = self.held.round(batch, &left);
            left = round.left;
            answers.extend(round.held.iter().map(|at| (*at, Answer::Held)));
            self.count(round.held.iter().map(|_| "held"));
            if round.sent.is_empty() {
                continue;
            }
            let Some(replies) = self.deliver(batch, &round.sent, &closed).await else { return Vec::new() };
            self.count(replies.iter().map(label));
            for (at, reply) in round.sent.into_iter().zip(replies) {
                if !matches!(reply, Reply::Done(_)) {
                    self.held.hold(batch.entries[at].order);
                }
                answers.push((at, reply.into()));
            }
        }
        let answered = |(at, answer): (usize, Answer)| {
            let Entry { call, origin, .. } = &batch.entries[at];
            Some(Answered { origin: origin.clone(), sink: self.sink, call: call.as_ref()?.number, answer })
        };
        // As they were asked: so those of one order key, too.
        answers.sort_unstable_by_key(|(at, _)| *at);
        answers.into_iter().filter_map(answered).collect()
    }

    /// Sends some of a batch until the target has answered; nothing if the batch was abandoned before.
    async fn deliver(&mut self, batch: &Batch, which: &[usize], closed: impl Fn() -> bool) -> Option<Vec<Reply>> {
        let bodies: Vec<&[u8]> = which.iter().map(|at| batch.body(*at)).collect();
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
                    return Some(replies);
                }
                Err(failure) => {
                    self.target = None;
                    self.failed(&failure, attempt + 1);
                    tokio::time::sleep(self.options.backoff.delay(attempt, fastrand::f64())).await;
                    attempt += 1;
                }
            }
        }
        None
    }

    async fn send(&mut self, bodies: &[&[u8]]) -> Result<Vec<Reply>, Failure> {
        let Some(target) = self.target.as_mut() else { return Err(Failure::Away("not connected".into())) };
        let replies = match tokio::time::timeout(self.options.timeout, target.send(bodies)).await {
            Ok(replies) => replies?,
            Err(_) => return Err(Failure::Away(format!("no reply within {:?}", self.options.timeout))),
        };
        if replies.len() != bodies.len() {
            return Err(Failure::Away(format!("{} replies to {} requests", replies.len(), bodies.len())));
        }
        let failed = replies.iter().find_map(|reply| match reply {
            Reply::Failed { reason, .. } if !self.is_call => Some(reason.clone()),
            _ => None,
        });
        // Nobody but the lane hears of it: to a sink it is as if the target were away.
        failed.map_or(Ok(replies), |reason| Err(Failure::Away(reason)))
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

    fn count(&self, labels: impl Iterator<Item = &'static str>) {
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        labels.for_each(|label| *counts.entry(label).or_default() += 1);
        for (outcome, count) in counts {
            self.telemetry.metrics.external_requests.with([&self.name, outcome]).inc_by(count);
        }
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

fn label(reply: &Reply) -> &'static str {
    match reply {
        Reply::Done(label) => label,
        Reply::Refused(_) => "refused",
        Reply::Failed { .. } => "failed",
    }
}
