//! What is sent to a broker next, in each situation.

use super::*;
use crate::wire::TopicId;

const LINGER: Duration = Duration::from_millis(2);
const WAIT: Duration = Duration::from_millis(500);

fn situation(now: Instant) -> Situation {
    Situation { now, linger: LINGER, room: 100, enough: 25, waiting: false, fits: true, fetching: true }
}

fn open(now: Instant) -> Node {
    let mut node = Node::default();
    node.session.want([(TopicId([1; 16]), 0)].into());
    let Plan::Fetch { delta, .. } = node.plan(situation(now)) else { panic!("the first request opens") };
    node.sent(100, now, WAIT);
    node.answered(Some(&delta));
    node
}

#[test]
fn r3_one_request_at_a_time() {
    let now = Instant::now();
    let mut node = open(now);
    assert!(matches!(node.plan(situation(now)), Plan::Fetch { records: 100, .. }));
    node.sent(100, now, WAIT);
    assert_eq!(node.plan(Situation { waiting: true, ..situation(now) }), Plan::Nothing);
}

#[test]
fn a_little_room_and_the_first_acknowledgement_wait_for_company() {
    let now = Instant::now();
    let mut node = open(now);
    for little in [Situation { room: 3, ..situation(now) }, Situation { room: 0, waiting: true, ..situation(now) }] {
        node.since = None;
        assert_eq!(node.plan(little), Plan::Nothing);
        assert_eq!(node.wakes(LINGER, now), Some(now + LINGER));
        assert_ne!(node.plan(Situation { now: now + LINGER, ..little }), Plan::Nothing);
    }
}

#[test]
fn without_room_acknowledgements_go_alone_and_with_room_along() {
    let now = Instant::now();
    let mut node = open(now);
    assert!(matches!(node.plan(Situation { waiting: true, ..situation(now) }), Plan::Fetch { .. }));
    let later = now + LINGER;
    let full = Situation { now: later, room: 0, waiting: true, ..situation(now) };
    node.since = Some(now);
    assert_eq!(node.plan(full), Plan::Acknowledge);
}

/// An acknowledgement within a fetch would make the broker read the partition again.
#[test]
fn r6_what_is_of_a_partition_that_is_not_read_any_more_goes_alone() {
    let now = Instant::now();
    let mut node = open(now);
    assert_eq!(node.plan(Situation { waiting: true, fits: false, ..situation(now) }), Plan::Acknowledge);
}

#[test]
fn r6_what_is_not_read_any_more_is_told_without_room_too() {
    let now = Instant::now();
    let mut node = open(now);
    node.session.want([].into());
    match node.plan(Situation { room: 0, ..situation(now) }) {
        Plan::Fetch { records: 0, delta } => assert_eq!(delta.forgotten.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn r5_after_a_failure_the_session_is_opened_again_after_a_while() {
    let now = Instant::now();
    let mut node = open(now);
    node.sent(1, now, WAIT);
    node.failed(now);
    assert_eq!(node.plan(situation(now)), Plan::Nothing);
    match node.plan(situation(now + Duration::from_secs(2))) {
        Plan::Fetch { delta, .. } => assert_eq!((delta.epoch, delta.added.len()), (0, 1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_acknowledged_without_a_session() {
    let now = Instant::now();
    let mut node = Node::default();
    assert_eq!(node.plan(Situation { waiting: true, fetching: false, ..situation(now) }), Plan::Nothing);
}

#[test]
fn a_broker_that_says_nothing_gives_its_places_to_others_and_is_asked_about_now_and_then() {
    let now = Instant::now();
    let mut node = open(now);
    node.sent(100, now, WAIT);
    let late = now + WAIT + SLOW;
    assert!(!node.turns_slow(now + WAIT) && !node.is_slow() && node.reserved == 100);
    assert_eq!(node.wakes(LINGER, now), Some(late));
    assert!(node.turns_slow(late) && node.is_slow() && node.reserved == 0);
    assert!(!node.turns_slow(late) && node.is_slow(), "once");
    assert_eq!(node.wakes(LINGER, late), Some(late + SLOW));
    node.answered(None);
    assert!(!node.turns_slow(late + SLOW) && !node.is_slow());
}

#[path = "model/image/node.rs"]
mod image;
