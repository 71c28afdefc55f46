//! Calls to a broker: order, size, time, and what happens to them when the broker hangs, restarts or hangs up.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use headrace::position::Partition;
use headrace::wire::{Client, Connection, MAX_IN_FLIGHT, Outgoing, TrySendError, WireError};
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::Encodable;
use testbed::{Kafka, Testbed};

use super::{REQUEST_TIMEOUT, client, end_offset, metadata_of, retried, run};
use crate::support::{DEADLINE, Topics, eventually, secured};

/// A version of Metadata that every supported broker has.
const VERSION: i16 = 12;

async fn any_connection(client: &Client) -> Connection {
    client.transaction_version().await.unwrap();
    let (broker, _) = client.brokers()[0].clone();
    client.connection(broker).await.unwrap()
}

fn outgoing(topics: &[&str]) -> Outgoing {
    let mut body = BytesMut::new();
    metadata_of(topics).encode(&mut body, VERSION).unwrap();
    Outgoing { key: ApiKey::Metadata, version: VERSION, body: vec![body.freeze()], timeout: None }
}

fn names(response: &MetadataResponse) -> Vec<String> {
    response.topics.iter().map(|topic| topic.name.as_ref().unwrap().to_string()).collect()
}

#[test]
fn a_client_finds_the_cluster_behind_a_dead_bootstrap_server() {
    let bed = secured();
    let kafka = bed.kafka().unwrap();
    Topics::new(kafka.bootstrap_servers()).create("wire-calls", 3);
    let servers = format!("127.0.0.1:1,{}", kafka.bootstrap_servers());
    run(async move {
        let client = client(&servers, &[]);
        assert_eq!(client.transaction_version().await.unwrap(), 2, "every supported broker has transactions v2");
        retried("the new topic", || async { client.partitions("wire-calls").await }).await;
        assert_eq!(client.partitions("wire-calls").await.unwrap(), 3);
        let leader = client.leader("wire-calls", Partition(2)).await.unwrap();
        assert_ne!(leader.topic_id.0, [0; 16]);
        // Its leader may not know yet that it is one.
        let end = retried("the leader's answer", || end_offset(&client, "wire-calls", 2)).await;
        assert_eq!(end, 0);
    });
}

#[test]
fn an_unknown_topic_is_told_and_found_once_it_is_there() {
    let bed = secured();
    let servers = bed.kafka().unwrap().bootstrap_servers().to_owned();
    run(async move {
        let client = client(&servers, &[]);
        let error = client.leader("wire-later", Partition(0)).await.unwrap_err();
        assert!(matches!(&error, WireError::UnknownTopic { topic } if topic == "wire-later"), "{error}");
        assert!(error.is_retriable() && error.code().unwrap().number() == 3);
        let topics = servers.clone();
        tokio::task::spawn_blocking(move || Topics::new(&topics).create("wire-later", 1)).await.unwrap();
        retried("the topic", || async { client.leader("wire-later", Partition(0)).await }).await;
        let error = client.leader("wire-later", Partition(1)).await.unwrap_err();
        assert_eq!(error.to_string(), "topic wire-later has 1 partitions, there is no 1");
    });
}

#[test]
fn pipelined_calls_answer_in_order() {
    let bed = secured();
    let servers = bed.kafka().unwrap().bootstrap_servers().to_owned();
    run(async move {
        let client = client(&servers, &[]);
        let connection = any_connection(&client).await;
        // Many more than may be in flight; every one asks for another name.
        let wanted: Vec<String> = (0..MAX_IN_FLIGHT * 20).map(|number| format!("nobody-{number}")).collect();
        let mut replies = Vec::new();
        for name in &wanted {
            replies.push(connection.send(outgoing(&[name])).await.unwrap());
        }
        for (reply, name) in replies.into_iter().zip(&wanted) {
            let response = reply.decoded::<MetadataRequest>(VERSION).await.unwrap();
            assert_eq!(names(&response), std::slice::from_ref(name));
        }
    });
}

