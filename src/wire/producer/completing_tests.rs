//! The engine between two transactions with one id: the markers of the first are awaited.

use kafka_protocol::messages::DescribeTransactionsResponse;
use kafka_protocol::messages::describe_transactions_response::TransactionState;

use super::*;

pub(super) fn described(world: &mut World, state: &'static str, code: i16) {
    let state =
        TransactionState::default().with_transaction_state(StrBytes::from_static_str(state)).with_error_code(code);
    let response = DescribeTransactionsResponse::default().with_transaction_states(vec![state]);
    world.engine.described(Side::First, Ok(response), world.now);
}

/// A transaction that has ended, and a batch of the next one.
fn between_two() -> World {
    let mut world = alone();
    world.engine.asks_completion = true;
    world.batch(0);
    let (flight, _) = world.produce();
    world.produced(flight, 0, 0);
    world.seal(false);
    assert!(matches!(world.calls()[..], [Call::End { .. }]));
    world.ended(7, 32_767);
    assert!(world.calls().is_empty(), "nobody is asked while there is nothing to be sent");
    let later = world.now + Duration::from_millis(10);
    assert!(world.engine.wakes(later).is_some_and(|wake| wake > later), "nor is the thread kept awake");
    world.batch(0);
    assert!(world.calls().is_empty(), "it can't be complete yet");
    world.now += Duration::from_millis(1);
    assert!(matches!(world.calls()[..], [Call::Describe(_)]));
    world
}

#[test]
fn n5_the_next_transaction_begins_when_the_one_before_is_complete() {
    let mut world = between_two();
    described(&mut world, "PrepareCommit", 0);
    assert!(world.calls().is_empty());
    world.now += Duration::from_millis(1);
    assert!(matches!(world.calls()[..], [Call::Describe(_)]));
    described(&mut world, "CompleteCommit", 0);
    world.produce();
}

#[test]
fn n5_the_next_transaction_begins_all_the_same_where_completion_is_not_told() {
    for code in [0, 53] {
        let mut world = between_two();
        if code == 0 {
            // No answer.
            world.now += Duration::from_millis(60);
        } else {
            described(&mut world, "", code);
            assert!(!world.engine.asks_completion, "not allowed once, not allowed again");
        }
        world.produce();
    }
}
