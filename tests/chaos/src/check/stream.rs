//! Outputs, record by record: each key's are the folds after 1, 2, 3, … events, and each event is moved once.

use std::collections::HashMap;

use super::Findings;
use super::due::{Due, Seen};
use crate::event::{Event, Tallied};
use crate::reader::Stored;

/// Checks an output of folds, as a committed reader sees it by partition and offset.
pub fn tallied(due: &Due, records: &[Stored], findings: &mut Findings) -> Seen {
    let mut seen = Seen::new();
    let mut last: HashMap<&str, usize> = HashMap::new();
    for record in records {
        let parsed = record.value.as_ref().and_then(|value| value.parse::<Tallied>().ok());
        let known = parsed.and_then(|tallied| Some((tallied, due.place(&record.key, &tallied.event)?)));
        let Some((Tallied { event, tally }, place)) = known else {
            findings.misfolded += 1;
            findings.example(|| format!("nobody produced what {} says", place_of(record)));
            continue;
        };
        note(record, &event, place, &mut seen, last.entry(&record.key).or_insert(place), findings);
        let (_, expected) = due.of(&record.key)[place];
        if tally != expected {
            findings.misfolded += 1;
            findings.example(|| format!("{}: {event} makes {tally}, due is {expected}", place_of(record)));
        }
    }
    missing(due, &seen, records, findings);
    seen
}

/// Checks the topic of events under their next key.
pub fn moved(due: &Due, records: &[Stored], findings: &mut Findings) -> Seen {
    let mut seen = Seen::new();
    let mut last: HashMap<(&str, u32), usize> = HashMap::new();
    for record in records {
        let event = record.value.as_ref().and_then(|value| value.parse::<Event>().ok());
        let event = event.filter(|event| event.group() == record.key);
        let Some((event, place)) = event.and_then(|event| Some((event, due.place(&event.key(), &event)?))) else {
            findings.misfolded += 1;
            findings.example(|| format!("nobody produced what {} says", place_of(record)));
            continue;
        };
        let last = last.entry((&record.key, event.origin)).or_insert(place);
        note(record, &event, place, &mut seen, last, findings);
    }
    missing(due, &seen, records, findings);
    seen
}

/// Events that stand in one of two outputs only.
pub fn torn(one: &Seen, other: &Seen, findings: &mut Findings) {
    for (origin, number) in one.symmetric_difference(other) {
        findings.torn += 1;
        findings.example(|| format!("event {number} of {origin} is in one output only"));
    }
}

fn note(record: &Stored, event: &Event, place: usize, seen: &mut Seen, last: &mut usize, findings: &mut Findings) {
    if !seen.insert((event.origin, event.number)) {
        findings.duplicated += 1;
        findings.example(|| format!("{}: {event} once more", place_of(record)));
    } else if place < *last {
        findings.reordered += 1;
        findings.example(|| format!("{}: {event} after a later one", place_of(record)));
    }
    *last = place.max(*last);
}

fn missing(due: &Due, seen: &Seen, records: &[Stored], findings: &mut Findings) {
    for (key, event) in due.events().filter(|(_, event)| !seen.contains(&(event.origin, event.number))) {
        findings.lost += 1;
        findings.example(|| format!("{key}: {event} is not among {} records", records.len()));
    }
}

fn place_of(record: &Stored) -> String {
    format!("partition {} at {} ({})", record.partition, record.offset, record.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::{Sample, sample};

    fn checked(records: &[Stored]) -> Findings {
        let mut findings = Findings::default();
        tallied(&sample().due, records, &mut findings);
        findings
    }

    #[test]
    fn what_is_right_has_no_findings() {
        let Sample { due, tallies, moved: regrouped, .. } = sample();
        let mut findings = Findings::default();
        let one = tallied(&due, &tallies, &mut findings);
        let other = moved(&due, &regrouped, &mut findings);
        torn(&one, &other, &mut findings);
        assert_eq!(findings, Findings::default());
        assert_eq!(one.len(), due.count());
    }

    #[test]
    fn a_gap_is_lost() {
        let mut records = sample().tallies;
        records.remove(3);
        let findings = checked(&records);
        assert_eq!((findings.lost, findings.total()), (1, 1), "{findings:?}");
    }

    #[test]
    fn a_repetition_is_duplicated() {
        let mut records = sample().tallies;
        records.insert(4, records[3].clone());
        let findings = checked(&records);
        assert_eq!((findings.duplicated, findings.total()), (1, 1), "{findings:?}");
    }

    #[test]
    fn two_that_change_places_are_reordered() {
        let mut records = sample().tallies;
        records.swap(3, 4);
        let findings = checked(&records);
        assert_eq!((findings.reordered, findings.total()), (1, 1), "{findings:?}");
    }

    #[test]
    fn an_event_that_was_folded_twice_is_misfolded_from_there_on() {
        let mut records = sample().tallies;
        for record in records.iter_mut().filter(|record| record.key == "key-0").skip(2) {
            let mut tallied: Tallied = record.value.as_ref().unwrap().parse().unwrap();
            tallied.tally.count += 1;
            record.value = Some(tallied.to_string());
        }
        let findings = checked(&records);
        assert!(findings.misfolded > 2 && findings.misfolded == findings.total(), "{findings:?}");
    }

    #[test]
    fn what_nobody_produced_is_misfolded() {
        for value in [None, Some("no tally".to_owned()), Some("0 99999 1 1 1 1 1".to_owned())] {
            let mut records = sample().tallies;
            records.push(Stored { value, ..records[0].clone() });
            assert_eq!(checked(&records).misfolded, 1);
        }
        let mut records = sample().tallies;
        records.push(Stored { key: "key-1".to_owned(), ..records[0].clone() });
        assert_eq!(checked(&records).misfolded, 1, "under another key");
    }

    #[test]
    fn an_event_that_is_in_one_output_only_is_torn() {
        let Sample { due, tallies, moved: mut regrouped, .. } = sample();
        let mut findings = Findings::default();
        regrouped.remove(5);
        let one = tallied(&due, &tallies, &mut findings);
        let other = moved(&due, &regrouped, &mut findings);
        torn(&one, &other, &mut findings);
        assert_eq!((findings.torn, findings.lost, findings.total()), (1, 1, 2), "{findings:?}");
    }

    #[test]
    fn what_is_moved_twice_or_out_of_order_is_seen() {
        let Sample { due, moved: regrouped, .. } = sample();
        let mut findings = Findings::default();
        moved(&due, &[&regrouped[..], &regrouped[..1]].concat(), &mut findings);
        assert_eq!((findings.duplicated, findings.total()), (1, 1), "{findings:?}");
        let mut reversed = regrouped;
        reversed.reverse();
        let mut findings = Findings::default();
        moved(&due, &reversed, &mut findings);
        assert!(findings.reordered > 0 && findings.reordered == findings.total(), "{findings:?}");
        let mut strange = reversed;
        strange[0].key = "group-none".to_owned();
        let mut findings = Findings::default();
        moved(&due, &strange, &mut findings);
        assert_eq!((findings.misfolded, findings.lost), (1, 1), "{findings:?}");
    }
}
