//! A member from its first beat to its last request, against made-up answers.

use bytes::Bytes;

use super::super::ledger::Acquisition;
use super::*;
use crate::wire::Code;
use crate::wire::share::{AcknowledgedPart, Acknowledgement, Acquired, FetchedPart, ShareAcknowledged, ShareFetched};

const LOCK: Duration = Duration::from_secs(30);
const BROKER: BrokerId = BrokerId(1);
const TOPIC: TopicId = TopicId([7; 16]);

fn engine(now: Instant) -> Engine {
    let settings = ShareSettings { window: 100, ..ShareSettings::new("jobs", ["tasks"]) };
    Engine::new(settings, "me".to_owned(), Arc::new(Desk::new(100)), now)
}

/// A member that is assigned two partitions of one broker.
fn member(now: Instant) -> Engine {
    let mut engine = engine(now);
    assert!(matches!(engine.next(now), Some(Call::Beat(_))));
    let assigned = Some(vec![Assigned { topic: TOPIC, partitions: vec![0, 1] }]);
    let interval = Duration::from_secs(5);
    engine.beaten(Ok(Beaten { error: None, message: None, epoch: 1, interval, assigned }), now);
    assert!(matches!(engine.next(now), Some(Call::Look(_))));
    engine.found(Ok((0..2).map(|at| ("tasks".into(), TOPIC, at, Some(BROKER))).collect()), now);
    engine
}

fn fetch(engine: &mut Engine, now: Instant) -> (ShareFetch, Flight) {
    match engine.next(now) {
        Some(Call::Fetch(request, flight)) => (*request, flight),
        other => panic!("{other:?}"),
    }
}

/// An answer that hands over these offsets of partition 0, of which there are no records any more.
fn acquired(first: i64, last: i64) -> ShareFetched {
    let acquired = vec![Acquired { first, last, delivery_count: 1 }];
    let part = FetchedPart {
        topic: TOPIC,
        partition: 0,
        error: None,
        acknowledge_error: None,
        leader: None,
        records: Bytes::new(),
        acquired,
    };
    answer(vec![part])
}

fn answer(parts: Vec<FetchedPart>) -> ShareFetched {
    ShareFetched { throttle: Duration::ZERO, error: None, message: None, lock: LOCK, parts, endpoints: Vec::new() }
}

fn taken(request: &ShareAcknowledge) -> ShareAcknowledged {
    let part =
        |part: &SharePart| AcknowledgedPart { topic: part.topic, partition: part.partition, error: None, leader: None };
    let parts = request.parts.iter().map(part).collect();
    let (throttle, lock) = (Duration::ZERO, Some(LOCK));
    ShareAcknowledged { throttle, error: None, message: None, lock, parts, endpoints: Vec::new() }
}

#[test]
fn r4_the_first_fetch_opens_with_all_partitions_and_the_whole_window() {
    let now = Instant::now();
    let mut engine = member(now);
    let (request, _) = fetch(&mut engine, now);
    assert_eq!((request.epoch, request.max_records, request.parts.len()), (0, 100, 2));
    assert!(request.parts.iter().all(|part| part.acknowledged.is_empty()));
    assert_eq!(request.max_wait, engine.settings.max_wait, "nothing of it is held");
    assert!(engine.next(now).is_none(), "one at a time");
}

#[test]
fn r7_gaps_are_acknowledged_with_the_next_fetch_and_only_what_is_new_is_named() {
    let now = Instant::now();
    let mut engine = member(now);
    let (_, flight) = fetch(&mut engine, now);
    engine.fetched(flight, Ok(acquired(5, 9)), now);
    let (request, _) = fetch(&mut engine, now);
    assert_eq!((request.epoch, request.max_records, request.parts.len()), (1, 100, 1));
    let batch = &request.parts[0].acknowledged[0];
    assert_eq!((batch.first, batch.last, &*batch.kinds), (5, 9, &[Acknowledgement::Gap][..]));
    assert_eq!(request.max_wait, engine.settings.busy_wait, "its answer is waited for");
}

