//! Who submits: in the order of the plan, no more at a time than a window of tasks that have not ended. Its producer is
//! idempotent, so that a task is submitted as often as its fate says, whatever happens to the brokers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::PATIENCE;
use super::fate::{Fate, Job};
use super::ground::{Ground, Records};
use super::results::Follower;
use crate::pause::Stop;
use crate::{Failure, Result};

/// While the window, or the producer's queue, is full.
const REST: Duration = Duration::from_millis(5);

/// A task that was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Which.
    pub job: Job,
    /// Not before this time, in milliseconds since the epoch.
    pub not_before: Option<i64>,
    /// Its order key.
    pub order_key: Option<String>,
}

/// Counts what has not arrived.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    failed: AtomicUsize,
}

impl Reports {
    /// How much that is.
    pub(crate) fn failed(&self) -> usize {
        self.failed.load(Ordering::SeqCst)
    }
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Submits tasks.
pub struct Submitter {
    producer: BaseProducer<Reports>,
    records: Records,
    topic: String,
}

impl Submitter {
    /// Registers the schema, and submits nothing yet.
    ///
    /// # Errors
    /// The registry is away.
    pub fn new(ground: &Ground) -> Result<Submitter> {
        let mut config = ground.client();
        config.set("linger.ms", "5").set("enable.idempotence", "true").set("socket.timeout.ms", "10000");
        let producer = config.create_with_context(Reports::default())?;
        Ok(Submitter { producer, records: Records::new(ground)?, topic: ground.topic("tasks") })
    }

    /// One of so many, not waited for.
    ///
    /// # Errors
    /// The client is broken.
    pub fn submit(&self, job: Job, of: u32) -> Result<Submitted> {
        let task = job.task(of);
        let value = self.records.task(&task)?;
        let times = if job.fate == Fate::Again { 2 } else { 1 };
        for _ in 0..times {
            // One partition for those that have to be read in their order.
            let mut record = BaseRecord::to(&self.topic).key(task.lane()).payload(&value);
            while let Err((error, back)) = self.producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                self.producer.poll(REST);
                record = back;
            }
        }
        self.producer.poll(Duration::ZERO);
        Ok(Submitted { job, not_before: task.not_before, order_key: task.order_key })
    }

    /// Waits until the brokers have all of them.
    ///
    /// # Errors
    /// They have not, in time, or one was refused.
    pub fn flush(&self) -> Result<()> {
        self.producer.flush(PATIENCE)?;
        match self.producer.context().failed() {
            0 => Ok(()),
            failed => Err(format!("{failed} tasks could not be submitted, so nothing can be said of them").into()),
        }
    }
}

/// A plan that is submitted on a thread of its own.
pub struct Load {
    stop: Arc<Stop>,
    thread: JoinHandle<Result<Vec<Submitted>>>,
}

impl Load {
    /// Begins. `window`: tasks that may be open at the same time.
    ///
    /// # Errors
    /// As [`Submitter::new`].
    pub fn start(ground: &Ground, plan: Vec<Job>, window: usize, follower: &Follower) -> Result<Load> {
        let (submitter, ended) = (Submitter::new(ground)?, follower.ended());
        let (stop, of) = (Arc::<Stop>::default(), u32::try_from(plan.len())?);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut submitted = Vec::with_capacity(plan.len());
            for job in plan {
                while submitted.len() >= ended.load(Ordering::SeqCst) + window {
                    submitter.producer.poll(Duration::ZERO);
                    if !stopped.pause(REST) {
                        break;
                    }
                }
                if stopped.is_stopped() {
                    break;
                }
                submitted.push(submitter.submit(job, of)?);
            }
            submitter.flush()?;
            Ok(submitted)
        });
        Ok(Load { stop, thread })
    }

    /// Whether all is submitted, or can't be.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// What was submitted; all of it, if nobody has given up.
    ///
    /// # Errors
    /// Something could not be.
    pub fn finish(self) -> Result<Vec<Submitted>> {
        self.stop.stop();
        self.thread.join().map_err(|_| Failure::from("who submits panicked"))?
    }
}
