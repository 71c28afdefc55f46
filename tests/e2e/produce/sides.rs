//! Two transactional ids that take turns: the next transaction is written while this one waits for its end (rule N-5).

use std::time::Duration;

use headrace::kafka::end_transactions_of_others;
use headrace::wire::producer::{ProduceError, Producer};

use super::renewal::World;
use super::support::{at, end, outcome, record, sees, stable};
use crate::runtime::support::broker;
use crate::support::{eventually, expect};

/// Appends to partition 0 of the topic, and waits until the record is there beside that of the transaction before.
fn written_behind(world: &World, producer: &mut Producer, topic: &str, value: &str) {
    written(world, producer, topic, value, 2);
    assert_eq!(stable(&world.bench, topic, 0), 0, "the first of them is not decided");
}

fn written(world: &World, producer: &mut Producer, topic: &str, value: &str, records: i64) {
    producer.append(&record(topic, 0, value)).unwrap();
    eventually("the records are there, uncommitted", || {
        producer.serve(Duration::from_millis(6)).map_err(|error| error.to_string())?;
        expect(&end(&world.bench, topic, 0), &records)
    });
}

#[test]
fn n5_the_next_transaction_is_written_while_this_one_waits_and_is_seen_after_it() {
    let (kafka, _guard) = broker();
    let world = World::new(kafka, "n5-sides");
    let (input, output) = (world.bench.input(), world.bench.output());
    // Its positions wait for the new generation: it can't end.
    let mut producer = world.refused_as(&world.bench.application, &output, "this one");
    written_behind(&world, &mut producer, &output, "the next");
    let member = world.first.member();
    producer.renew(&member).unwrap();
    outcome(&mut producer).unwrap();
    sees(&world.bench, &output, &["this one"]);
    producer.seal(&[at(&input, 0, 6)], Some(&member)).unwrap();
    outcome(&mut producer).unwrap();
    sees(&world.bench, &output, &["this one", "the next"]);
    let position = || world.first.committed(&input, 0);
    eventually("the position is the later one", || expect(&position(), &Some(6)));
}

#[test]
fn n7_what_ends_this_transaction_ends_the_next_one_that_is_written_already() {
    let (kafka, _guard) = broker();
    let world = World::new(kafka, "n7-sides");
    let output = world.bench.output();
    let mut producer = world.refused_as(&world.bench.application, &output, "this one");
    written_behind(&world, &mut producer, &output, "the next");
    // Nobody renews the membership.
    assert!(matches!(outcome(&mut producer).unwrap_err(), ProduceError::Fenced(_)));
    drop(producer);
    // Two records, and a marker for each of the two.
    eventually("both are aborted", || expect(&stable(&world.bench, &output, 0), &4));
    sees::<&str>(&world.bench, &output, &[]);
}

#[test]
fn r31_both_ids_of_a_dead_owner_are_taken_over() {
    let (kafka, _guard) = broker();
    let world = World::new(kafka, "r31-sides");
    let (changelog, id) = (world.bench.changelog(), format!("{}-dead-0", world.bench.application));
    let mut dead = world.refused_as(&id, &changelog, "this one");
    written_behind(&world, &mut dead, &changelog, "the next");
    let mut ended = end_transactions_of_others(&world.bench.settings("heir"), &at(&changelog, 0, 0).0).unwrap();
    ended.sort();
    assert_eq!(ended, [id.clone(), format!("{id}.2")]);
    eventually("nothing is hidden any more", || expect(&stable(&world.bench, &changelog, 0), &4));
    dead.renew(&world.first.member()).unwrap();
    let error = outcome(&mut dead).unwrap_err();
    assert!(matches!(error, ProduceError::Fenced(_) | ProduceError::Abort(_)), "{error}");
}

#[test]
fn r31_what_the_other_id_has_open_elsewhere_is_ended_with_it() {
    let (kafka, _guard) = broker();
    let world = World::new(kafka, "r31-elsewhere");
    let (changelog, output) = (world.bench.changelog(), world.bench.output());
    let id = format!("{}-dead-0", world.bench.application);
    let mut dead = world.refused_as(&id, &changelog, "this one");
    written(&world, &mut dead, &output, "the next", 1);
    let mut ended = end_transactions_of_others(&world.bench.settings("heir"), &at(&changelog, 0, 0).0).unwrap();
    ended.sort();
    assert_eq!(ended, [id.clone(), format!("{id}.2")]);
    eventually("nothing of it is hidden anywhere", || {
        expect(&(stable(&world.bench, &changelog, 0), stable(&world.bench, &output, 0)), &(2, 2))
    });
}
