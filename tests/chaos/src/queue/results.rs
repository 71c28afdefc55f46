//! The results of tasks: followed while a run goes on, and read from the beginning for its verdict.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use task_queue::tasks::TaskResult;
use testbed::wait;

use super::PATIENCE;
use super::ground::{Ground, Records};
use crate::pause::Stop;
use crate::reader::passes;
use crate::{Failure, Result};

/// For one look at the brokers.
const LOOK: Duration = Duration::from_millis(50);

/// The results of each task, in the order in which they stand.
pub type Results = HashMap<String, Vec<TaskResult>>;

/// Reads what is committed from the beginning, all partitions.
pub(crate) fn consumer(client: &ClientConfig, topic: &str) -> Result<(BaseConsumer, usize)> {
    let mut config = client.clone();
    config.set("group.id", format!("reader-of-{topic}")).set("enable.partition.eof", "true");
    config.set("isolation.level", "read_committed").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "50");
    let consumer: BaseConsumer = config.create()?;
    let partitions = wait::until("the topic to be known", PATIENCE, || {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(|error| error.to_string())?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if partitions > 0 { Ok(partitions) } else { Err(format!("{topic} is not")) }
    })?;
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, i32::try_from(partitions)? - 1);
    list.set_all_offsets(Offset::Beginning)?;
    consumer.assign(&list)?;
    Ok((consumer, partitions))
}

/// All results that there are.
///
/// # Errors
/// The brokers are away, or a transaction hangs.
pub fn read(ground: &Ground) -> Result<Results> {
    let (topic, records) = (ground.topic("results"), Records::new(ground)?);
    let (consumer, partitions) = consumer(&ground.client(), &topic)?;
    let (mut results, mut ended, mut last) = (Results::new(), HashSet::new(), Instant::now());
    while ended.len() < partitions {
        if last.elapsed() > PATIENCE {
            return Err(format!("{topic}: {} of {partitions} partitions have no end", partitions - ended.len()).into());
        }
        match consumer.poll(LOOK) {
            Some(Ok(message)) => {
                last = Instant::now();
                let result = records.read_result(message.payload())?;
                results.entry(result.id.clone()).or_default().push(result);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = ended.insert(partition),
            Some(Err(error)) if passes(&error) => {}
            Some(Err(error)) => return Err(format!("{topic}: {error}").into()),
            None => {}
        }
    }
    Ok(results)
}

/// Counts the tasks that have ended, on a thread of its own.
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
                        known.insert(records.read_result(message.payload())?.id);
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

    /// How many tasks have ended by now, as it goes on.
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
