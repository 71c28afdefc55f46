//! What workers give, on its way to the sinks' topics: many at a time, each told when the brokers have it.
//!
//! ```text
//!  work on a record ─ deliver ─▶ │ parcels │ ─▶ thread: append … seal ─▶ outcome ─▶ told: accept the record
//!                     ◀ waits ── │ bounded │        a failed batch is produced again by a new producer
//! ```
//!
//! The producer is the one of at-least-once: acknowledged by all in-sync replicas, without a transaction. A batch is what has
//! come while the one before was on the wire.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::error::{Dependency, FatalError, RecordError, Stage};
use crate::kafka::{Outgoing, ProduceError, TooLarge, TransactionalProducer};
use crate::processor::{Destination, Effects, Failed, TopicIndex};
use crate::topology::Topology;

use super::super::halt::Halt;
use super::super::options::{Guarantee, Options};
use super::super::produced::NAMED;
use super::super::stream_thread::create_producer;

/// Parcels that wait for the thread.
const WAITING: usize = 1024;
/// Parcels of one batch.
const TOGETHER: usize = 1024;
/// How long the producer may take to begin.
const INITIALISING: Duration = Duration::from_secs(30);
/// Between two looks for the outcome.
const LOOK: Duration = Duration::from_millis(50);

/// Why a parcel was not delivered.
#[derive(Debug)]
pub(super) enum Undelivered {
    /// A topic does not take it.
    TooLarge(TooLarge),
    /// A topic that it has named takes nothing, for this reason.
    Unwritable(String),
    /// The process stops.
    Stopped,
}

impl From<Undelivered> for Failed {
    fn from(undelivered: Undelivered) -> Self {
        match undelivered {
            Undelivered::TooLarge(refused) => {
                RecordError::new(Stage::Produce, "output-too-large", refused.to_string()).into()
            }
            Undelivered::Unwritable(reason) => Failed::Again(reason),
            Undelivered::Stopped => Failed::Again("the process stops".to_owned()),
        }
    }
}

struct Parcel {
    effects: Effects,
    told: oneshot::Sender<Result<(), Undelivered>>,
}

/// Where records are left to be produced. Clones lead to the same thread, which ends with the last of them.
#[derive(Debug, Clone)]
pub(super) struct Outbox(mpsc::Sender<Parcel>);

impl Outbox {
    /// Starts the thread, the `number`th of this process that produces. When it can't go on, it tells why by the channel.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        topology: &Topology,
        options: &Options,
        number: usize,
        stop: CancellationToken,
    ) -> Result<(Outbox, oneshot::Receiver<FatalError>), FatalError> {
        let (parcels, waiting) = mpsc::channel(WAITING);
        let (failed, failure) = oneshot::channel();
        let options = Options { guarantee: Guarantee::AtLeastOnce, ..options.clone() };
        let topics: Arc<[String]> = topology.sink_topics().into();
        let thread = Thread { topics, options, number, producer: None, stop };
        let work = move || {
            if let Err(error) = thread.run(waiting) {
                // Nobody listens any more if the process stops anyway.
                _ = failed.send(error);
            }
        };
        let spawned = thread::Builder::new().name(format!("outbox-{number}")).spawn(work);
        spawned.map_err(|error| FatalError::Other { context: "starting an outbox".into(), source: error.into() })?;
        Ok((Outbox(parcels), failure))
    }

    /// Produces what is in it, and waits until the brokers have it.
    pub(super) async fn deliver(&self, effects: Effects) -> Result<(), Undelivered> {
        if effects.outputs().is_empty() {
            return Ok(());
        }
        let (told, outcome) = oneshot::channel();
        let sent = self.0.send(Parcel { effects, told }).await;
        sent.map_err(|_| Undelivered::Stopped)?;
        outcome.await.unwrap_or(Err(Undelivered::Stopped))
    }
}

struct Thread {
    topics: Arc<[String]>,
    options: Options,
    number: usize,
    producer: Option<Box<dyn TransactionalProducer + Send>>,
    stop: CancellationToken,
}

impl Thread {
    fn run(mut self, mut waiting: mpsc::Receiver<Parcel>) -> Result<(), FatalError> {
        while let Some(first) = waiting.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < TOGETHER
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
            self.deliver(batch)?;
        }
        Ok(())
    }

    /// Produces a batch for as long as it takes; if one of its records is too large, each parcel by itself.
    fn deliver(&mut self, batch: Vec<Parcel>) -> Result<(), FatalError> {
        let mut attempt = 0;
        loop {
            match self.produce(&batch) {
                Ok(()) => {
                    self.options.telemetry.dependency_back(&Dependency::Kafka);
                    // Whoever does not listen has lost its record to somebody else.
                    batch.into_iter().for_each(|parcel| _ = parcel.told.send(Ok(())));
                    return Ok(());
                }
                Err(ProduceError::RecordTooLarge(refused)) if batch.len() == 1 => {
                    self.undelivered(batch, Undelivered::TooLarge(refused));
                    return Ok(());
                }
                Err(ProduceError::Unwritable { reason, .. }) if batch.len() == 1 => {
                    self.undelivered(batch, Undelivered::Unwritable(reason));
                    return Ok(());
                }
                Err(ProduceError::RecordTooLarge(_) | ProduceError::Unwritable { .. }) => {
                    self.producer = None;
                    return batch.into_iter().try_for_each(|parcel| self.deliver(vec![parcel]));
                }
                Err(error) => {
                    self.producer = None;
                    let reason = error.to_string();
                    if let Halt::Fatal(error) = Halt::from(error) {
                        return Err(error);
                    }
                    if self.stop.is_cancelled() && attempt > 0 {
                        // Their records are delivered again.
                        return Ok(());
                    }
                    self.options.telemetry.dependency_away(&Dependency::Kafka, &reason);
                    thread::sleep(Backoff::DEPENDENCY.delay(attempt, fastrand::f64()));
                    attempt += 1;
                }
            }
        }
    }

    /// Tells whoever waits for it.
    fn undelivered(&mut self, batch: Vec<Parcel>, undelivered: Undelivered) {
        self.producer = None;
        if let Some(parcel) = batch.into_iter().next() {
            _ = parcel.told.send(Err(undelivered));
        }
    }

    fn produce(&mut self, batch: &[Parcel]) -> Result<(), ProduceError> {
        let Thread { topics, options, number, producer, .. } = self;
        let producer = match producer {
            Some(producer) => producer,
            none => {
                let mut new = create_producer(options, *number)?;
                new.initialise(Instant::now() + INITIALISING)?;
                none.insert(new)
            }
        };
        for effects in batch.iter().map(|parcel| &parcel.effects) {
            for output in effects.outputs() {
                producer.append(Outgoing {
                    topic: output.topic.name(topics),
                    named: matches!(output.topic, Destination::Named(_)),
                    partition: output.partition,
                    key: effects.key(output),
                    value: effects.value(output),
                    timestamp: output.timestamp,
                    headers: &output.headers,
                    slot: None,
                })?;
            }
        }
        producer.seal(&[], None)?;
        while producer.outcome(LOOK)?.is_none() {}
        for output in batch.iter().flat_map(|parcel| parcel.effects.outputs()) {
            let topic = match &output.topic {
                Destination::Known(TopicIndex(topic)) => topics[*topic].as_str(),
                Destination::Named(_) => NAMED,
            };
            options.telemetry.metrics.records_out.with([topic]).inc();
        }
        Ok(())
    }
}
