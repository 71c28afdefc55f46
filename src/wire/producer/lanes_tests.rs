//! A lane against the answers that a broker gives.

use super::*;
use crate::record::{Headers, Timestamp};
use crate::wire::batch::{Entry, Open};

fn pending_of(turn: Turn, count: i32) -> Pending {
    let mut open = Open::new(Vec::new());
    for _ in 0..count {
        open.append(&Entry { key: None, value: None, timestamp: Timestamp(1), headers: &Headers::new() });
    }
    Pending::new(open.close(), turn, None, 100, Instant::now())
}

fn pending(count: i32) -> Pending {
    pending_of(Turn::FIRST, count)
}

fn lane(batches: usize, count: i32) -> Lane {
    let mut lane = Lane::new(0, 0);
    (0..batches).for_each(|_| lane.push(pending(count)));
    lane
}

fn answer(lane: &mut Lane, sequence: i32, code: i16, offset: i64, now: Instant) -> Verdict {
    lane.answer(sequence, code, offset, now, &mut Compressor::new(crate::wire::Codec::None))
}

fn send(lane: &mut Lane) -> (Bytes, i32) {
    lane.send(7, 1, true).unwrap()
}

#[test]
fn n3_no_more_batches_are_out_than_the_broker_remembers() {
    let mut lane = lane(7, 3);
    let sequences: Vec<i32> = (0..MAX_OUT).map(|_| send(&mut lane).1).collect();
    assert_eq!(sequences, [0, 3, 6, 9, 12]);
    let now = Instant::now();
    assert_eq!(lane.sendable(Turn::FIRST, now), None);
    assert!(matches!(answer(&mut lane, 0, 0, 40, now), Verdict::Acknowledged(pending, Some(40)) if pending.count == 3));
    assert!(lane.sendable(Turn::FIRST, now).is_some());
    assert_eq!(send(&mut lane).1, 15);
}

#[test]
fn n3_a_failed_batch_and_all_after_it_go_again_in_order_with_the_same_bytes() {
    let mut lane = lane(3, 2);
    let first: Vec<_> = (0..3).map(|_| send(&mut lane)).collect();
    let now = Instant::now();
    assert!(matches!(answer(&mut lane, 0, 6, -1, now), Verdict::Again { elsewhere: true }));
    assert_eq!(lane.sendable(Turn::FIRST, now + LAST_WAIT), None, "two are still out");
    assert!(matches!(answer(&mut lane, 2, codes::OUT_OF_ORDER_SEQUENCE, -1, now), Verdict::Again { elsewhere: false }));
    assert!(matches!(answer(&mut lane, 4, codes::OUT_OF_ORDER_SEQUENCE, -1, now), Verdict::Again { .. }));
    assert_eq!(lane.sendable(Turn::FIRST, now), None, "after a wait");
    assert!(lane.sendable(Turn::FIRST, now + LAST_WAIT).is_some());
    let again: Vec<_> = (0..3).map(|_| send(&mut lane)).collect();
    assert_eq!(first, again);
}

#[test]
fn n3_what_had_been_written_after_all_is_a_duplicate_and_success() {
    let mut lane = lane(2, 2);
    send(&mut lane);
    send(&mut lane);
    let now = Instant::now();
    assert!(matches!(answer(&mut lane, 0, 20, -1, now), Verdict::Again { .. }));
    assert!(matches!(answer(&mut lane, 2, 0, 12, now), Verdict::Acknowledged(_, Some(12))));
    assert_eq!(send(&mut lane).1, 0);
    assert!(matches!(answer(&mut lane, 0, codes::DUPLICATE_SEQUENCE, -1, now), Verdict::Acknowledged(_, None)));
    assert!(lane.is_empty());
}

#[test]
fn n3_a_gap_without_a_failed_predecessor_is_the_end() {
    let mut lane = lane(1, 1);
    send(&mut lane);
    let verdict = answer(&mut lane, 0, codes::OUT_OF_ORDER_SEQUENCE, -1, Instant::now());
    assert!(matches!(verdict, Verdict::Dead(Class::Abort)));
}

