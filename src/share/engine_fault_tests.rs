//! What a member does when brokers fail, refuse, or say nothing, against made-up answers.

use super::*;
use crate::share::grant::{Fate, Grant};

const OTHER: BrokerId = BrokerId(2);
/// INVALID_RECORD_STATE and NOT_LEADER_OR_FOLLOWER.
const WRONG: i16 = 121;
const MOVED: i16 = 6;

fn leaders(leader: BrokerId) -> Result<Vec<Found>, WireError> {
    Ok((0..2).map(|at| ("tasks".into(), TOPIC, at, Some(leader))).collect())
}

/// A member with an open session, and records of partition 0 that it works on.
fn working(now: Instant, last: i64) -> (Engine, Arc<Grant>) {
    let mut engine = member(now);
    let (_, flight) = fetch(&mut engine, now);
    engine.fetched(flight, Ok(answer(Vec::new())), now);
    let held = Acquisition { broker: BROKER, named: (TOPIC, 0), topic: "tasks".into(), range: (0, last), fetched: now };
    let grant = engine.ledger.acquire(held, now, LOCK);
    (engine, grant)
}

fn accept(engine: &mut Engine, grant: &Grant, index: u32) {
    engine.settle(&[Settlement { grant: grant.number, index, kind: Acknowledgement::Accept }]);
}

fn acknowledge(engine: &mut Engine, now: Instant) -> (ShareAcknowledge, Flight) {
    match engine.next(now) {
        Some(Call::Acknowledge(request, flight)) => (request, flight),
        other => panic!("{other:?}"),
    }
}

fn refused(request: &ShareAcknowledge, code: i16) -> ShareAcknowledged {
    let mut answer = taken(request);
    answer.parts.iter_mut().for_each(|part| part.error = Code::new(code));
    answer
}

fn part(partition: i32) -> FetchedPart {
    FetchedPart { partition, acquired: Vec::new(), ..acquired(0, 0).parts.remove(0) }
}

#[test]
fn r5_what_was_on_its_way_or_waited_when_the_session_ended_is_never_told_in_the_next_one() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 2);
    accept(&mut engine, &grant, 0);
    let (request, flight) = fetch(&mut engine, now);
    assert_eq!(request.parts[0].acknowledged.len(), 1);
    accept(&mut engine, &grant, 1);
    let cut = WireError::Closed { address: "b:1".into(), reason: "test".into() };
    engine.fetched(flight, Err(cut), now);
    // Too late: nobody holds it any more.
    accept(&mut engine, &grant, 2);
    assert!((0..3).all(|index| grant.fate(index) == Fate::Lost(Lost::Session)));
    let later = now + Duration::from_secs(3);
    assert!(matches!(engine.next(later), Some(Call::Look(_))));
    engine.found(leaders(BROKER), later);
    let (request, flight) = fetch(&mut engine, later);
    assert!(request.epoch == 0 && request.parts.iter().all(|part| part.acknowledged.is_empty()));
    engine.fetched(flight, Ok(answer(Vec::new())), later);
    let (request, _) = fetch(&mut engine, later);
    assert_eq!((request.epoch, request.parts.len()), (1, 0), "nothing is left to be told");
}

