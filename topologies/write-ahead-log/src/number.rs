//! A mutation's number: its place among those of its task, the same however often it is worked out.
//!
//! Targets keep the highest number that they have seen of an ordering key, and let nothing pass that is not above it. Calls are made
//! before their transaction is committed. If that is aborted, all of it is done again, and a mutation that the target has already must
//! come under the number that it had: under a lower one what comes behind it would be taken for old, and be lost; under a higher
//! one it would be applied twice, over what came behind it. So numbers come from what does not change when it is read again:
//!
//! ```text
//!  lanes, one partition:   offset 7, at 100        offset 8, at 130
//!                          │                       ├─ put off until 110: 8·2¹⁶ + 0 ┐ what is due by a record's time
//!                          │                       ├─ put off until 125: 8·2¹⁶ + 1 ┘ is before it
//!                          └─ 7·2¹⁶ + 65535        └─ 8·2¹⁶ + 65535
//! ```
//!
//! The time of a record is the one at which it was given its lane, and is part of it: how late it is read makes no difference. Where
//! nothing comes whose time is late enough, the log writes something itself: a [wake](crate::entry::Action::Wake).

use headrace::position::Offset;

/// How many may be due before a record: the rest is due before the next one.
pub(crate) const MOST_DUE: usize = 1 << 16;

/// Of what came with a record.
pub(crate) fn of_record(offset: Offset) -> i64 {
    of_due(offset, MOST_DUE - 1)
}

/// Of what was due before a record: the first of them, the next one.
pub(crate) fn of_due(offset: Offset, place: usize) -> i64 {
    let place = i64::try_from(place.min(MOST_DUE - 1)).unwrap_or(0);
    offset.0.saturating_mul(MOST_DUE as i64).saturating_add(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w4_what_is_due_before_a_record_is_behind_the_one_before_and_in_its_order() {
        let numbers = [
            of_record(Offset(7)),
            of_due(Offset(8), 0),
            of_due(Offset(8), 1),
            of_record(Offset(8)),
            of_due(Offset(9), 0),
        ];
        assert!(numbers.is_sorted_by(|one, other| one < other), "{numbers:?}");
        assert!(of_due(Offset(8), usize::MAX) <= of_record(Offset(8)));
    }
}
