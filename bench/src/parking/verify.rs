//! Whether what the target was asked for is what it should have been asked for.

use super::receiver::Book;
use crate::Failure;

/// Before the poison key is healed: of its mutations only the first one was ever tried.
pub(super) fn parked(book: &Book, poison: u64) -> Result<(), Failure> {
    let expected: Vec<u64> = (0..poison.min(1)).collect();
    let attempted: Vec<u64> = book.attempted.iter().copied().collect();
    if attempted != expected || !book.poison.is_empty() {
        let applied = book.poison.len();
        return Err(format!("of the poison key {attempted:?} were tried, and {applied} were applied").into());
    }
    Ok(())
}

/// In the end: each was applied, in the order of its key.
pub(super) fn ended(book: &Book, others: u64, poison: u64) -> Result<(), Failure> {
    let missing = book.others.iter().filter(|at| at.is_none()).count();
    if book.others.len() as u64 != others || missing > 0 || book.out_of_order > 0 || book.strangers > 0 {
        let (count, out, strangers) = (book.others.len(), book.out_of_order, book.strangers);
        return Err(format!(
            "of {others} others {count} came, {missing} are missing, {out} out of order; {strangers} calls of nobody"
        )
        .into());
    }
    if !book.poison.iter().copied().eq(0..poison) {
        return Err(format!("the poison key's order did not hold: {:?}", book.poison).into());
    }
    Ok(())
}
