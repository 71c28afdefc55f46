//! Beats, and what follows from each answer.

use super::*;
use crate::wire::TopicId;

fn member(now: Instant) -> Membership {
    let topics = vec!["b".to_owned(), "a".to_owned(), "b".to_owned()];
    Membership::new("jobs".into(), "me".into(), Some("rack".into()), topics, now)
}

fn accepted(epoch: i32, assigned: Option<&[i32]>) -> Result<Beaten, WireError> {
    let of = |partitions: &[i32]| vec![Assigned { topic: TopicId([1; 16]), partitions: partitions.to_vec() }];
    let interval = Duration::from_secs(5);
    Ok(Beaten { error: None, message: None, epoch, interval, assigned: assigned.map(of) })
}

fn code(code: i16) -> Result<Beaten, WireError> {
    let interval = Duration::ZERO;
    Ok(Beaten { error: Code::new(code), message: None, epoch: 0, interval, assigned: None })
}

fn lost() -> Result<Beaten, WireError> {
    Err(WireError::Closed { address: "b:1".into(), reason: "test".into() })
}

#[test]
fn r1_it_joins_with_all_fields_and_then_tells_what_has_changed() {
    let now = Instant::now();
    let mut member = member(now);
    let first = member.beat(now).unwrap();
    assert_eq!((first.epoch, first.topics, first.rack), (0, Some(vec!["a".into(), "b".into()]), Some("rack".into())));
    assert!(member.beat(now).is_none(), "one at a time");
    assert!(matches!(member.beaten(accepted(3, Some(&[0])), now), Change::Assigned(_)));
    assert!(member.beat(now + Duration::from_millis(4_999)).is_none());
    let next = member.beat(now + Duration::from_secs(5)).unwrap();
    assert_eq!((next.epoch, next.topics, next.rack), (3, None, None));
    assert!(matches!(member.beaten(accepted(3, None), now), Change::None));
}

#[test]
fn r1_a_member_that_was_forgotten_joins_again_at_once_with_all_fields() {
    for forgotten in [25, 110, 69] {
        let now = Instant::now();
        let mut member = member(now);
        member.beat(now).unwrap();
        member.beaten(accepted(3, Some(&[0])), now);
        let later = now + Duration::from_secs(5);
        member.beat(later).unwrap();
        assert!(matches!(member.beaten(code(forgotten), later), Change::None), "{forgotten}");
        let again = member.beat(later).unwrap();
        assert_eq!((again.epoch, again.topics.is_some()), (0, true), "{forgotten}");
    }
}

#[test]
fn r1_after_an_answer_that_may_be_lost_the_assignment_is_asked_for_again() {
    let now = Instant::now();
    let mut member = member(now);
    member.beat(now).unwrap();
    member.beaten(accepted(3, Some(&[0])), now);
    let later = now + Duration::from_secs(5);
    member.beat(later).unwrap();
    assert!(matches!(member.beaten(lost(), later), Change::Moved));
    let again = member.beat(later + Duration::from_secs(1)).unwrap();
    assert_eq!((again.epoch, again.topics.is_some()), (3, true));
}

#[test]
fn an_assignment_of_nothing_is_asked_about_soon() {
    let now = Instant::now();
    let mut member = member(now);
    member.beat(now).unwrap();
    member.beaten(accepted(1, Some(&[])), now);
    assert_eq!(member.wakes(), Some(now + Duration::from_secs(1)));
}

#[test]
fn what_a_coordinator_refuses_for_good_ends_it_with_the_way_out() {
    for (number, text) in [(81, "group.share.max.size"), (30, "jobs"), (69, "another name"), (35, "share.version")] {
        let now = Instant::now();
        let mut member = member(now);
        member.beat(now).unwrap();
        match member.beaten(code(number), now) {
            Change::Refused(error) => assert!(error.to_string().contains(text), "{number}: {error}"),
            other => panic!("{number}: {other:?}"),
        }
    }
}

#[test]
fn a_coordinator_that_loads_is_asked_again_and_one_that_has_moved_is_looked_for() {
    let now = Instant::now();
    let mut member = member(now);
    member.beat(now).unwrap();
    assert!(matches!(member.beaten(code(14), now), Change::None));
    assert!(member.beat(now).is_none());
    let later = now + Duration::from_secs(1);
    member.beat(later).unwrap();
    assert!(matches!(member.beaten(code(16), later), Change::Moved));
}

#[test]
fn only_a_member_leaves() {
    let now = Instant::now();
    let mut member = member(now);
    assert!(member.leave().is_none());
    member.beat(now).unwrap();
    member.beaten(accepted(3, None), now);
    assert_eq!(member.leave().unwrap().epoch, -1);
}

#[path = "model/image/membership.rs"]
mod image;
