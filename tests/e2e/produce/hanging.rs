//! The control arm of the look at open transactions that ends each run of the tests: it sees one that hangs, and so does
//! Kafka's own tool.

use std::process::Command;
use std::time::Duration;

use bytes::BytesMut;
use headrace::wire::{Connection, Settings};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use testbed::{Kafka, Testbed};

use super::support::{commit, producer, record, settings};
use crate::runtime::support::{Bench, PATIENCE};
use crate::support::{eventually, expect, transactions};

/// Before this version Produce enlists nothing: the client tells the coordinator beforehand, or forgets to.
const PRODUCE_V1: i16 = 11;
const RUN: &str = "HEADRACE_E2E_RUN";
const TOOL: &str = "org.apache.kafka.tools.TransactionsCommand";
/// For what is not to be waited for.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// A record of a transaction that its coordinator is never told of.
fn batch(producer: &InitProducerIdResponse) -> BytesMut {
    let record = Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: producer.producer_id.0,
        producer_epoch: producer.producer_epoch,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: 0,
        timestamp: 0,
        key: None,
        value: Some("of nobody".into()),
        headers: Default::default(),
    };
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, [&record], &options).unwrap();
    batch
}

/// Leaves a transaction open on partition 0 that nobody will ever end.
async fn hang(settings: &Settings, topic: &str) {
    let id = TransactionalId(StrBytes::from_static_str("hanging"));
    let connection = Connection::open(&settings.bootstrap_servers[0], settings).await.unwrap();
    let request =
        InitProducerIdRequest::default().with_transactional_id(Some(id.clone())).with_transaction_timeout_ms(1_000);
    let identity = eventually_ok(&connection, &request).await;
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch(&identity).freeze()));
    let data = TopicProduceData::default()
        .with_name(StrBytes::from_string(topic.to_owned()).into())
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(Some(id))
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![data]);
    let response = connection.call(&request, PRODUCE_V1..=PRODUCE_V1).await.unwrap();
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

/// A coordinator that is loading is asked again.
async fn eventually_ok(connection: &Connection, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    loop {
        let response = connection.call(request, 2..=4).await.unwrap();
        match response.error_code {
            0 => return response,
            14..=16 => tokio::task::yield_now().await,
            code => panic!("error code {code}"),
        }
    }
}

/// The exit code of a run of tests on these brokers.
fn end_of_a_run(servers: &str) -> Option<i32> {
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["produce::hanging::the_run_itself", "--exact"])
        .env(RUN, servers)
        .output();
    run.unwrap().status.code()
}

/// Not a test but what [`end_of_a_run`] runs; without the environment it does nothing.
#[test]
fn the_run_itself() {
    if let Ok(servers) = std::env::var(RUN) {
        transactions::watch(&servers, IMPATIENCE);
    }
}

#[test]
fn a_transaction_that_hangs_is_seen_and_kafkas_own_tool_says_the_same() {
    // As brokers before 3.6 were: they believe whoever produces.
    let kafka = Kafka::builder().unwrap().property("transaction.partition.verification.enable", "false");
    let bed = Testbed::builder().kafka_with(kafka).start().unwrap();
    let kafka = bed.kafka().unwrap();
    let bench = Bench::new(kafka, "hanging");
    let output = bench.output();
    let tool =
        |args: &[&str]| kafka.java_tool(TOOL, &[&["--bootstrap-server", &bench.servers], args].concat()).unwrap();
    let node = kafka.node_id().to_string();
    let find = || tool(&["find-hanging", "--broker-id", &node, "--max-transaction-timeout", "0"]);

    // Without one: both say so.
    let mut producer = producer(&bench.servers, settings(&bench.application));
    producer.append(&record(&output, 1, "committed")).unwrap();
    commit(&mut producer).unwrap();
    transactions::none_open(&bench.servers, PATIENCE).unwrap();
    assert!(!find().contains(&output));

    let servers = Settings::new(&bench.servers, []).unwrap();
    crate::runtime::support::tokio().block_on(hang(&servers, &output));
    let error = transactions::none_open(&bench.servers, IMPATIENCE).unwrap_err();
    assert!(error.contains(&output), "{error}");
    let found = find();
    assert!(found.contains(&output), "{found}");
    assert_eq!(end_of_a_run(&bench.servers), Some(transactions::HANGS));

    // And it can be ended by hand, which is what the tool is for.
    tool(&["abort", "--topic", &output, "--partition", "0", "--start-offset", "0"]);
    eventually("it is ended", || expect(&transactions::open_in(&bench.servers, &output)?, &Vec::new()));
    assert!(!find().contains(&output));
    assert_eq!(end_of_a_run(&bench.servers), Some(0));
}
