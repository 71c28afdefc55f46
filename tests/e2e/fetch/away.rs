//! Brokers that die, hang and come back, leaders that move, topics that go.

use headrace::position::Offset;
use headrace::wire::fetch::Event;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use testbed::{Cache, Dirs, Kafka, Testbed};

use super::support::{Read, at, fetcher, fresh};
use crate::produce::support::{commit, producer, record, settings};
use crate::runtime::support::{Bench, broker, tokio};
use crate::support::{Topics, eventually};

fn admin(servers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", servers).create().unwrap()
}

/// Commits so many values to each of two partitions.
fn fill(servers: &str, topic: &str, from: usize, count: usize) {
    let id = format!("{topic}-{from}");
    let mut producer = producer(servers, settings(&id));
    for number in from..from + count {
        for partition in 0..2 {
            producer.append(&record(topic, partition, &format!("{number:0100}"))).unwrap();
        }
    }
    commit(&mut producer).unwrap();
}

fn values(read: Read) -> Vec<usize> {
    let all = read.sorted().into_iter();
    all.map(|record| String::from_utf8(record.value.unwrap()).unwrap().parse().unwrap()).collect()
}

fn twice(count: usize) -> Vec<usize> {
    (0..count).chain(0..count).collect()
}

fn aways(read: &Read) -> usize {
    read.others.iter().filter(|event| matches!(event, Event::Away(_))).count()
}

#[test]
fn n8_a_broker_that_is_killed_and_restarted_is_told_once_and_nothing_is_lost() {
    let bed = Testbed::builder().kafka().start().unwrap();
    let kafka = bed.kafka().unwrap();
    let (servers, topic) = (kafka.bootstrap_servers().to_owned(), fresh("restart"));
    Topics::new(&servers).create(&topic, 2);
    fill(&servers, &topic, 0, 20_000);
    let fetcher = fetcher(&servers, &topic, 2);
    let mut read = Read::default();
    read.until(&fetcher, "a part", |read| read.records.len() > 5_000);
    kafka.kill();
    read.until(&fetcher, "the loss", |read| aways(read) > 0);
    kafka.start().unwrap();
    read.until(&fetcher, "the rest", |read| read.records.len() == 40_000);
    let told = aways(&read);
    // The broker, and whoever knows the leaders.
    assert!((1..=4).contains(&told) && told == read.others.len(), "{:?}", read.others);
    fill(&servers, &topic, 20_000, 100);
    read.until(&fetcher, "more", |read| read.records.len() == 40_200);
    assert_eq!(values(read), twice(20_100));
}

#[test]
fn n8_leaders_that_move_among_three_brokers_are_followed() {
    let (cache, dirs) = (Cache::open().unwrap(), Dirs::new().unwrap());
    let nodes = Kafka::builder().unwrap().start_cluster(&cache, &dirs, 3).unwrap();
    let servers = nodes.iter().map(Kafka::bootstrap_servers).collect::<Vec<_>>().join(",");
    let topic = fresh("moving");
    eventually("the topic", || {
        let wanted = NewTopic::new(&topic, 2, TopicReplication::Fixed(3));
        let made = tokio().block_on(admin(&servers).create_topics([&wanted], &AdminOptions::new()));
        match made.map_err(|error| error.to_string())?.remove(0) {
            Ok(_) | Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
            Err((_, code)) => Err(code.to_string()),
        }
    });
    fill(&servers, &topic, 0, 5_000);
    let fetcher = fetcher(&servers, &topic, 2);
    let mut read = Read::default();
    read.until(&fetcher, "a part", |read| read.records.len() > 1_000);
    // Each in turn, so that both partitions' leaders move at least once.
    for (round, node) in (1..).zip(&nodes) {
        node.kill();
        fill(&servers, &topic, 5_000 * round, 5_000);
        read.until(&fetcher, "what the next leader has", |read| read.records.len() == 10_000 * (round + 1));
        node.start().unwrap();
    }
    assert!(read.others.iter().all(|event| matches!(event, Event::Away(_))), "{:?}", read.others);
    assert_eq!(values(read), twice(20_000));
    drop(nodes);
    drop(dirs);
}

#[test]
fn n8_a_topic_that_is_deleted_is_told_and_one_made_anew_is_another() {
    let (kafka, _guard) = broker();
    let bench = Bench::bare(kafka, "fetch-deleted");
    let topics = Topics::new(&bench.servers);
    let topic = fresh("deleted");
    topics.create(&topic, 2);
    fill(&bench.servers, &topic, 0, 10);
    let fetcher = fetcher(&bench.servers, &topic, 2);
    let mut read = Read::default();
    read.until(&fetcher, "all", |read| read.records.len() == 20);
    let admin = admin(&bench.servers);
    tokio().block_on(admin.delete_topics(&[&topic], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
    read.until(&fetcher, "the deletion of both", |read| read.others.len() == 2);
    assert!(read.others.iter().all(|event| matches!(event, Event::Missing { .. })), "{:?}", read.others);
    eventually("the name is free", || {
        let made = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
        let made = tokio().block_on(admin.create_topics([&made], &AdminOptions::new())).unwrap();
        made[0].as_ref().map(drop).map_err(|(_, code)| code.to_string())
    });
    read.until(&fetcher, "the other topic of that name", |read| read.others.len() == 4);
    assert!(read.others[2..].iter().all(|event| matches!(event, Event::Gone { .. })), "{:?}", read.others);
    // The owner decides what its position means now.
    fill(&bench.servers, &topic, 0, 5);
    (0..2).for_each(|partition| fetcher.seek(&at(&topic, partition), Offset(0)));
    read.until(&fetcher, "the new records", |read| read.records.len() == 30);
}
