//! Open transactions, partition by partition, as the brokers that lead them say (KIP-664): what a committed reader waits for.
//!
//! After all tests none may be open: neither one that its coordinator would end some day, nor one that no coordinator knows
//! of, which hangs for ever. Each shared broker is looked at when the process ends, after every test of it and before it is
//! stopped; if anything hangs, the process's exit code is a failure.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headrace::wire::{Address, Code, Connection, Settings, WireError};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    ApiKey, BrokerId, DescribeProducersRequest, DescribeProducersResponse, MetadataRequest, MetadataResponse,
};

use crate::raw;

/// Beyond the longest time-out of a transaction that a test leaves to the broker, and the broker's look at it every 10 s.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The process's exit code if a transaction hangs.
pub const HANGS: i32 = 102;

/// Brokers to look at when the process ends.
static WATCHED: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());

/// A transaction that is open on a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Where it wrote.
    pub topic: String,
    /// Where it wrote.
    pub partition: i32,
    /// Its producer's id.
    pub producer: i64,
    /// Its first offset there.
    pub start: i64,
}

/// All that are open on any partition of the cluster.
pub fn open(servers: &str) -> Result<Vec<Open>, String> {
    look_at(servers, |_| true)
}

/// Those of one topic.
pub fn open_in(servers: &str, topic: &str) -> Result<Vec<Open>, String> {
    look_at(servers, |name| name == topic)
}

fn look_at(servers: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<Open>, String> {
    let settings = Settings::new(servers, [("client.id", "open-transactions")]).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(look(&settings, wanted)).map_err(|error| error.to_string())
}

/// Waits until none is open.
pub fn none_open(servers: &str, patience: Duration) -> Result<(), String> {
    let none = testbed::wait::until("no open transaction", patience, || match open(servers)? {
        open if open.is_empty() => Ok(()),
        open => Err(format!("{open:?}")),
    });
    none.map_err(|error| error.to_string())
}

async fn look(settings: &Settings, wanted: impl Fn(&str) -> bool) -> Result<Vec<Open>, WireError> {
    let any = Connection::open(&settings.bootstrap_servers[0], settings).await?;
    let metadata: MetadataResponse = any.call(&MetadataRequest::default().with_topics(None), 9..).await?;
    let mut found = Vec::new();
    for broker in &metadata.brokers {
        let named = |topic: &&MetadataResponseTopic| topic.name.as_ref().is_some_and(|name| wanted(name.as_str()));
        let topics = metadata.topics.iter().filter(named).filter_map(|topic| led_by(broker.node_id, topic)).collect();
        let address = Address { host: broker.host.to_string(), port: u16::try_from(broker.port).expect("a port") };
        let connection = Connection::open(&address, settings).await?;
        let request = DescribeProducersRequest::default().with_topics(topics);
        let response: DescribeProducersResponse = raw::ask(&connection, ApiKey::DescribeProducers, 0, &request).await?;
        for topic in response.topics {
            for partition in topic.partitions {
                if let Some(code) = Code::new(partition.error_code) {
                    return Err(WireError::from_code(format!("producers of {}", topic.name.as_str()), code));
                }
                let open = partition.active_producers.iter().filter(|producer| producer.current_txn_start_offset >= 0);
                found.extend(open.map(|producer| Open {
                    topic: topic.name.to_string(),
                    partition: partition.partition_index,
                    producer: producer.producer_id.0,
                    start: producer.current_txn_start_offset,
                }));
            }
        }
    }
    Ok(found)
}

fn led_by(broker: BrokerId, topic: &MetadataResponseTopic) -> Option<TopicRequest> {
    let own = topic.partitions.iter().filter(|partition| partition.leader_id == broker);
    let own: Vec<i32> = own.map(|partition| partition.partition_index).collect();
    let name = topic.name.clone().filter(|_| !own.is_empty())?;
    Some(TopicRequest::default().with_name(name).with_partition_indexes(own))
}

/// Looks at this cluster when the process ends, and waits so long for the end of what is open. Handlers run in the reverse order of their registration: whoever stops the
/// broker at the end registers before.
pub fn watch(servers: &str, patience: Duration) {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    watched.push((servers.to_owned(), patience));
    at_exit();
}

#[expect(unsafe_code, reason = "the standard library has no hook for the end of the process")]
fn at_exit() {
    // SAFETY: `look_back` is a function without captures that may run on any thread, and it does not unwind: all that could
    // panic is on a thread of its own.
    let registered = unsafe { nix::libc::atexit(look_back) };
    assert_eq!(registered, 0, "atexit has no room");
}

#[expect(unsafe_code, reason = "the exit code of a process that is ending already can't be changed in another way")]
extern "C" fn look_back() {
    let Some((servers, patience)) = WATCHED.lock().unwrap_or_else(PoisonError::into_inner).pop() else { return };
    // This thread's locals are gone already, and tokio wants some.
    let looked = std::thread::Builder::new().spawn(move || none_open(&servers, patience));
    let looked = looked.map_err(|error| error.to_string());
    let verdict = looked.and_then(|thread| thread.join().unwrap_or_else(|_| Err("it panicked".to_owned())));
    if let Err(error) = verdict {
        eprintln!("after all tests: {error}");
        // SAFETY: it ends the process at once, without handlers; whatever children it has are killed with it (PDEATHSIG).
        unsafe { nix::libc::_exit(HANGS) }
    }
}
