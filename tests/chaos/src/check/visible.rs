//! What committed readers are shown, against the transactions' markers in the brokers' own files.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use crate::segments::{Ending, Segments, Transaction};

/// Partition and offset.
pub type Place = (i32, i64);

/// Checks one topic: a reader of all records sees those of a committed reader and the aborted ones, and nothing else.
/// Gives how many were aborted: with none, the check has proven nothing.
pub fn check(
    topic: &str,
    committed: &BTreeSet<Place>,
    all: &BTreeSet<Place>,
    logs: &BTreeMap<i32, Segments>,
    findings: &mut Findings,
) -> u64 {
    let aborted = |&(partition, offset): &Place| logs.get(&partition).is_some_and(|log| log.is_aborted(offset));
    for (partition, offset) in committed.iter().filter(|place| aborted(place)) {
        findings.aborted_visible += 1;
        findings.example(|| format!("{topic}-{partition} at {offset}: aborted, and shown to a committed reader"));
    }
    for (partition, offset) in committed.difference(all) {
        findings.misfolded += 1;
        findings.example(|| format!("{topic}-{partition} at {offset}: shown to a committed reader only"));
    }
    let mut count = 0;
    for place in all.difference(committed) {
        if aborted(place) {
            count += 1;
        } else {
            findings.lost += 1;
            findings.example(|| format!("{topic}-{} at {}: hidden, and not aborted", place.0, place.1));
        }
    }
    count
}

/// Checks that each transaction ended in the same way wherever it wrote. Only where each has an epoch of its own, which is
/// so with transactions v2.
pub fn endings<'a>(logs: impl Iterator<Item = &'a Segments>, findings: &mut Findings) {
    let mut endings: BTreeMap<Transaction, BTreeSet<Ending>> = BTreeMap::new();
    for (transaction, ending) in logs.flat_map(|log| &log.endings) {
        endings.entry(*transaction).or_default().insert(*ending);
    }
    for ((producer, epoch), _) in endings.iter().filter(|(_, endings)| endings.len() > 1) {
        findings.torn += 1;
        findings.example(|| format!("transaction {epoch} of producer {producer}: committed here, aborted there"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(committed: &[i64], all: &[i64]) -> (u64, Findings) {
        let places = |offsets: &[i64]| offsets.iter().map(|offset| (0, *offset)).collect::<BTreeSet<Place>>();
        let log = Segments { aborted: vec![3..=4, 8..=8], ..Segments::default() };
        let mut findings = Findings::default();
        let logs = BTreeMap::from([(0, log)]);
        let aborted = check("topic", &places(committed), &places(all), &logs, &mut findings);
        (aborted, findings)
    }

    #[test]
    fn aborted_records_are_what_the_one_reader_sees_more_than_the_other() {
        let all = [0, 1, 2, 3, 4, 6, 8];
        assert_eq!(checked(&[0, 1, 2, 6], &all), (3, Findings::default()));
        let (_, findings) = checked(&[0, 1, 2, 4, 6], &all);
        assert_eq!((findings.aborted_visible, findings.total()), (1, 1), "{findings:?}");
        let (_, findings) = checked(&[0, 1, 6], &all);
        assert_eq!((findings.lost, findings.total()), (1, 1), "{findings:?}");
        let (_, findings) = checked(&[0, 1, 2, 6, 9], &all);
        assert_eq!((findings.misfolded, findings.total()), (1, 1), "{findings:?}");
    }

    #[test]
    fn a_transaction_that_ends_in_two_ways_is_torn() {
        let log = |endings: &[(Transaction, Ending)]| Segments { endings: endings.to_vec(), ..Segments::default() };
        let one = log(&[((7, 1), Ending::Committed), ((7, 2), Ending::Aborted)]);
        let mut findings = Findings::default();
        endings([&one, &log(&[((7, 1), Ending::Committed), ((8, 2), Ending::Committed)])].into_iter(), &mut findings);
        assert_eq!(findings, Findings::default());
        endings([&one, &log(&[((7, 2), Ending::Committed)])].into_iter(), &mut findings);
        assert_eq!((findings.torn, findings.total()), (1, 1), "{findings:?}");
    }
}