#[test]
fn r5_after_an_error_of_the_session_it_is_opened_again_and_what_was_held_is_lost() {
    let now = Instant::now();
    let mut engine = member(now);
    let (_, flight) = fetch(&mut engine, now);
    engine.fetched(flight, Ok(acquired(5, 9)), now);
    let (_, flight) = fetch(&mut engine, now);
    engine.fetched(flight, Ok(ShareFetched { error: Code::new(122), ..answer(Vec::new()) }), now);
    assert!(!engine.ledger.owes(BROKER) && engine.failed.is_none());
    let later = now + Duration::from_secs(3);
    assert!(matches!(engine.next(later), Some(Call::Look(_))), "who leads is asked again");
    engine.found(Ok((0..2).map(|at| ("tasks".into(), TOPIC, at, Some(BROKER))).collect()), later);
    let (request, _) = fetch(&mut engine, later);
    assert_eq!((request.epoch, request.parts.len()), (0, 2));
}

#[test]
fn what_is_not_allowed_ends_the_member() {
    let now = Instant::now();
    let mut engine = member(now);
    let (_, flight) = fetch(&mut engine, now);
    engine.fetched(flight, Ok(ShareFetched { error: Code::new(30), ..answer(Vec::new()) }), now);
    assert!(engine.failed.is_some());
}

/// A time in the past would make the driver's loop spin.
#[test]
fn it_is_never_woken_for_what_can_not_be_done_yet() {
    let now = Instant::now();
    let mut engine = member(now);
    let (_, flight) = fetch(&mut engine, now);
    let mut fetched = acquired(5, 9);
    // Not gaps: they stay out.
    fetched.parts[0].acquired.clear();
    engine.fetched(flight, Ok(fetched), now);
    let (broker, topic) = (BROKER, "tasks".into());
    let held = Acquisition { broker, named: (TOPIC, 0), topic, range: (5, 9), fetched: now };
    engine.ledger.acquire(held, now, LOCK);
    let (_, flight) = fetch(&mut engine, now);
    let due = now + LOCK * 56 / 100;
    assert!(matches!(engine.next(due), Some(Call::Beat(_))));
    assert!(matches!(engine.next(due), Some(Call::Look(_))), "its broker has said nothing for long");
    assert!(engine.next(due).is_none(), "the renewal waits for the fetch");
    assert!(engine.wakes(due).is_none_or(|at| at > due), "{:?}", engine.wakes(due).map(|at| at - now));
    engine.fetched(flight, Ok(answer(Vec::new())), due);
    match engine.next(due) {
        Some(Call::Acknowledge(request, flight)) => {
            assert!(request.renews);
            engine.acknowledged(flight, Ok(taken(&request)), due);
        }
        other => panic!("{other:?}"),
    }
    assert!(engine.wakes(due).is_some_and(|at| at > due));
}

#[test]
fn a_member_that_closes_gives_back_closes_its_session_and_is_over() {
    let now = Instant::now();
    let mut engine = member(now);
    let (_, flight) = fetch(&mut engine, now);
    engine.fetched(flight, Ok(acquired(5, 9)), now);
    engine.close();
    let Some(Call::Acknowledge(request, flight)) = engine.next(now) else { panic!() };
    assert_eq!((request.epoch, request.parts.len()), (1, 1));
    engine.acknowledged(flight, Ok(taken(&request)), now);
    let Some(Call::Acknowledge(request, flight)) = engine.next(now) else { panic!() };
    assert_eq!((request.epoch, request.parts.len()), (-1, 0));
    assert!(!engine.is_closed());
    engine.acknowledged(flight, Ok(taken(&request)), now);
    assert!(engine.is_closed());
}

#[path = "engine_fault_tests.rs"]
mod faults;

#[path = "model/image/engine.rs"]
mod image;
