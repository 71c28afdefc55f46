//! The native client against real brokers: connections, security, a cluster whose leaders move, and servers that are no
//! brokers.

mod calls;
mod cluster;
mod interop;
mod secure;
mod sessions;
mod strangers;
mod tokens;
pub(crate) mod told;

use std::future::Future;
use std::time::{Duration, Instant};

use headrace::position::Partition;
use headrace::wire::{Client, Settings, WireError};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::{ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::support::DEADLINE;

/// Bound of a request where a test makes a broker silent; long enough for a broker that is only busy.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two looks at the same thing.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs a test on a runtime with several threads: what it awaits has to be `Send`.
fn run<F: Future<Output = ()> + Send + 'static>(test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let test = runtime.spawn(test);
    if let Err(error) = runtime.block_on(test) {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn settings(bootstrap_servers: &str, properties: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::new(bootstrap_servers, properties.iter().copied()).unwrap();
    settings.request_timeout = REQUEST_TIMEOUT;
    settings
}

fn client(bootstrap_servers: &str, properties: &[(&str, &str)]) -> Client {
    Client::new(settings(bootstrap_servers, properties))
}

/// Tries until it succeeds or fails for good, as a caller of the client is meant to.
async fn retried<T, F: Future<Output = Result<T, WireError>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let start = Instant::now();
    let mut tick = tokio::time::interval(PAUSE);
    loop {
        tick.tick().await;
        match attempt().await {
            Ok(found) => return found,
            Err(error) => {
                assert!(error.is_retriable(), "{what}: {error}");
                assert!(start.elapsed() < DEADLINE, "{what}: {error}");
            }
        }
    }
}

/// Metadata of topics that may not exist.
fn metadata_of(topics: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default()
        .with_topics(Some(topics.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false)
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Asks a partition's leader for its end, which nobody else may answer. Gives what the client should forget as an error.
async fn end_offset(client: &Client, topic: &str, partition: i32) -> Result<i64, WireError> {
    let leader = client.leader(topic, Partition(partition)).await?;
    let wanted = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(-1);
    let wanted = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![wanted]);
    let response = client.connection(leader.broker).await?.call(&request, ..=8).await?;
    let found = &response.topics[0].partitions[0];
    match headrace::wire::Code::new(found.error_code) {
        None => Ok(found.offset),
        Some(code) => {
            client.forget_leader(topic, Partition(partition));
            Err(WireError::from_code("end offset", code))
        }
    }
}
