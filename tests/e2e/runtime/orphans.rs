//! Partitions that the group rests without an owner of (KIP-345 with KIP-429), made and mended.

use std::path::Path;
use std::time::Duration;

use headrace::kafka::{ConsumerError, Event, Fetching, GroupConsumer, Rebalance, leave_group, unowned};
use headrace::position::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use testbed::wait;

use super::child::{Kind, Process};
use super::support::{Bench, PARTITIONS, PATIENCE, broker};

const KEYS: u64 = 50;
/// Well over what a partition is without an owner while it moves here, and well under what the runtime waits for it.
const STAYS_SO: Duration = Duration::from_secs(3);

fn look(bench: &Bench, topics: &[String]) -> Option<Vec<TopicPartition>> {
    let settings = bench.settings("asks");
    // The first group of a cluster, and one whose coordinator is away, is asked for again.
    wait::until("the coordinator", PATIENCE, || unowned(&settings, topics).map_err(|error| error.to_string()))
        .expect("asked")
}

fn start(bench: &Bench, instance: &str, directory: &Path) -> Process {
    Process::start(bench, Kind::ExactlyOnce, instance, directory, Duration::from_millis(50))
}

fn wait_owned(bench: &Bench) {
    wait::until("all have an owner", PATIENCE, || match look(bench, &[bench.input()]) {
        Some(unowned) if unowned.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("owned");
}

fn has_orphans(bench: &Bench) -> Result<(), String> {
    match look(bench, &[bench.input()]) {
        Some(unowned) if !unowned.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Polls until something comes; what is assigned is taken, what is revoked is given back here and not answered.
fn poll_until<T>(member: &GroupConsumer, what: &str, mut is_it: impl FnMut(&Event<'_>) -> Option<T>) -> T {
    wait::until(what, PATIENCE, || {
        let event = member.poll(Duration::from_millis(50));
        if let Event::Rebalance(assigned @ Rebalance::Assigned(_)) = &event {
            member.answer(assigned);
        }
        is_it(&event).ok_or_else(|| "something else came".to_owned())
    })
    .expect("polled")
}

/// The member that "one" is before it is killed, as far as the group can tell. It was told to give partitions up, and does
/// not: the group stays between the two rebalances of a move for as long as it takes.
fn between_two_rebalances(bench: &Bench, member: &GroupConsumer, two: &Path) -> (Process, Rebalance) {
    poll_until(member, "all partitions", |event| match event {
        Event::Rebalance(Rebalance::Assigned(taken)) => (taken.len() == PARTITIONS as usize).then_some(()),
        _ => None,
    });
    let two = start(bench, "two", two);
    let revoked = poll_until(member, "the first of two rebalances", |event| match event {
        Event::Rebalance(revoked @ Rebalance::Revoked { .. }) => Some(revoked.clone()),
        _ => None,
    });
    (two, revoked)
}

#[test]
fn r14_a_partition_that_nobody_owns_is_found_and_finds_an_owner() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "orphan");
    let directories = [tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory")];
    let member = GroupConsumer::subscribe(&bench.settings("one"), 0, &[&bench.input()], Fetching::Librdkafka);
    let member = member.expect("member");
    let (_two, revoked) = between_two_rebalances(&bench, &member, directories[1].path());
    let _one = start(&bench, "one", directories[0].path());
    // It has the place of the member before it, and what that was told to keep.
    poll_until(&member, "its successor", |event| match event {
        Event::Error(ConsumerError::Fenced(_)) => Some(()),
        _ => None,
    });
    wait::until("partitions without an owner", PATIENCE, || has_orphans(&bench)).expect("the case is made");
    wait::until("nothing changes", STAYS_SO, || match has_orphans(&bench) {
        Ok(()) => Err("as it was".to_owned()),
        Err(other) => Ok(other),
    })
    .expect_err("without the runtime's mend they stay so");
    member.answer(&revoked);
    drop(member);
    bench.produce(0..4_000, KEYS);
    bench.wait_drained();
    assert_eq!(bench.violations(4_000, KEYS), Vec::<String>::new());
    wait_owned(&bench);
}

#[test]
fn who_owns_what_is_asked_of_the_coordinator_and_a_member_is_taken_out_by_its_instance_id() {
    let (kafka, _guard) = broker();
    let bench = Bench::new(kafka, "owners");
    let settings = bench.settings("one");
    let topics = [bench.input(), bench.output()];
    assert_eq!(look(&bench, &topics), None, "there is no group yet");
    let mut config = bench.client();
    config.set("group.id", &bench.application).set("group.instance.id", format!("{}-one-0", bench.application));
    let member: BaseConsumer = config.create().expect("consumer");
    member.subscribe(&[&bench.input()]).expect("subscribe");
    wait::until("its assignment", PATIENCE, || {
        drop(member.poll(Duration::from_millis(50)));
        match look(&bench, &topics) {
            // It reads one of the two.
            Some(unowned) if unowned.iter().all(|at| *at.topic == *bench.output()) && unowned.len() == 4 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .expect("assigned");
    leave_group(&settings, 1).expect("who is not there is no error");
    assert_eq!(look(&bench, &topics).map(|unowned| unowned.len()), Some(4), "nothing has changed");
    leave_group(&settings, 0).expect("taken out");
    assert_eq!(unowned(&settings, &topics).expect("empty"), None);
    assert!(
        unowned(&settings, &["no-such-topic".to_owned()]).is_ok_and(|found| found.is_none()),
        "no group, no question"
    );
}