#[test]
fn a_request_of_some_megabytes_goes_out_in_pieces() {
    const TOPICS: usize = 40_000;
    let bed = secured();
    let servers = bed.kafka().unwrap().bootstrap_servers().to_owned();
    run(async move {
        let client = client(&servers, &[]);
        let connection = any_connection(&client).await;
        let wanted: Vec<String> = (0..TOPICS).map(|number| format!("{number:0100}")).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let whole = outgoing(&wanted);
        let mut rest = whole.body[0].clone();
        let mut body = Vec::new();
        while !rest.is_empty() {
            body.push(rest.split_to(rest.len().min(9_999)));
            body.push(Bytes::new());
        }
        let pieces = Outgoing { body, timeout: Some(DEADLINE), ..whole };
        let reply = connection.send(pieces).await.unwrap();
        // Behind it: nothing of it gets between the pieces, and its time begins when the one before is answered.
        let next = connection.call(&metadata_of(&["after"]), ..).await.unwrap();
        let response = reply.decoded::<MetadataRequest>(VERSION).await.unwrap();
        let mut found = names(&response);
        found.sort();
        assert!(found == wanted, "{} of {TOPICS} names came back", found.len());
        assert_eq!(names(&next), ["after"]);
    });
}

#[test]
fn a_version_that_the_broker_lacks_is_refused_by_both_ranges() {
    let bed = secured();
    let servers = bed.kafka().unwrap().bootstrap_servers().to_owned();
    run(async move {
        let connection = any_connection(&client(&servers, &[])).await;
        let error = connection.call(&metadata_of(&[]), 14..).await.unwrap_err();
        assert!(matches!(error, WireError::Unsupported { .. }), "{error}");
        assert!(!error.is_retriable() && connection.is_open());
    });
}

#[test]
fn a_broker_that_wants_to_be_left_alone_is() {
    let bed = secured();
    let servers = bed.kafka().unwrap().bootstrap_servers().to_owned();
    run(async move {
        let connection = any_connection(&client(&servers, &[])).await;
        let span = std::time::Duration::from_millis(300);
        let start = Instant::now();
        connection.hold_back(span);
        connection.call(&metadata_of(&[]), ..).await.unwrap();
        assert!(start.elapsed() >= span, "asked after {:?}", start.elapsed());
    });
}

#[test]
fn a_hung_broker_times_out_for_all_who_wait() {
    let bed = Testbed::builder().kafka().start().unwrap();
    run(async move {
        let kafka = bed.kafka().unwrap();
        let client = client(kafka.bootstrap_servers(), &[]);
        let connection = any_connection(&client).await;
        kafka.pause().unwrap();
        let start = Instant::now();
        let mut replies = Vec::new();
        for _ in 0..3 {
            replies.push(connection.send(outgoing(&["t"])).await.unwrap());
        }
        for reply in replies {
            let error = reply.await.unwrap_err();
            assert!(matches!(error, WireError::TimedOut { .. }) && error.is_retriable(), "{error}");
        }
        assert!(start.elapsed() >= REQUEST_TIMEOUT && start.elapsed() < DEADLINE);
        assert!(!connection.is_open(), "a connection fails as a whole");
        assert!(matches!(connection.try_send(outgoing(&["t"])), Err(TrySendError::Ended(WireError::TimedOut { .. }))));
        // It hangs still: opening another one ends too.
        let (broker, _) = client.brokers()[0].clone();
        let error = client.open(broker).await.unwrap_err();
        assert!(matches!(error, WireError::Connect { .. }), "{error}");
        kafka.resume().unwrap();
        retried("the broker", || async { client.connection(broker).await?.call(&metadata_of(&["t"]), ..).await }).await;
    });
}

#[test]
fn a_connection_that_the_broker_ends_is_noticed_and_opened_again() {
    // Idle connections end after a second.
    let kafka = Kafka::builder().unwrap().property("connections.max.idle.ms", "1000");
    let bed = Testbed::builder().kafka_with(kafka).start().unwrap();
    let servers = bed.kafka().unwrap().bootstrap_servers().to_owned();
    run(async move {
        let client = client(&servers, &[]);
        let idle = any_connection(&client).await;
        let waiting = idle.clone();
        let noticed = move || eventually("the end of the idle connection", || waiting.ended().ok_or("open".to_owned()));
        let error = tokio::task::spawn_blocking(noticed).await.unwrap();
        assert!(matches!(error, WireError::Closed { .. }) && !idle.is_open(), "{error}");
        assert!(any_connection(&client).await.call(&metadata_of(&[]), ..).await.is_ok());

        // A restart: what is under way has an error, and the same client goes on.
        let before = any_connection(&client).await;
        let bed = tokio::task::spawn_blocking(move || {
            bed.kafka().unwrap().restart().unwrap();
            bed
        })
        .await
        .unwrap();
        assert!(before.call(&metadata_of(&[]), ..).await.is_err());
        let (broker, _) = client.brokers()[0].clone();
        retried("the restarted broker", || async {
            client.connection(broker).await?.call(&metadata_of(&["t"]), ..).await
        })
        .await;
        drop(bed);
    });
}
