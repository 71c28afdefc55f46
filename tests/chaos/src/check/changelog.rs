//! The changelogs of a stage's four stores: every write of one belongs to a write of each other.
//!
//! A store's log has of each key the last write between two moments, and these moments are the same for all stores of a
//! task. So the n-th write of a key says in each log the same event's fold.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use super::due::Due;
use crate::reader::Stored;
use crate::topology::STORES;

type Writes<'a> = BTreeMap<&'a str, Vec<Option<i64>>>;

/// Checks the logs, in the order of [`STORES`], as a committed reader sees them by partition and offset.
pub fn check(due: &Due, logs: &[Vec<Stored>; 4], findings: &mut Findings) {
    let writes: Vec<Writes<'_>> = logs.iter().map(|log| by_key(log)).collect();
    let keys: BTreeSet<&str> = writes.iter().flat_map(|writes| writes.keys().copied()).chain(due.keys()).collect();
    for key in keys {
        let none = Vec::new();
        let writes: Vec<&Vec<Option<i64>>> = writes.iter().map(|writes| writes.get(key).unwrap_or(&none)).collect();
        check_key(due, key, &writes, findings);
    }
}

fn by_key(log: &[Stored]) -> Writes<'_> {
    let mut writes = Writes::new();
    for record in log {
        let value = record.value.as_ref().and_then(|value| value.parse().ok());
        writes.entry(&record.key).or_default().push(value);
    }
    writes
}

fn check_key(due: &Due, key: &str, writes: &[&Vec<Option<i64>>], findings: &mut Findings) {
    let counts = writes[0];
    let events = due.of(key);
    if writes.iter().any(|writes| writes.len() != counts.len()) {
        findings.torn += 1;
        let lengths: Vec<usize> = writes.iter().map(|writes| writes.len()).collect();
        findings.example(|| format!("{key}: its changelogs have {lengths:?} writes"));
    }
    let mut last = 0;
    for (at, count) in counts.iter().enumerate() {
        let count = count.unwrap_or(0);
        let tally = usize::try_from(count - 1).ok().and_then(|place| events.get(place)).map(|(_, tally)| tally);
        let Some(tally) = tally.filter(|_| count > last) else {
            findings.duplicated += 1;
            findings.example(|| format!("{key}: its changelog counts {count} after {last}, of {}", events.len()));
            continue;
        };
        last = count;
        for ((part, writes), store) in tally.parts().into_iter().zip(writes).zip(STORES) {
            let found = writes.get(at).copied().flatten();
            if found != Some(part) {
                findings.torn += 1;
                findings.example(|| format!("{key}: {store} is {found:?} at count {count}, due is {part}"));
            }
        }
    }
    if usize::try_from(last) != Ok(events.len()) {
        findings.lost += 1;
        findings.example(|| format!("{key}: its changelog ends at {last} of {} events", events.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::{Sample, sample};

    fn checked(change: impl FnOnce(&mut [Vec<Stored>; 4])) -> Findings {
        let Sample { due, mut logs, .. } = sample();
        change(&mut logs);
        let mut findings = Findings::default();
        check(&due, &logs, &mut findings);
        findings
    }

    #[test]
    fn logs_that_go_together_have_no_findings_also_if_writes_between_two_moments_are_left_out() {
        assert_eq!(checked(|_| {}), Findings::default());
        let middle = |logs: &mut [Vec<Stored>; 4]| logs.iter_mut().for_each(|log| drop(log.remove(2)));
        assert_eq!(checked(middle), Findings::default());
    }

    #[test]
    fn a_write_that_one_store_alone_lacks_is_torn() {
        for store in 0..4 {
            let findings = checked(|logs| drop(logs[store].remove(2)));
            assert!(findings.torn > 0, "{}: {findings:?}", STORES[store]);
        }
    }

    #[test]
    fn a_wrong_value_is_torn() {
        let findings = checked(|logs| logs[1][4].value = Some("123456".to_owned()));
        assert_eq!((findings.torn, findings.total()), (1, 1), "{findings:?}");
    }

    #[test]
    fn a_write_that_comes_again_is_duplicated() {
        let again = |logs: &mut [Vec<Stored>; 4]| logs.iter_mut().for_each(|log| log.insert(3, log[2].clone()));
        let findings = checked(again);
        assert_eq!((findings.duplicated, findings.total()), (1, 1), "{findings:?}");
    }

    #[test]
    fn an_end_that_is_missing_is_lost() {
        let findings = checked(|logs| logs.iter_mut().for_each(|log| drop(log.pop())));
        assert_eq!((findings.lost, findings.total()), (1, 1), "{findings:?}");
    }
}