#[test]
fn r12_when_another_broker_leads_nothing_is_told_to_either() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 1);
    accept(&mut engine, &grant, 0);
    engine.found(leaders(OTHER), now);
    accept(&mut engine, &grant, 1);
    assert!((0..2).all(|index| grant.fate(index) == Fate::Lost(Lost::Moved)));
    let mut told = BTreeMap::new();
    while let Some(call) = engine.next(now) {
        match call {
            Call::Fetch(request, flight) => {
                assert!(request.parts.iter().all(|part| part.acknowledged.is_empty()), "{request:?}");
                told.insert(flight.broker, (request.epoch, request.parts.len(), request.forgotten.len()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, BTreeMap::from([(BROKER, (1, 0, 2)), (OTHER, (0, 2, 0))]));
}

#[test]
fn r12_a_broker_that_refuses_because_it_leads_no_more_takes_the_locks_with_it() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 3);
    accept(&mut engine, &grant, 0);
    let (_, flight) = fetch(&mut engine, now);
    let gone = FetchedPart { acknowledge_error: Code::new(MOVED), ..part(0) };
    engine.fetched(flight, Ok(answer(vec![gone])), now);
    assert!((0..4).all(|index| grant.fate(index) == Fate::Lost(Lost::Moved)));
    assert!(matches!(engine.next(now), Some(Call::Look(doubted)) if doubted == [("tasks".into(), 0)]));
}

/// The leader of now was known already, and forgotten, when the one of before answered at last.
#[test]
fn r12_what_a_leader_of_before_brings_while_none_is_known_is_lost_when_one_is_found() {
    let now = Instant::now();
    let mut engine = member(now);
    let (_, silent) = fetch(&mut engine, now);
    let later = now + Duration::from_secs(6);
    assert!(matches!(engine.next(later), Some(Call::Beat(_))));
    assert!(matches!(engine.next(later), Some(Call::Look(_))));
    engine.found(leaders(OTHER), later);
    let (_, flight) = fetch(&mut engine, later);
    assert_eq!(flight.broker, OTHER);
    let cut = WireError::Closed { address: "b:2".into(), reason: "test".into() };
    engine.fetched(flight, Err(cut), later);
    engine.fetched(silent, Ok(acquired(5, 9)), later);
    assert!(engine.ledger.owes(BROKER), "who leads is not known");
    engine.found(leaders(OTHER), later);
    assert!(!engine.ledger.owes(BROKER));
}

/// Another broker has led the partition meanwhile, and nobody has told.
#[test]
fn r12_who_is_handed_a_record_again_has_lost_it_before() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 2);
    accept(&mut engine, &grant, 0);
    let (request, flight) = fetch(&mut engine, now);
    assert_eq!(request.parts[0].acknowledged.len(), 1);
    accept(&mut engine, &grant, 2);
    // What is on its way is refused, with others it may be; the rest is handed out anew.
    let mut again = acquired(0, 2);
    again.parts[0].acknowledge_error = Code::new(WRONG);
    engine.fetched(flight, Ok(again), now);
    assert_eq!(grant.fate(0), Fate::Lost(Lost::Refused));
    assert!((1..3).all(|index| grant.fate(index) == Fate::Lost(Lost::Expired)));
    let (request, _) = fetch(&mut engine, now);
    let batch = &request.parts[0].acknowledged[0];
    let kinds = [Acknowledgement::Gap];
    assert_eq!((batch.first, batch.last, &*batch.kinds), (0, 2, &kinds[..]), "what is said now, and nothing of before");
}

/// A record that is released may come back with the answer.
#[test]
fn r14_what_is_taken_is_settled_though_the_record_comes_again_with_the_same_answer() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 0);
    engine.settle(&[Settlement { grant: grant.number, index: 0, kind: Acknowledgement::Release }]);
    let (_, flight) = fetch(&mut engine, now);
    engine.fetched(flight, Ok(acquired(0, 0)), now);
    assert_eq!(grant.fate(0), Fate::Settled);
    assert!(engine.ledger.owes(BROKER), "it is this member's again");
}

#[test]
fn r15_the_leader_that_a_refusal_names_is_asked_without_a_look() {
    let now = Instant::now();
    let (mut engine, _) = working(now, 0);
    let (_, flight) = fetch(&mut engine, now);
    let moved = |at| FetchedPart { error: Code::new(MOVED), leader: Some((OTHER, 7)), ..part(at) };
    engine.fetched(flight, Ok(answer(vec![moved(0), moved(1)])), now);
    let later = now + Duration::from_secs(1);
    let mut asked = Vec::new();
    while let Some(call) = engine.next(later) {
        match call {
            Call::Fetch(request, flight) => asked.push((flight.broker, request.epoch, request.parts.len())),
            other => panic!("{other:?}"),
        }
    }
    asked.sort_unstable();
    assert_eq!(asked, [(BROKER, 2, 0), (OTHER, 0, 2)]);
}

#[test]
fn r13_renewals_that_are_refused_together_go_in_halves_and_never_with_a_fetch() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 3);
    let due = now + LOCK * 56 / 100;
    assert!(matches!(engine.next(due), Some(Call::Beat(_))));
    let (request, flight) = acknowledge(&mut engine, due);
    assert!(request.renews);
    let mut answers = vec![refused(&request, WRONG)];
    let mut flights = vec![flight];
    let mut sizes = Vec::new();
    // The last one is not this member's any more.
    for _ in 0..6 {
        engine.acknowledged(flights.remove(0), Ok(answers.remove(0)), due);
        if !engine.ledger.renews_again(BROKER) {
            break;
        }
        let (request, flight) = acknowledge(&mut engine, due);
        assert!(request.renews);
        let batch = &request.parts[0].acknowledged[0];
        sizes.push((batch.first, batch.last));
        answers.push(if batch.last == 3 { refused(&request, WRONG) } else { taken(&request) });
        flights.push(flight);
    }
    assert_eq!(sizes, [(0, 1), (2, 3), (2, 2), (3, 3)]);
    assert_eq!((grant.fate(0), grant.fate(2), grant.fate(3)), (Fate::Held, Fate::Held, Fate::Lost(Lost::Refused)));
    fetch(&mut engine, due);
}

