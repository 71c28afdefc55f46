//! Epochs, and what a request tells of partitions.

use super::*;

fn named(partition: i32) -> Named {
    (TopicId([7; 16]), partition)
}

fn wanting(partitions: &[i32]) -> Session {
    let mut session = Session::default();
    session.want(partitions.iter().copied().map(named).collect());
    session
}

#[test]
fn r4_a_session_opens_at_0_counts_up_and_wraps_to_1() {
    let mut session = wanting(&[0]);
    assert!(!session.is_open());
    assert_eq!(session.epoch(), 0);
    session.answered(None);
    session.answered(None);
    assert_eq!((session.is_open(), session.epoch()), (true, 2));
    session.epoch = i32::MAX;
    session.answered(None);
    assert_eq!(session.epoch(), 1);
}

#[test]
fn r6_the_first_request_names_all_and_later_ones_what_has_changed() {
    let mut session = wanting(&[0, 1]);
    let first = session.delta();
    assert_eq!(first, Delta { epoch: 0, added: vec![named(0), named(1)], forgotten: vec![] });
    session.answered(Some(&first));
    assert_eq!(session.delta(), Delta { epoch: 1, added: vec![], forgotten: vec![] });
    session.want([1, 2].map(named).into());
    assert!(session.is_overfull());
    let next = session.delta();
    assert_eq!(next, Delta { epoch: 1, added: vec![named(2)], forgotten: vec![named(0)] });
    session.answered(Some(&next));
    assert!(!session.is_overfull());
    assert_eq!(session.delta(), Delta { epoch: 2, added: vec![], forgotten: vec![] });
}

#[test]
fn r6_a_recreated_topic_is_forgotten_and_added() {
    let mut session = wanting(&[0]);
    let first = session.delta();
    session.answered(Some(&first));
    let again = (TopicId([8; 16]), 0);
    session.want([again].into());
    assert_eq!(session.delta(), Delta { epoch: 1, added: vec![again], forgotten: vec![named(0)] });
}

#[test]
fn r5_after_an_error_all_is_told_again() {
    let mut session = wanting(&[0, 1]);
    let first = session.delta();
    session.answered(Some(&first));
    session.reset();
    assert_eq!(session.delta(), first);
}

#[test]
fn a_request_that_tells_nothing_of_partitions_changes_none() {
    let mut session = wanting(&[0]);
    let first = session.delta();
    session.answered(Some(&first));
    session.want([0, 1].map(named).into());
    session.answered(None);
    assert_eq!(session.delta(), Delta { epoch: 2, added: vec![named(1)], forgotten: vec![] });
}

#[path = "model/image/session.rs"]
mod image;
