//! The results of mutations: followed while a run goes on, and read from the beginning for its verdict.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use write_ahead_log::entry::MutationResult;

use super::PATIENCE;
use super::records::Records;
use crate::pause::Stop;
use crate::queue::ground::Ground;
use crate::queue::results::consumer;
use crate::reader::passes;
use crate::{Failure, Result};

/// For one look at the brokers.
const LOOK: Duration = Duration::from_millis(50);

/// The results of each mutation at each target, by token and target.
pub type Results = HashMap<(String, String), Vec<MutationResult>>;

/// All results that there are.
///
/// # Errors
/// The brokers are away, or a transaction hangs.
pub fn read(ground: &Ground) -> Result<Results> {
    let (records, mut results) = (Records::new(ground)?, Results::new());
    visit(ground, &ground.topic("results"), |payload| {
        let result = records.read_result(payload)?;
        results.entry((result.token.clone(), result.target.clone())).or_default().push(result);
        Ok(())
    })?;
    Ok(results)
}

/// Gives the value of each record of a topic to `visit`, partition by partition in order, but the partitions mixed.
///
/// # Errors
/// As [`read`], and those of `visit`.
pub fn visit(ground: &Ground, topic: &str, mut visit: impl FnMut(Option<&[u8]>) -> Result<()>) -> Result<()> {
    let (consumer, partitions) = consumer(&ground.client(), topic)?;
    let (mut ended, mut last) = (HashSet::new(), Instant::now());
    while ended.len() < partitions {
        if last.elapsed() > PATIENCE {
            return Err(format!("{topic}: {} of {partitions} partitions have no end", partitions - ended.len()).into());
        }
        match consumer.poll(LOOK) {
            Some(Ok(message)) => {
                last = Instant::now();
                visit(message.payload())?;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = ended.insert(partition),
            Some(Err(error)) if passes(&error) => {}
            Some(Err(error)) => return Err(format!("{topic}: {error}").into()),
            None => {}
        }
    }
    Ok(())
}

/// Counts what has ended, each mutation once at each target, on a thread of its own.
pub struct Follower {
    stop: Arc<Stop>,
    ended: Arc<AtomicUsize>,
    thread: JoinHandle<Result<()>>,
}

impl Follower {
    /// Begins.
    ///
    /// # Errors
    /// The brokers don't know the topic.
    pub fn start(ground: &Ground) -> Result<Follower> {
        let (topic, records) = (ground.topic("results"), Records::new(ground)?);
        let (consumer, _) = consumer(&ground.client(), &topic)?;
        let (stop, ended) = (Arc::<Stop>::default(), Arc::<AtomicUsize>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut known = HashSet::new();
            while !stopped.is_stopped() {
                match consumer.poll(LOOK) {
                    Some(Ok(message)) => {
                        let result = records.read_result(message.payload())?;
                        known.insert((result.token, result.target));
                        count.store(known.len(), Ordering::SeqCst);
                    }
                    Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                    Some(Err(error)) if passes(&error) => {}
                    Some(Err(error)) => return Err(format!("{topic}: {error}").into()),
                }
            }
            Ok(())
        });
        Ok(Follower { stop, ended, thread })
    }

    /// How many have ended by now, as it goes on.
    pub fn ended(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.ended)
    }

    /// How many have by now.
    pub fn count(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// Ends it.
    ///
    /// # Errors
    /// It could not read.
    pub fn finish(self) -> Result<()> {
        self.stop.stop();
        self.thread.join().map_err(|_| Failure::from("who follows the results panicked"))?
    }
}
