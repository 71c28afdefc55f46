//! The table by itself: what stays, what gives way, and how much memory that takes.

use super::super::journal::{Transaction, WriteId};
use super::super::table::Table;
use super::{MEMORY, ROCKS};

const LIMIT: usize = 64 << 10;

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Mostly small, some with memory of their own, some too large to be kept.
fn value(number: u32) -> Vec<u8> {
    let bytes = [8, 8, 30, 300, 1000, 8, 60, 2 * LIMIT / 16];
    vec![number as u8; bytes[number as usize % bytes.len()]]
}

fn put(table: &mut Table, number: u32, transaction: Transaction) {
    let (key, value) = (key(number), value(number));
    let place = table.find(ROCKS, &key);
    table.put(place, ROCKS, &key, Some(&value), WriteId { transaction, number });
}

fn holds(table: &mut Table, number: u32) -> bool {
    let Some(place) = table.find(ROCKS, &key(number)) else { return false };
    assert_eq!(table.value(place), Some(&*value(number)));
    true
}

#[test]
fn copies_of_what_the_database_has_stay_within_their_bounds() {
    let mut table = Table::new(LIMIT);
    let (mut most, mut kept) = (0, 0);
    for number in 0..20_000 {
        table.keep(ROCKS, &key(number), Some(&value(number)), 0);
        // Memory is so short here that a new one may be the one that gives way.
        kept += usize::from(holds(&mut table, number));
        assert!(number % 8 != 7 || table.find(ROCKS, &key(number)).is_none());
        most = most.max(table.bytes());
    }
    assert!(kept > 15_000, "{kept} of 17,500");
    assert!(most <= LIMIT && most > LIMIT / 2, "{most} bytes");
    assert_eq!(table.find(MEMORY, &key(19_999)), None, "another store's key");
    table.clear();
    assert!((0..20_000).all(|number| !holds(&mut table, number)) && table.bytes() < LIMIT / 16);
}

#[test]
fn what_the_database_does_not_have_stays_and_then_gives_way() {
    let mut table = Table::new(LIMIT);
    let (mut transaction, pinned) = (Transaction::FIRST, 50_000);
    for _ in 0..5 {
        let mut staged_bytes = 0;
        for number in 0..pinned {
            put(&mut table, number, transaction);
            staged_bytes += 2 * (4 + value(number).len());
            // As many are read and not written.
            let read = pinned + number;
            if !holds(&mut table, read) {
                table.keep(ROCKS, &key(read), Some(&value(read)), staged_bytes);
            }
        }
        for number in 0..pinned {
            assert!(holds(&mut table, number));
            let staged = table.find(ROCKS, &key(number)).and_then(|place| table.staged(place));
            assert_eq!(staged, Some(WriteId { transaction, number }));
        }
        table.applied(transaction, 0);
        let mut known =
            (0..pinned).filter_map(|number| table.find(ROCKS, &key(number))).collect::<Vec<_>>().into_iter();
        assert!(known.all(|place| table.staged(place).is_none()));
        transaction = transaction.next();
    }
    // Slots are kept for the next transaction; memory beside them is not.
    assert!(table.bytes() < (8 << 20) + LIMIT, "{} bytes", table.bytes());
}

#[test]
fn what_is_in_use_outlives_what_is_read_once() {
    let mut table = Table::new(LIMIT);
    let is_lost = |table: &mut Table, number| {
        let lost = !holds(table, number);
        if lost {
            table.keep(ROCKS, &key(number), Some(&value(number)), 0);
        }
        lost
    };
    let small = |number: u32| number * 8;
    let mut lost = 0;
    for number in 0..20_000 {
        let number = small(1000 + number);
        table.keep(ROCKS, &key(number), Some(&value(number)), 0);
        if number % 80 == 0 {
            let used = (0..20).map(small);
            lost += used.filter(|used| *used > 0 && is_lost(&mut table, *used)).count();
        }
    }
    assert!(lost < 19 * 20, "{lost} of 38,000 reads");
}
