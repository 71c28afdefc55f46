//! The input: events of random origins, each origin's in order, at a rate or a portion at a time.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::application::PATIENCE;
use crate::event::Event;
use crate::ground::Ground;
use crate::pause::Stop;
use crate::{Failure, Result};

/// Origins, which are the keys of the first stage.
pub const ORIGINS: u32 = 200;
/// Between two portions of a load that goes by a rate.
const TICK: Duration = Duration::from_millis(10);

/// Produces events, and knows how many of each origin it has produced.
pub struct Source {
    producer: BaseProducer,
    topic: String,
    dice: fastrand::Rng,
    produced: Vec<u64>,
}

impl Source {
    /// Whose events come next, the seed decides.
    ///
    /// # Errors
    /// librdkafka refuses the configuration, which does not happen.
    pub fn new(ground: &Ground, seed: u64) -> Result<Source> {
        let mut config = ground.client();
        // Idempotent: over a bad network, and across a broker's restart, the input must be there once, too.
        config.set("linger.ms", "5").set("enable.idempotence", "true");
        // By default a request that the network swallowed is waited for as long as anybody here has patience: a minute.
        config.set("socket.timeout.ms", "10000");
        let [first, _] = ground.stages();
        Ok(Source {
            producer: config.create()?,
            topic: first.input,
            dice: fastrand::Rng::with_seed(seed),
            produced: vec![0; ORIGINS as usize],
        })
    }

    /// So many events more, not waited for.
    ///
    /// # Errors
    /// The client is broken.
    pub fn send(&mut self, events: u64) -> Result<()> {
        for _ in 0..events {
            let origin = self.dice.u32(0..ORIGINS);
            let number = &mut self.produced[origin as usize];
            *number += 1;
            let event = Event::nth(origin, *number);
            let (key, value) = (event.key(), event.to_string());
            let mut record = BaseRecord::to(&self.topic).key(&key).payload(&value);
            while let Err((error, back)) = self.producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                // While the broker is away.
                self.producer.poll(TICK);
                record = back;
            }
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits until the broker has all of them.
    ///
    /// # Errors
    /// It has not, in time.
    pub fn flush(&mut self) -> Result<()> {
        self.producer.flush(PATIENCE)?;
        Ok(())
    }

    /// How many events of each origin there are.
    pub fn produced(&self) -> &[u64] {
        &self.produced
    }
}

/// A load on a thread of its own, at a rate, until it is finished.
pub struct Load {
    stop: Arc<Stop>,
    thread: JoinHandle<Result<Vec<u64>>>,
}

impl Load {
    /// Starts it; `rate` is in events per second.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn start(ground: &Ground, seed: u64, rate: u64) -> Result<Load> {
        let mut source = Source::new(ground, seed)?;
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        let portion = (rate * TICK.as_millis() as u64 / 1000).max(1);
        let thread = std::thread::spawn(move || {
            while stopped.pause(TICK) {
                source.send(portion)?;
            }
            source.flush()?;
            Ok(source.produced)
        });
        Ok(Load { stop, thread })
    }

    /// Ends it; how many events of each origin were produced.
    ///
    /// # Errors
    /// Something could not be produced.
    pub fn finish(self) -> Result<Vec<u64>> {
        self.stop.stop();
        self.thread.join().map_err(|_| Failure::from("the load panicked"))?
    }
}
