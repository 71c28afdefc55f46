//! The stream thread's end of its external sinks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use tokio::sync::mpsc;

use crate::position::Origin;
use crate::processor::{Answer, Effects, SinkIndex};
use crate::telemetry::Telemetry;
use crate::topology::ExternalSpec;

use super::batch::Batch;
use super::lane::{Lane, LaneOptions, Outcome};

/// Batches that wait in front of a lane; more, and the input rests.
const LANE_QUEUE: usize = 4;

struct LaneEnd {
    batches: mpsc::Sender<Batch>,
    filling: Batch,
}

/// An external target refused a request for good.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What has asked for it.
    pub origin: Origin,
    /// The sink's name.
    pub sink: String,
    /// The target's reason.
    pub reason: String,
}

/// What a target has answered to a call.
#[derive(Debug, Clone)]
pub struct Answered {
    /// What has asked.
    pub origin: Origin,
    /// The call's node.
    pub sink: SinkIndex,
    /// The call's number in its task.
    pub call: u64,
    /// What came of it.
    pub answer: Answer,
}

/// Hands the requests of one stream thread to the lanes of its sinks, and knows when they have settled.
pub struct Dispatcher {
    sinks: Vec<Vec<LaneEnd>>,
    outcomes: Receiver<Outcome>,
    /// Kept so that the channel never closes under the receiver.
    _keep: Sender<Outcome>,
    generation: Arc<AtomicU64>,
    away: Arc<AtomicUsize>,
    /// Batches whose outcome has not been looked at, abandoned ones included: no more than the channel has room for.
    under_way: usize,
    /// Those of them that belong to the open transaction.
    outstanding: usize,
    batch_requests: usize,
    refusals: Vec<Refusal>,
    /// Answers to calls that nobody has been told of.
    answers: Vec<Answered>,
    /// Rises when nothing is under way any more: what is held behind a failure is known to whoever asked from then on.
    era: u64,
}

impl Dispatcher {
    /// Starts the lanes on `tokio`; they end when the dispatcher is dropped.
    pub fn start(
        externals: &[ExternalSpec],
        options: LaneOptions,
        tokio: &tokio::runtime::Handle,
        telemetry: &Telemetry,
    ) -> Self {
        // Room for every batch that is under way, so that a lane never waits for the stream thread: it would block one of
        // the few threads that all lanes, the registry and the status page share.
        let (outcome_sender, outcomes) = bounded(externals.len().max(1) * options.lanes * (LANE_QUEUE + 2));
        let generation = Arc::new(AtomicU64::new(0));
        let away = Arc::new(AtomicUsize::new(0));
        let start_lane = |(sink, spec): (usize, &ExternalSpec)| {
            let (batches, receiver) = mpsc::channel(LANE_QUEUE);
            let lane = Lane::new(SinkIndex(sink), spec, options, outcome_sender.clone(), &generation, &away, telemetry);
            tokio.spawn(lane.run(receiver));
            LaneEnd { batches, filling: Batch::default() }
        };
        let lanes = |spec| (0..options.lanes).map(|_| start_lane(spec)).collect();
        let sinks = externals.iter().enumerate().map(lanes).collect();
        Dispatcher {
            sinks,
            outcomes,
            _keep: outcome_sender.clone(),
            generation,
            away,
            under_way: 0,
            outstanding: 0,
            batch_requests: options.batch_requests,
            refusals: Vec::new(),
            answers: Vec::new(),
            era: 0,
        }
    }

    /// Takes the requests of a record or a tick. Call [`has_room`](Dispatcher::has_room) before the next record.
    pub fn push(&mut self, effects: &Effects, origin: impl Fn() -> Origin) {
        if !effects.requests().is_empty() && self.has_nothing() {
            self.era += 1;
        }
        for request in effects.requests() {
            let SinkIndex(sink) = request.sink;
            let lanes = &mut self.sinks[sink];
            let lane = (request.order % lanes.len() as u64) as usize;
            lanes[lane].filling.push(request, effects.body(request), origin());
            if lanes[lane].filling.len() >= self.batch_requests {
                self.send(sink, lane);
            }
        }
    }

    /// Sends what has gathered, as far as the lanes have room.
    pub fn flush(&mut self) {
        self.collect();
        for sink in 0..self.sinks.len() {
            for lane in 0..self.sinks[sink].len() {
                self.send(sink, lane);
            }
        }
    }

    fn send(&mut self, sink: usize, lane: usize) {
        let end = &mut self.sinks[sink][lane];
        if end.filling.is_empty() || Some(self.under_way) >= self.outcomes.capacity() {
            return;
        }
        if let Ok(permit) = end.batches.try_reserve() {
            let mut batch = std::mem::take(&mut end.filling);
            (batch.generation, batch.era) = (self.generation.load(Ordering::Acquire), self.era);
            permit.send(batch);
            self.under_way += 1;
            self.outstanding += 1;
        }
    }

    /// Whether another record may be processed: no lane is a full batch behind.
    pub fn has_room(&self) -> bool {
        self.sinks.iter().flatten().all(|lane| lane.filling.len() < self.batch_requests)
    }

    /// Whether any lane has lost its target.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire) > 0
    }

    /// Whether everything pushed has been done or refused, and all answers to calls were [taken](Self::take_answers).
    pub fn is_settled(&mut self) -> bool {
        self.flush();
        self.has_nothing()
    }

    fn has_nothing(&self) -> bool {
        let is_empty = self.outstanding == 0 && self.answers.is_empty();
        is_empty && self.sinks.iter().flatten().all(|lane| lane.filling.is_empty())
    }

    /// What targets have answered to calls since the last call, in an order in which they can be told.
    pub fn take_answers(&mut self) -> Vec<Answered> {
        self.collect();
        std::mem::take(&mut self.answers)
    }

    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Waits a moment for the next outcome.
    pub fn wait(&mut self, at_most: std::time::Duration) {
        if let Ok(outcome) = self.outcomes.recv_timeout(at_most) {
            self.note(outcome);
        }
    }

    fn collect(&mut self) {
        loop {
            match self.outcomes.try_recv() {
                Ok(outcome) => self.note(outcome),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn note(&mut self, outcome: Outcome) {
        self.under_way -= 1;
        if outcome.generation == self.generation.load(Ordering::Acquire) {
            self.outstanding -= 1;
            self.refusals.extend(outcome.refusals);
            self.answers.extend(outcome.answers);
        }
    }

    /// What has asked is to be set aside: as if the target had refused it.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusals.push(refusal);
    }

    /// What targets refused since the last call.
    pub fn take_refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }

    /// The transaction was aborted: what has not been sent need not be; what was sent is idempotent.
    pub fn abandon(&mut self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.outstanding = 0;
        self.refusals.clear();
        self.answers.clear();
        self.sinks.iter_mut().flatten().for_each(|lane| lane.filling = Batch::default());
    }
}