#[test]
fn r14_what_is_missing_from_the_answer_has_failed() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 0);
    accept(&mut engine, &grant, 0);
    let (_, flight) = fetch(&mut engine, now);
    engine.fetched(flight, Ok(answer(Vec::new())), now);
    assert_eq!(grant.fate(0), Fate::Lost(Lost::Refused));
}

#[test]
fn r9_a_lock_counts_from_the_request_that_brought_it_and_not_from_its_answer() {
    let now = Instant::now();
    let mut engine = member(now);
    let (_, flight) = fetch(&mut engine, now);
    engine.settings.renew = false;
    let late = now + Duration::from_secs(4);
    engine.fetched(flight, Ok(acquired(5, 5)), late);
    assert!(matches!(engine.next(now + LOCK), Some(Call::Beat(_))));
    let (request, _) = fetch(&mut engine, now + LOCK);
    assert!(request.parts.iter().all(|part| part.acknowledged.is_empty()), "its gap is not this member's to tell");
}

#[test]
fn a_broker_that_says_nothing_is_left_for_the_one_that_leads_by_then() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 0);
    let (_, silent) = fetch(&mut engine, now);
    assert!(engine.next(now).is_none(), "its window is full of what the silent one may bring");
    let later = now + Duration::from_secs(6);
    assert!(matches!(engine.next(later), Some(Call::Beat(_))));
    assert!(matches!(engine.next(later), Some(Call::Look(doubted)) if doubted.len() == 2));
    engine.found(leaders(OTHER), later);
    assert_eq!(grant.fate(0), Fate::Lost(Lost::Moved));
    match engine.next(later) {
        Some(Call::Fetch(request, flight)) => {
            assert_eq!((flight.broker, request.epoch, request.max_records), (OTHER, 0, 100));
        }
        other => panic!("{other:?}"),
    }
    // It does not know yet that it leads no more, and hands out what others may have done since.
    engine.fetched(silent, Ok(acquired(5, 9)), later);
    let (request, flight) = acknowledge(&mut engine, later);
    let batch = &request.parts[0].acknowledged[0];
    assert_eq!((flight.broker, batch.first, batch.last), (BROKER, 5, 9));
    assert_eq!(batch.kinds, [Acknowledgement::Release], "nobody here has it");
}

#[test]
fn r6_a_topic_that_is_made_anew_is_asked_for_again_by_its_name() {
    let now = Instant::now();
    let (mut engine, _) = working(now, 0);
    let soon = now + Duration::from_secs(5);
    assert!(matches!(engine.next(soon), Some(Call::Beat(_))));
    let assigned = Some(vec![Assigned { topic: TopicId([8; 16]), partitions: vec![0] }]);
    let beaten = Beaten { error: None, message: None, epoch: 2, interval: Duration::from_secs(5), assigned };
    engine.beaten(Ok(beaten), soon);
    assert!(matches!(engine.next(soon), Some(Call::Look(doubted)) if doubted == [("tasks".into(), 0)]));
}

#[test]
fn whoever_waits_for_a_word_is_told_when_the_member_ends() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 1);
    accept(&mut engine, &grant, 0);
    drop(engine);
    assert!((0..2).all(|index| grant.fate(index) == Fate::Lost(Lost::Closed)));
}

/// A partition that is named in a fetch is read again.
#[test]
fn r6_what_is_of_a_partition_that_is_put_off_goes_alone() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 0);
    let (_, flight) = fetch(&mut engine, now);
    // LEADER_NOT_AVAILABLE: it can't be read now, and the lock stands.
    let put_off = FetchedPart { error: Code::new(5), ..part(0) };
    engine.fetched(flight, Ok(answer(vec![put_off])), now);
    accept(&mut engine, &grant, 0);
    let (request, flight) = acknowledge(&mut engine, now);
    assert_eq!((request.parts.len(), request.parts[0].partition), (1, 0));
    engine.acknowledged(flight, Ok(taken(&request)), now);
    assert_eq!(grant.fate(0), Fate::Settled);
    let (request, _) = fetch(&mut engine, now);
    assert_eq!((request.parts.len(), request.forgotten), (0, vec![(TOPIC, 0)]));
}

#[test]
fn r16_a_member_that_closes_releases_what_it_works_on() {
    let now = Instant::now();
    let (mut engine, grant) = working(now, 2);
    engine.close();
    let (request, _) = acknowledge(&mut engine, now);
    let batch = &request.parts[0].acknowledged[0];
    assert_eq!((request.epoch, batch.first, batch.last, &*batch.kinds), (1, 0, 2, &[Acknowledgement::Release][..]));
    assert_eq!(grant.fate(0), Fate::Lost(Lost::Closed));
}
