//! A broker that hangs for longer than requests are waited for: connections stay open and nobody answers.

use std::time::{Duration, Instant};

use headrace::position::Partition;
use headrace::wire::producer::ProducerSettings;
use headrace::wire::{Client, Settings};
use testbed::Kafka;

use super::support::{commit, producer, record, sees, settings};
use super::turns::Turns;
use crate::runtime::support::{Bench, PATIENCE, broker_alone};
use crate::support::eventually;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than requests are waited for, and than the cluster waits for a broker (3 s).
const HUNG: Duration = Duration::from_secs(8);
const TOPIC: &str = "hung";
const PARTITIONS: i32 = 6;

fn patient(id: &str) -> ProducerSettings {
    ProducerSettings {
        transaction_timeout: Duration::from_secs(60),
        request_timeout: REQUEST_TIMEOUT,
        delivery_timeout: PATIENCE,
        ..settings(id)
    }
}

/// The state of a process, as the system has it: T is stopped.
fn state(kafka: &Kafka) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", kafka.pid().unwrap())).unwrap();
    stat.rsplit(')').next().unwrap().trim().chars().next().unwrap()
}

#[test]
fn n8_a_broker_that_hangs_for_longer_than_a_request_costs_nothing() {
    let (kafka, _guard) = broker_alone();
    let bench = Bench::new(kafka, "n8-hung");
    let output = bench.output();
    let mut producer = producer(&bench.servers, patient(&bench.application));
    let texts: Vec<String> = (0..3_000).map(|number| format!("value {number:04}")).collect();
    let (first, rest) = texts.split_at(1_000);
    for text in first {
        producer.append(&record(&output, 0, text)).unwrap();
    }
    producer.serve(Duration::from_millis(50)).unwrap();
    kafka.pause().unwrap();
    let begun = Instant::now();
    for text in rest {
        producer.append(&record(&output, 0, text)).unwrap();
    }
    while begun.elapsed() < HUNG {
        producer.serve(Duration::from_millis(50)).unwrap();
        assert_eq!(state(kafka), 'T', "the control: it hangs");
    }
    kafka.resume().unwrap();
    commit(&mut producer).unwrap();
    sees(&bench, &output, &texts);
}

/// Leaders of all partitions.
fn leaders(client: &Client, runtime: &tokio::runtime::Runtime) -> Vec<i32> {
    (0..PARTITIONS)
        .map(|partition| {
            eventually("a leader", || {
                client.forget_leader(TOPIC, Partition(partition));
                let leader = runtime.block_on(client.leader(TOPIC, Partition(partition)));
                leader.map(|leader| leader.broker.0).map_err(|error| error.to_string())
            })
        })
        .collect()
}

#[test]
fn n8_one_of_three_brokers_hangs_and_comes_back_and_every_record_is_there_once() {
    const TURNS: usize = 18;
    let turns = Turns::start(TOPIC, PARTITIONS);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entered = runtime.enter();
    let mut cluster = Settings::new(&turns.servers, []).unwrap();
    cluster.request_timeout = REQUEST_TIMEOUT;
    let client = Client::new(cluster);
    drop(entered);
    let mut producer = producer(&turns.servers, patient("hung-id"));
    let mut moved = 0;
    for turn in 0..TURNS {
        let node = &turns.nodes[turn / 6];
        let id = i32::try_from(node.node_id()).unwrap();
        match turn % 6 {
            2 => {
                moved += leaders(&client, &runtime).iter().filter(|leader| **leader == id).count();
                node.pause().unwrap();
            }
            4 => {
                assert_eq!(state(node), 'T', "the control: it hangs");
                eventually("all leaders are elsewhere", || match leaders(&client, &runtime) {
                    leaders if leaders.contains(&id) => Err(format!("{leaders:?}")),
                    _ => Ok(()),
                });
                node.resume().unwrap();
            }
            _ => {}
        }
        turns.commit(&mut producer, turn);
    }
    assert!(moved > 0, "the control: no broker that hung was a leader");
    turns.check(TURNS);
}
