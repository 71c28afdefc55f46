//! A rebalance that ends while positions are on their way (rule N-4): the same member goes on, nobody else does.

use std::time::{Duration, Instant};

use headrace::wire::producer::{Member, ProduceError, Producer};
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::support::{Joined, at, initialise, outcome, producer, record, sees, settings, values};
use crate::runtime::support::{Bench, PATIENCE, broker};
use crate::support::{eventually, expect};

/// Two members of one group, of which the first was alone when its transaction was sealed.
pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) first: Joined,
    second: Joined,
    /// The place of the first before the second came.
    before: Member,
}

impl World {
    pub(super) fn new(kafka: &testbed::Kafka, name: &str) -> Self {
        let bench = Bench::new(kafka, name);
        let first = Joined::cooperative(&bench, &bench.input());
        let before = first.member();
        let second = Joined::joining(&bench, &bench.input());
        let deadline = Instant::now() + PATIENCE;
        let poll = |consumer: &BaseConsumer| consumer.poll(Duration::from_millis(20)).map(drop).unwrap_or_default();
        // Both are of the new generation, and each has its part.
        while first.member().generation <= before.generation || second.consumer.assignment().unwrap().count() == 0 {
            assert!(Instant::now() < deadline, "no rebalance");
            poll(&first.consumer);
            poll(&second.consumer);
        }
        World { bench, first, second, before }
    }

    /// Seals with the old generation; gives the producer when the coordinator has refused it.
    fn refused(&self, value: &str) -> Producer {
        self.refused_as(&self.bench.application, &self.bench.output(), value)
    }

    /// The same, with this transactional id and a record to this topic.
    pub(super) fn refused_as(&self, id: &str, topic: &str, value: &str) -> Producer {
        let mut producer = producer(&self.bench.servers, settings(id));
        producer.append(&record(topic, 0, value)).unwrap();
        producer.seal(&[at(&self.bench.input(), 0, 5)], Some(&self.before)).unwrap();
        eventually("the old generation is refused", || expect(&producer.outdated(), &Some(self.before.generation)));
        producer
    }
}

#[test]
fn n4_a_member_that_stayed_commits_under_the_new_generation_without_an_abort() {
    let (kafka, _guard) = broker();
    let world = World::new(kafka, "n4-renewed");
    let mut producer = world.refused("of the survivor");
    producer.renew(&world.first.member()).unwrap();
    outcome(&mut producer).unwrap();
    sees(&world.bench, &world.bench.output(), &["of the survivor"]);
    let position = || world.first.committed(&world.bench.input(), 0);
    eventually("the position is committed", || expect(&position(), &Some(5)));
    // And goes on, in the same session.
    producer.append(&record(&world.bench.output(), 0, "and the next")).unwrap();
    producer.seal(&[at(&world.bench.input(), 0, 6)], Some(&world.first.member())).unwrap();
    outcome(&mut producer).unwrap();
    sees(&world.bench, &world.bench.output(), &["of the survivor", "and the next"]);
}

/// What the broker would take from anybody: the place of a live member. So it is the producer that has to refuse it.
#[test]
fn n4_a_zombie_that_has_come_back_under_another_id_does_not_commit_what_it_had_open() {
    let (kafka, _guard) = broker();
    let world = World::new(kafka, "n4-zombie");
    let mut producer = world.refused("of the zombie");
    producer.renew(&world.second.member()).unwrap();
    let error = outcome(&mut producer).unwrap_err();
    assert!(matches!(error, ProduceError::Fenced(_)), "{error}");
    initialise(&mut producer);
    assert_eq!(values(&world.bench, &world.bench.output()), Vec::<String>::new());
    assert_eq!(world.first.committed(&world.bench.input(), 0), None);
    // The control arm: with that place from the beginning the same positions are committed.
    producer.append(&record(&world.bench.output(), 0, "of anybody")).unwrap();
    producer.seal(&[at(&world.bench.input(), 0, 5)], Some(&world.second.member())).unwrap();
    outcome(&mut producer).unwrap();
    sees(&world.bench, &world.bench.output(), &["of anybody"]);
}

#[test]
fn n4_who_does_not_hear_of_the_new_generation_is_fenced() {
    let (kafka, _guard) = broker();
    let world = World::new(kafka, "n4-deaf");
    let mut producer = world.refused("of the deaf");
    let error = outcome(&mut producer).unwrap_err();
    assert!(matches!(&error, ProduceError::Fenced(text) if text.contains(&world.bench.input())), "{error}");
    initialise(&mut producer);
    assert_eq!(values(&world.bench, &world.bench.output()), Vec::<String>::new());
}
