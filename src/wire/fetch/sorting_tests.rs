//! Answers, sorted: what a committed reader sees, and what it is told of the rest.

use proptest::prelude::*;

use super::*;
use crate::wire::compression::Codec;
use crate::wire::fetch::golden::{Golden, answer, batch, marker, record, transactional};

fn plain(base: i64, count: usize) -> Golden {
    batch(base, &vec![record(b"value"); count], Codec::None)
}

/// From, next, and the bases of the batches of each run.
fn runs(sorted: &Sorted) -> Vec<(i64, i64, Vec<i64>)> {
    let bases = |mut bytes: &[u8]| {
        let mut bases = Vec::new();
        while let Some(batch) = Batch::at_start(bytes).unwrap() {
            bases.push(batch.base);
            bytes = &bytes[batch.bytes..];
        }
        bases
    };
    sorted.runs.iter().map(|run| (run.from, run.next, bases(&run.bytes))).collect()
}

#[test]
fn batches_in_a_row_are_one_run_and_a_partial_one_comes_again() {
    let whole = answer([plain(0, 3), plain(3, 2), plain(5, 1)]);
    let sorted = sort(&whole, 0, vec![]);
    assert_eq!((runs(&sorted), sorted.next, &sorted.bad), (vec![(0, 6, vec![0, 3, 5])], 6, &None));
    for cut in 1..plain(5, 1).bytes.len() {
        let sorted = sort(&whole.slice(..whole.len() - cut), 0, vec![]);
        assert_eq!((runs(&sorted), sorted.next, &sorted.bad), (vec![(0, 5, vec![0, 3])], 5, &None), "{cut} cut off");
    }
    assert_eq!(sort(&Bytes::new(), 7, vec![]), Sorted { next: 7, ..Sorted::default() });
}

#[test]
fn what_is_before_the_position_is_left_out_by_the_batch() {
    let sorted = sort(&answer([plain(0, 3), plain(3, 2), plain(5, 1)]), 4, vec![]);
    assert_eq!(runs(&sorted), [(4, 6, vec![3, 5])]);
}

#[test]
fn r7_markers_are_passed_and_move_the_position() {
    let sorted =
        sort(&answer([transactional(0, 7, &["a", "b"]), marker(2, 7, 1), plain(3, 1), marker(4, 8, 1)]), 0, vec![]);
    assert_eq!((runs(&sorted), sorted.next), (vec![(0, 3, vec![0]), (3, 5, vec![3])], 5));
    let only = sort(&answer([marker(9, 7, 1)]), 9, vec![]);
    assert_eq!((runs(&only), only.next, only.advanced), (vec![], 10, true));
}

#[test]
fn r3_aborted_transactions_are_left_out_until_their_markers() {
    // Producers 1 and 2 take turns; 1 aborts and then commits, 2 commits; 3 is not transactional.
    let all = || {
        answer([
            transactional(0, 1, &["aborted"]),
            transactional(1, 2, &["seen"]),
            transactional(2, 1, &["aborted"]),
            plain(3, 1),
            marker(4, 1, 0),
            transactional(5, 1, &["seen"]),
            marker(6, 2, 1),
            marker(7, 1, 1),
        ])
    };
    let sorted = sort(&all(), 0, vec![(1, 0)]);
    assert_eq!(runs(&sorted), [(1, 3, vec![1]), (3, 5, vec![3]), (5, 8, vec![5])]);
    // The same from within the aborted one, which the broker names by its first offset.
    let sorted = sort(&all(), 2, vec![(1, 0)]);
    assert_eq!(runs(&sorted), [(3, 5, vec![3]), (5, 8, vec![5])]);
    // Both of producer 1's transactions aborted, named in any order.
    for aborted in [vec![(1, 0), (1, 5)], vec![(1, 5), (1, 0)]] {
        assert_eq!(runs(&sort(&all(), 0, aborted)), [(1, 3, vec![1]), (3, 8, vec![3])]);
    }
}

#[test]
fn a_damaged_batch_ends_the_run_before_it() {
    let mut damaged = plain(3, 2);
    let last = damaged.bytes.len() - 2;
    damaged.bytes[last] ^= 1;
    let sorted = sort(&answer([plain(0, 3), damaged, plain(5, 1)]), 0, vec![]);
    assert_eq!((runs(&sorted), sorted.next), (vec![(0, 3, vec![0])], 3));
    assert!(sorted.bad.unwrap().contains("checksum"));
    let sorted = sort(&answer([plain(3, 2), plain(0, 4)]), 0, vec![]);
    assert_eq!((runs(&sorted), sorted.next, sorted.bad), (vec![(0, 5, vec![3])], 5, None), "seen before");
    assert!(sort(&answer([plain(3, 2), plain(4, 4)]), 0, vec![]).bad.unwrap().contains("comes after 4"));
}

#[test]
fn formats_before_kafka_0_11_are_refused_by_name() {
    for magic in [0, 1] {
        let mut old = vec![0; 60];
        (old[11], old[16]) = (48, magic);
        let sorted = sort(&old.into(), 0, vec![]);
        assert!(sorted.bad.unwrap().contains(&format!("message format {magic}, of Kafka before 0.11")));
    }
    let sorted = sort(&answer([plain(0, 1).with(16, &[9])]), 0, vec![]);
    assert_eq!(sorted.bad.unwrap(), "message format 9 is unknown");
}

#[test]
fn compaction_leaves_gaps_and_empty_batches() {
    // The last delta stays where records went.
    let gap = plain(10, 2).with(23, &9_i32.to_be_bytes());
    let empty = plain(20, 1).with(57, &0_i32.to_be_bytes());
    let sorted = sort(&answer([gap, empty, plain(21, 1)]), 0, vec![]);
    assert_eq!((runs(&sorted), sorted.next), (vec![(0, 21, vec![10]), (21, 22, vec![21])], 22));
}

proptest! {
    #[test]
    fn garbage_is_no_batch(bytes in proptest::collection::vec(any::<u8>(), 0..200), position in 0_i64..10) {
        sort(&bytes.into(), position, vec![(1, 0)]);
    }

    #[test]
    fn a_flipped_bit_is_noticed_or_harmless(at in 0_usize..1000, bit in 0_u8..8) {
        let good = answer([transactional(0, 1, &["one", "two"]), marker(2, 1, 1), plain(3, 4)]);
        let mut bad = good.to_vec();
        let at = at % bad.len();
        bad[at] ^= 1 << bit;
        let sorted = sort(&bad.into(), 0, vec![]);
        // The checksum begins at byte 21 of each batch; what is before it moves or cuts batches, and nothing else.
        prop_assert!(sorted.runs.iter().all(|run| !run.bytes.is_empty()));
    }
}
