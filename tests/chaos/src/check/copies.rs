//! Stores on disk, opened while nobody runs, against the fold of their changelogs.
//!
//! A task that has moved leaves a copy behind, at the commit that its old owner made last. Such a copy is compared with the
//! log up to its own position; and one copy of each store has to be at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use headrace::store::{Bounds, StateDirectory, StoreOptions, StoreResources, StoreSpec};

use super::Findings;
use crate::Result;
use crate::ground::Stage;
use crate::reader::Stored;
use crate::topology;

/// The entries of a store, in order.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// One store of one task in one instance's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Whose directory.
    pub instance: String,
    /// The store's name.
    pub store: String,
    /// The task's partition.
    pub partition: i32,
    /// Up to which offset of its changelog it stands; `None`: it knows nothing of it.
    pub next: Option<i64>,
    /// What is in it.
    pub entries: Entries,
}

/// Opens all stores of a stage in an instance's directory, whose application must have ended.
///
/// # Errors
/// A directory can't be opened.
pub fn scan(stage: &Stage, instance: &str, directory: &Path) -> Result<Vec<Copy>> {
    let topology = topology::of(stage, Duration::ZERO)?;
    let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
    let state = StateDirectory::open(directory, &stage.application)?;
    let resources = StoreResources::new(StoreOptions::default());
    let mut copies = Vec::new();
    for task in state.tasks()? {
        let mut opened = state.open_task(task, &specs, topology.state_id(), &resources)?;
        for spec in &specs {
            let mut entries = Entries::new();
            let next = opened.changelog_next(spec.index).map(|offset| offset.0);
            let mut scan = opened.range(spec.index, Bounds::ALL)?;
            while let Some((key, value)) = scan.next()? {
                entries.insert(key.to_vec(), value.to_vec());
            }
            copies.push(Copy {
                instance: instance.to_owned(),
                store: spec.name.clone(),
                partition: task.partition.0,
                next,
                entries,
            });
        }
    }
    Ok(copies)
}

/// The last value of each key in a partition of a changelog, of what is before an offset.
fn fold(log: &[Stored], partition: i32, before: i64) -> Entries {
    let mut entries = Entries::new();
    for record in log.iter().filter(|record| record.partition == partition && record.offset < before) {
        let key = record.key.as_bytes().to_vec();
        match &record.value {
            Some(value) => _ = entries.insert(key, value.as_bytes().to_vec()),
            None => _ = entries.remove(&key),
        }
    }
    entries
}

/// Checks all copies of a store against its changelog, as a committed reader sees it.
pub fn check(store: &str, copies: &[Copy], log: &[Stored], findings: &mut Findings) {
    let partitions: BTreeSet<i32> = log.iter().map(|record| record.partition).collect();
    let own: Vec<&Copy> = copies.iter().filter(|copy| copy.store == store).collect();
    for copy in &own {
        let due = fold(log, copy.partition, copy.next.unwrap_or(0));
        if copy.entries != due {
            findings.unequal += 1;
            findings.example(|| format!("{}: {}", name(copy), difference(&copy.entries, &due)));
        }
    }
    for partition in partitions {
        let whole = fold(log, partition, i64::MAX);
        if !own.iter().any(|copy| copy.partition == partition && copy.entries == whole) {
            findings.unequal += 1;
            findings.example(|| format!("{store} of partition {partition}: no instance has what the changelog says"));
        }
    }
}

fn name(copy: &Copy) -> String {
    format!("{} of partition {} at {:?} in {}", copy.store, copy.partition, copy.next, copy.instance)
}

fn difference(found: &Entries, due: &Entries) -> String {
    let keys: BTreeSet<&Vec<u8>> = found.keys().chain(due.keys()).collect();
    let wrong: Vec<&Vec<u8>> = keys.into_iter().filter(|key| found.get(*key) != due.get(*key)).collect();
    let text = |bytes: Option<&Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let first = wrong.first().map(|key| (text(Some(key)), text(found.get(*key)), text(due.get(*key))));
    format!("{} keys differ from the changelog, such as (key, found, due) {first:?}", wrong.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::samples::sample;

    fn copy(next: i64, entries: Entries) -> Copy {
        Copy { instance: "one".to_owned(), store: "sums".to_owned(), partition: 0, next: Some(next), entries }
    }

    fn checked(copies: &[Copy]) -> Findings {
        let mut findings = Findings::default();
        check("sums", copies, &sample().logs[1], &mut findings);
        findings
    }

    #[test]
    fn a_copy_at_the_end_and_one_behind_it_are_equal_to_their_parts_of_the_log() {
        let log = &sample().logs[1];
        let end = log.last().unwrap().offset + 2;
        let whole = copy(end, fold(log, 0, end));
        assert_eq!(checked(std::slice::from_ref(&whole)), Findings::default());
        assert_eq!(checked(&[whole.clone(), copy(3, fold(log, 0, 3))]), Findings::default());
        assert_eq!(checked(&[copy(3, fold(log, 0, 3))]).unequal, 1, "nobody is at the end");
        assert_eq!(checked(&[whole, copy(3, fold(log, 0, 4))]).unequal, 1, "a write of no commit of its own");
    }

    #[test]
    fn a_value_a_missing_key_and_a_key_too_many_are_unequal() {
        let log = &sample().logs[1];
        let end = log.last().unwrap().offset + 1;
        let changes: [fn(&mut Entries); 3] = [
            |entries| _ = entries.insert(b"key-0".to_vec(), b"1".to_vec()),
            |entries| _ = entries.remove(b"key-0".as_slice()),
            |entries| _ = entries.insert(b"key-9".to_vec(), b"1".to_vec()),
        ];
        for change in changes {
            let mut entries = fold(log, 0, end);
            change(&mut entries);
            assert_eq!(checked(&[copy(end, entries)]).unequal, 2);
        }
    }
}
