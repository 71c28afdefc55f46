//! Positions beside the open transaction of somebody who is gone (KIP-447).

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::runtime::support::{Bench, PATIENCE, broker};
use crate::support::eventually;

/// For one question.
const LOOK: Duration = Duration::from_secs(2);

fn list(bench: &Bench, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&bench.input(), 0, offset).unwrap();
    list
}

fn reader(bench: &Bench, isolation: &str) -> BaseConsumer {
    let mut config = bench.client();
    config.set("group.id", &bench.application).set("isolation.level", isolation);
    config.create().unwrap()
}

fn committed(reader: &BaseConsumer, bench: &Bench) -> Result<Offset, String> {
    let committed = reader.committed_offsets(list(bench, Offset::Invalid), LOOK);
    committed.map(|list| list.elements()[0].offset()).map_err(|error| error.to_string())
}

fn producer(bench: &Bench) -> BaseProducer {
    let mut config = bench.client();
    config.set("transactional.id", format!("{}-owner", bench.application)).set("transaction.timeout.ms", "60000");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

/// The dead owner's transaction holds back its positions until it times out, or until somebody takes its transactional id:
/// then they are there at once. The reader who does not ask for stable ones is given the old position.
#[test]
fn r31_positions_are_held_back_by_a_dead_owners_transaction_until_its_id_is_taken() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "dead-owner");
    let (stable, unstable) = (reader(&bench, "read_committed"), reader(&bench, "read_uncommitted"));
    let dead = producer(&bench);
    for (offset, ends) in [(5, true), (9, false)] {
        dead.begin_transaction().unwrap();
        let output = bench.output();
        dead.send(BaseRecord::to(&output).partition(0).key("key").payload("value")).unwrap();
        let group = stable.group_metadata().unwrap();
        dead.send_offsets_to_transaction(&list(&bench, Offset::Offset(offset)), &group, PATIENCE).unwrap();
        if ends {
            dead.commit_transaction(PATIENCE).unwrap();
        }
    }
    assert_eq!(committed(&unstable, &bench), Ok(Offset::Offset(5)), "who does not ask for stable ones");
    let started = Instant::now();
    let held_back = committed(&stable, &bench);
    println!("a stable position, asked for {LOOK:?}: {held_back:?} after {:?}", started.elapsed());
    assert!(held_back.is_err(), "{held_back:?}");
    let (started, _successor) = (Instant::now(), producer(&bench));
    let freed = eventually("a stable position", || committed(&stable, &bench));
    println!("after its id was taken: {freed:?} within {:?}", started.elapsed());
    assert_eq!(freed, Offset::Offset(5), "what was open is aborted");
}
