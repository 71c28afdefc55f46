//! Reads all that a run wrote, and has it checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::due::Due;
use super::visible::Place;
use super::{Findings, changelog, copies, stream, visible};
use crate::Result;
use crate::brokers::Brokers;
use crate::ground::{Ground, Stage};
use crate::reader::{Isolation, Stored, read, visit};
use crate::segments::Segments;
use crate::topology::STORES;

/// What was compared, so that a reader can tell a proof from a run in which nothing happened.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What is wrong.
    pub findings: Findings,
    /// Events that were produced.
    pub events: u64,
    /// Records that committed readers saw.
    pub records: u64,
    /// Records of aborted transactions, which they did not see.
    pub aborted: u64,
    /// Stores of tasks that were compared, copies left behind included.
    pub stores: u64,
}

impl Judgement {
    /// Adds those of another run.
    pub fn add(&mut self, other: Judgement) {
        self.findings.add(other.findings);
        self.events += other.events;
        self.records += other.records;
        self.aborted += other.aborted;
        self.stores += other.stores;
    }
}

/// An instance's name and state directory.
pub type Directory = (String, PathBuf);

/// Judges a run whose instances have ended. `produced` events there are of each origin.
///
/// # Errors
/// Something can't be read; the load itself is not what it should be.
pub fn judge(ground: &Ground, brokers: Brokers<'_>, produced: &[u64], directories: &[Directory]) -> Result<Judgement> {
    let mut judgement = Judgement { events: produced.iter().sum(), ..Judgement::default() };
    let [first, second] = ground.stages();
    let mut due = loaded(ground, &first, produced)?;
    let mut logs = Vec::new();
    for stage in [first, second] {
        due = judge_stage(ground, brokers, &stage, &due, directories, &mut logs, &mut judgement)?;
    }
    if std::env::var("HEADRACE_E2E_PRODUCER").as_deref() != Ok("librdkafka") {
        visible::endings(logs.iter(), &mut judgement.findings);
    }
    Ok(judgement)
}

/// Judges the first stage's outputs only: what a control arm writes.
///
/// # Errors
/// As [`judge`].
pub fn judge_outputs(ground: &Ground, produced: &[u64]) -> Result<Findings> {
    let [first, _] = ground.stages();
    let due = loaded(ground, &first, produced)?;
    let mut findings = Findings::default();
    outputs(ground, &first, &due, &mut findings)?;
    Ok(findings)
}

/// What is due, after a look whether it is in the input: else every finding would be the load's fault.
fn loaded(ground: &Ground, first: &Stage, produced: &[u64]) -> Result<Due> {
    let due = Due::produced(produced);
    let input = read(&ground.client(), &first.input, Isolation::Uncommitted)?;
    let found = Due::read(&input);
    if input.len() != due.count() || !found.events().eq(due.events()) {
        return Err(format!("the input has {} events, not the {} produced", input.len(), due.count()).into());
    }
    Ok(due)
}

/// Output and, where there is one, the topic between the stages; what the next stage has to do.
fn outputs(ground: &Ground, stage: &Stage, due: &Due, findings: &mut Findings) -> Result<Due> {
    let read = |topic: &str| read(&ground.client(), topic, Isolation::Committed);
    let seen = stream::tallied(due, &read(&stage.output)?, findings);
    let Some(moved) = &stage.moved else { return Ok(Due::default()) };
    let records = read(moved)?;
    let other = stream::moved(due, &records, findings);
    stream::torn(&seen, &other, findings);
    Ok(Due::read(&records))
}

fn judge_stage(
    ground: &Ground,
    brokers: Brokers<'_>,
    stage: &Stage,
    due: &Due,
    directories: &[Directory],
    logs: &mut Vec<Segments>,
    judgement: &mut Judgement,
) -> Result<Due> {
    let next = outputs(ground, stage, due, &mut judgement.findings)?;
    let mut copied = Vec::new();
    for (instance, directory) in directories {
        copied.extend(copies::scan(stage, instance, directory)?);
    }
    judgement.stores += copied.len() as u64;
    let mut changelogs: [Vec<Stored>; 4] = Default::default();
    for (log, store) in changelogs.iter_mut().zip(STORES) {
        *log = read(&ground.client(), &stage.changelog(store), Isolation::Committed)?;
        copies::check(store, &copied, log, &mut judgement.findings);
    }
    changelog::check(due, &changelogs, &mut judgement.findings);
    for topic in stage.written() {
        logs.extend(judge_topic(ground, brokers, &topic, judgement)?);
    }
    Ok(next)
}

fn judge_topic(ground: &Ground, brokers: Brokers<'_>, topic: &str, judgement: &mut Judgement) -> Result<Vec<Segments>> {
    let mut logs = BTreeMap::new();
    for partition in 0..ground.partitions {
        logs.insert(partition, Segments::read(&brokers.log_of(ground, topic, partition)?)?);
    }
    let places = |isolation: Isolation| -> Result<BTreeSet<Place>> {
        let mut places = BTreeSet::new();
        visit(&ground.client(), topic, isolation, |record| _ = places.insert((record.partition, record.offset)))?;
        Ok(places)
    };
    let (committed, all) = (places(Isolation::Committed)?, places(Isolation::Uncommitted)?);
    judgement.records += committed.len() as u64;
    judgement.aborted += visible::check(topic, &committed, &all, &logs, &mut judgement.findings);
    Ok(logs.into_values().collect())
}
