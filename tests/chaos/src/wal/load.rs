//! Who writes to the topic: in the order of the plan, no more at a time than a window of mutations that have not ended. Its producer is
//! idempotent, so that a mutation is written as often as the plan says, whatever happens to the brokers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::PATIENCE;
use super::plan::{Planned, Written};
use super::records::Records;
use super::settings::{NAMESPACE, TARGETS};
use crate::pause::Stop;
use crate::queue::ground::Ground;
use crate::queue::submit::Reports;
use crate::{Failure, Result};

/// While the window, or the producer's queue, is full.
const REST: Duration = Duration::from_millis(5);

/// How far those who write may be ahead of the results.
#[derive(Debug, Clone)]
pub struct Window {
    /// Results there are, of each mutation one by target.
    pub ended: Arc<AtomicUsize>,
    /// Mutations that may be open.
    pub open: usize,
}

impl Window {
    /// Waits until this one of the plan may be written; false if nothing is to be written any more.
    pub(super) fn wait(&self, number: usize, stop: &Stop) -> bool {
        while number >= self.ended.load(Ordering::SeqCst) / TARGETS.len() + self.open {
            if !stop.pause(REST) {
                return false;
            }
        }
        !stop.is_stopped()
    }
}

/// Writes mutations.
pub struct Writer {
    producer: BaseProducer<Reports>,
    records: Records,
    topic: String,
}

impl Writer {
    /// Registers the schema, and writes nothing yet.
    ///
    /// # Errors
    /// The registry is away.
    pub fn new(ground: &Ground) -> Result<Writer> {
        let mut config = ground.client();
        config.set("linger.ms", "5").set("enable.idempotence", "true").set("socket.timeout.ms", "10000");
        let producer = config.create_with_context(Reports::default())?;
        Ok(Writer { producer, records: Records::new(ground)?, topic: ground.topic("mutations") })
    }

    /// One of them, not waited for.
    ///
    /// # Errors
    /// The client is broken.
    pub fn write(&self, namespace: &str, planned: Planned) -> Result<Written> {
        let mutation = planned.mutation(namespace);
        let value = self.records.mutation(&mutation)?;
        for _ in 0..if planned.twice { 2 } else { 1 } {
            // One partition for those of a key.
            let mut record = BaseRecord::to(&self.topic).key(mutation.ordering_key()).payload(&value);
            while let Err((error, back)) = self.producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                self.producer.poll(REST);
                record = back;
            }
        }
        self.producer.poll(Duration::ZERO);
        Ok(Written { due: mutation.due(0), planned })
    }

    /// Waits until the brokers have all of them.
    ///
    /// # Errors
    /// They have not, in time, or one was refused.
    pub fn flush(&self) -> Result<()> {
        self.producer.flush(PATIENCE)?;
        match self.producer.context().failed() {
            0 => Ok(()),
            failed => Err(format!("{failed} mutations could not be written, so nothing can be said of them").into()),
        }
    }
}

/// A plan that is written on a thread of its own.
pub struct Load {
    stop: Arc<Stop>,
    thread: JoinHandle<Result<Vec<Written>>>,
}

impl Load {
    /// Begins, with mutations by their number in the plan.
    ///
    /// # Errors
    /// As [`Writer::new`].
    pub fn start(ground: &Ground, plan: Vec<(usize, Planned)>, window: Window) -> Result<Load> {
        let (writer, stop) = (Writer::new(ground)?, Arc::<Stop>::default());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut written = Vec::with_capacity(plan.len());
            for (number, planned) in plan {
                writer.producer.poll(Duration::ZERO);
                if !window.wait(number, &stopped) {
                    break;
                }
                written.push(writer.write(NAMESPACE, planned)?);
            }
            writer.flush()?;
            Ok(written)
        });
        Ok(Load { stop, thread })
    }

    /// What was written; all of it, if nobody has given up.
    ///
    /// # Errors
    /// Something could not be.
    pub fn finish(self) -> Result<Vec<Written>> {
        self.stop.stop();
        self.thread.join().map_err(|_| Failure::from("who writes panicked"))?
    }
}