#[test]
fn n2_a_new_epoch_begins_at_sequence_zero() {
    let mut lane = lane(1, 5);
    send(&mut lane);
    assert!(matches!(answer(&mut lane, 0, 0, 0, Instant::now()), Verdict::Acknowledged(..)));
    lane.restart(Side::First);
    lane.push(pending(1));
    let (bytes, sequence) = lane.send(8, 0, true).unwrap();
    assert_eq!(sequence, 0);
    assert_eq!(&bytes[43..53], [0, 0, 0, 0, 0, 0, 0, 8, 0, 0]);
}

#[test]
fn n3_sequences_go_on_at_zero_after_the_last_one() {
    assert_eq!(after(i32::MAX, 1), 0);
    assert_eq!(after(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(after(i32::MAX - 1, 5), 3);
}

#[test]
fn n8_an_acknowledged_batch_gives_its_buffer_back() {
    let mut lane = lane(1, 1);
    let (bytes, sequence) = send(&mut lane);
    drop(bytes);
    let Verdict::Acknowledged(pending, _) = answer(&mut lane, sequence, 0, 0, Instant::now()) else { panic!() };
    assert!(pending.into_buffer().capacity() > 0);
}

#[test]
fn n8_a_batch_that_is_too_large_goes_again_in_halves_with_its_own_sequences() {
    let mut lane = lane(2, 5);
    send(&mut lane);
    send(&mut lane);
    let now = Instant::now();
    assert!(matches!(answer(&mut lane, 0, codes::MESSAGE_TOO_LARGE, -1, now), Verdict::Cut(_)));
    assert!(matches!(answer(&mut lane, 5, codes::OUT_OF_ORDER_SEQUENCE, -1, now), Verdict::Again { .. }));
    let sequences: Vec<i32> = (0..3).map(|_| send(&mut lane).1).collect();
    assert_eq!(sequences, [0, 2, 5]);
    lane.push(pending(1));
    assert_eq!(send(&mut lane).1, 10, "and nothing is skipped after them");
    for sequence in sequences {
        assert!(matches!(answer(&mut lane, sequence, 0, 0, now), Verdict::Acknowledged(..)));
    }
}

#[test]
fn n8_one_record_that_is_too_large_is_told_apart() {
    let mut lane = lane(1, 1);
    send(&mut lane);
    let verdict = answer(&mut lane, 0, codes::MESSAGE_TOO_LARGE, -1, Instant::now());
    assert!(matches!(verdict, Verdict::TooLarge(_)));
}

#[test]
fn n5_a_batch_of_the_other_id_waits_until_all_before_it_are_acknowledged() {
    let (mut lane, now) = (lane(2, 3), Instant::now());
    let second = Turn { number: 1, side: Side::Second };
    lane.push(pending_of(second, 2));
    for _ in 0..2 {
        assert_eq!((lane.sendable(second, now), lane.sendable(Turn::FIRST, now).is_some()), (None, true));
        send(&mut lane);
    }
    assert!(matches!(answer(&mut lane, 3, 0, 43, now), Verdict::Acknowledged(..)));
    assert_eq!(lane.sendable(second, now), None, "the first may have to go again");
    assert!(matches!(answer(&mut lane, 0, 13, -1, now), Verdict::Again { .. }));
    let later = now + LAST_WAIT;
    assert_eq!((lane.sendable(second, later), lane.sendable(Turn::FIRST, later).is_some()), (None, true));
    assert_eq!(send(&mut lane).1, 0);
    assert!(matches!(answer(&mut lane, 0, 0, 40, later), Verdict::Acknowledged(..)));
    assert!(lane.sendable(second, later).is_some());
    assert_eq!(send(&mut lane).1, 0, "it has sequences of its own");
    lane.restart(Side::First);
    assert!(matches!(answer(&mut lane, 0, 0, 46, later), Verdict::Acknowledged(..)));
    lane.push(pending_of(Turn { number: 3, side: Side::Second }, 1));
    assert_eq!(send(&mut lane).1, 2, "which go on, as its epoch does");
}
