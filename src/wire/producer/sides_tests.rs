//! The engine with two transactional ids: what the next transaction may do while this one ends (rule N-5).

use super::completing::described;
use super::*;

/// The id, epoch and first sequence of a batch.
fn stamp(bytes: &Bytes) -> (i64, i16, i32) {
    let id = i64::from_be_bytes(bytes[43..51].try_into().unwrap());
    let epoch = i16::from_be_bytes(bytes[51..53].try_into().unwrap());
    (id, epoch, i32::from_be_bytes(bytes[53..57].try_into().unwrap()))
}

impl World {
    /// The Produce requests that are due: flight, side, and the stamp of the first batch of each.
    fn produces(&mut self) -> Vec<(u64, Side, (i64, i16, i32))> {
        let calls = self.calls();
        let produce = |call: &Call| match call {
            Call::Produce { flight, side, parts, .. } => (*flight, *side, stamp(&parts[0].bytes)),
            other => panic!("{other:?}"),
        };
        calls.iter().map(produce).collect()
    }

    /// A transaction with one batch, sealed and on its way up to EndTxn.
    fn ending(&mut self) {
        self.batch(0);
        let (flight, ..) = self.produces()[0];
        self.produced(flight, 0, 0);
        self.seal(true);
        assert!(matches!(self.calls()[..], [Call::Offsets { .. }]));
        self.positions_answered(0);
        assert!(matches!(self.calls()[..], [Call::End { .. }]));
    }
}

#[test]
fn n5_the_next_transaction_goes_out_while_this_one_ends_and_ends_after_it() {
    let mut world = world();
    world.ending();
    world.batch(0);
    let [(flight, Side::Second, (70, 0, 0))] = world.produces()[..] else { panic!("it has an id of its own") };
    world.produced(flight, 0, 0);
    world.seal(true);
    assert!(world.calls().is_empty(), "neither its positions nor its end before the decision on the one before");
    world.ended(7, 32_767);
    let first = world.committed().expect("committed");
    assert_eq!(first.next_offsets, [(Slot(4), Offset(41))]);
    assert!(matches!(world.calls()[..], [Call::Offsets { .. }]));
    let request = world.engine.offsets_request().unwrap();
    assert_eq!((request.producer_id.0, request.producer_epoch, request.transactional_id.as_str()), (70, 0, "id.2"));
    world.positions_answered(0);
    assert!(matches!(world.calls()[..], [Call::End { .. }]));
    assert_eq!(world.engine.end_request().unwrap().transactional_id.as_str(), "id.2");
    world.batch(0);
    assert!(matches!(world.produces()[..], [(_, Side::First, (7, 32_767, 0))]), "and the first id has its next epoch");
    world.ended(70, 1);
    assert_eq!(world.committed().expect("committed").next_offsets, [(Slot(4), Offset(41))]);
}

#[test]
fn n5_a_partition_takes_the_next_transaction_when_it_has_acknowledged_this_one() {
    let mut world = world();
    world.batch(0);
    world.batch(1);
    let [(both, Side::First, _)] = world.produces()[..] else { panic!("one request") };
    world.seal(false);
    world.batch(0);
    world.batch(1);
    assert!(world.calls().is_empty());
    // Of the request's two partitions one is written, the other one is not.
    world.produced(both, 0, 0);
    let [(flight, Side::Second, _)] = world.produces()[..] else { panic!("partition 0 goes on") };
    world.produced(flight, 0, 0);
    world.now += Duration::from_secs(1);
    let [(again, Side::First, (7, 32_766, 0))] = world.produces()[..] else { panic!("partition 1 goes again first") };
    world.produced(again, 1, 0);
    let calls = world.calls();
    assert!(matches!(calls[..], [Call::End { .. }, Call::Produce { side: Side::Second, .. }]), "{calls:?}");
}

#[test]
fn n7_what_ends_this_transaction_ends_the_next_one_and_both_ids_are_taken_over_anew() {
    let mut world = world();
    world.ending();
    world.batch(0);
    let (flight, ..) = world.produces()[0];
    world.engine.ended(world.ends(), Err(closed()), world.now);
    assert!(matches!(world.failure(), ProduceError::Abort(text) if text.contains("unknown")));
    world.produced(flight, 0, 0);
    world.now += Duration::from_secs(5);
    assert!(world.calls().is_empty());
    world.command(Command::Initialise);
    world.initialise(0);
    world.batch(0);
    assert!(matches!(world.produces()[..], [(_, Side::First, (7, 32_766, 0))]));
}

#[test]
fn n6_a_failure_of_the_next_transaction_ends_this_one() {
    let mut world = world();
    world.ending();
    world.batch(0);
    let (flight, ..) = world.produces()[0];
    world.produced(flight, 0, 47);
    assert!(matches!(world.failure(), ProduceError::Fenced(_)));
    assert!(world.calls().is_empty());
}

#[test]
fn n5_each_id_waits_for_its_own_transaction_to_be_complete() {
    let mut world = world();
    world.engine.asks_completion = true;
    world.ending();
    world.batch(0);
    assert!(matches!(world.produces()[..], [(_, Side::Second, _)]), "nothing of this id was decided just now");
    world.ended(7, 32_767);
    world.batch(0);
    assert!(matches!(world.produces()[..], [(_, Side::Second, _)]), "nor is it held up by the other one");
    world.seal(false);
    world.batch(1);
    world.now += Duration::from_millis(1);
    assert!(matches!(world.calls()[..], [Call::Describe(Side::First)]), "the one after it is");
    assert_eq!(world.engine.describe_request(Side::First).transactional_ids[0].as_str(), "id");
    described(&mut world, "CompleteCommit", 0);
    assert!(matches!(world.produces()[..], [(_, Side::First, (7, 32_767, 0))]));
}

#[test]
fn a_producer_that_is_closed_aborts_what_both_ids_have_open() {
    for answered in [true, false] {
        let mut world = world();
        world.ending();
        world.batch(0);
        world.produces();
        world.command(Command::Close);
        assert!(world.calls().is_empty() && !world.engine.is_closed(world.now), "its commit is on the wire");
        if answered {
            world.ended(7, 32_767);
        } else {
            world.engine.ended(world.ends(), Err(closed()), world.now);
            assert!(matches!(world.calls()[..], [Call::Abort { .. }]));
            assert_eq!(world.engine.abort_request().unwrap().transactional_id.as_str(), "id");
            world.engine.ended(world.ends(), Ok(EndTxnResponse::default().with_error_code(90)), world.now);
        }
        assert!(matches!(world.calls()[..], [Call::Abort { .. }]) && !world.engine.is_closed(world.now));
        let request = world.engine.abort_request().unwrap();
        assert_eq!((request.transactional_id.as_str(), request.producer_id.0, request.committed), ("id.2", 70, false));
        world.ended(70, 1);
        assert!(world.calls().is_empty() && world.engine.is_closed(world.now));
    }
}

#[test]
fn n5_a_plain_producer_keeps_no_batch_back() {
    let now = Instant::now();
    let engine = Engine::new(ProducerSettings::new(None), Duration::from_secs(300), now);
    let mut world = World { engine, now };
    world.command(Command::Initialise);
    assert!(matches!(world.calls()[..], [Call::Initialise(Side::First)]));
    let response = InitProducerIdResponse::default().with_producer_id(7.into());
    world.engine.initialised(Ok(response), now);
    assert!(matches!(world.engine.notices.pop(), Some(Notice::Initialised)), "it has no second id");
    world.command(Command::Topic { name: "t".into(), named: false });
    world.calls();
    world.engine.metadata(vec![("t".into(), Ok(led(1, [1, 1])))], now);
    world.batch(0);
    let (first, ..) = world.produces()[0];
    world.seal(false);
    world.batch(0);
    let [(second, Side::First, (7, 0, 1))] = world.produces()[..] else { panic!("its sequences go on") };
    world.produced(second, 0, 0);
    assert_eq!(world.committed(), None, "the first one is not acknowledged");
    world.produced(first, 0, 0);
    world.calls();
    assert!(world.committed().is_some());
}

#[test]
fn a_late_answer_to_a_commit_is_not_taken_for_one_to_an_abort() {
    let mut world = world();
    world.ending();
    world.batch(0);
    let (flight, ..) = world.produces()[0];
    world.produced(flight, 0, 47);
    world.command(Command::Close);
    assert!(matches!(world.calls()[..], [Call::Abort { .. }]), "nobody waits for the commit any more");
    let committed = EndTxnResponse::default().with_producer_id(7.into()).with_producer_epoch(32_767);
    world.engine.ended((Side::First, true), Ok(committed), world.now);
    assert!(world.calls().is_empty() && !world.engine.is_closed(world.now));
    world.engine.ended((Side::First, false), Ok(EndTxnResponse::default().with_error_code(48)), world.now);
    assert!(matches!(world.calls()[..], [Call::Abort { .. }]), "the other id's");
    world.engine.ended((Side::First, false), Ok(EndTxnResponse::default()), world.now);
    assert!(!world.engine.is_closed(world.now));
    world.engine.ended((Side::Second, false), Ok(EndTxnResponse::default()), world.now);
    assert!(world.engine.is_closed(world.now));
}

#[test]
fn n5_records_of_the_next_transaction_are_not_sent_blindly_before_its_id_is_free() {
    let mut world = world();
    world.engine.asks_completion = true;
    world.ending();
    world.batch(0);
    let (flight, ..) = world.produces()[0];
    world.produced(flight, 0, 0);
    world.ended(7, 32_767);
    world.seal(false);
    assert!(matches!(world.calls()[..], [Call::End { .. }]));
    world.batch(0);
    world.now += Duration::from_secs(1);
    assert!(matches!(world.calls()[..], [Call::Describe(Side::First)]), "however long its markers take");
    assert!(world.engine.wakes(world.now).is_some_and(|wake| wake > world.now), "and nobody spins meanwhile");
    world.ended(70, 1);
    assert!(matches!(world.produces()[..], [(_, Side::First, _)]), "now it is the one that others wait for");
}
