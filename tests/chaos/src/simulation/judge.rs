//! Has the checker of the other runs look at a simulated one: the same comparison, of the model's logs and the real stores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headrace::position::{Partition, TopicPartition};

use super::arm::Arm;
use super::world::State;
use crate::Result;
use crate::check::due::Due;
use crate::check::judge::Judgement;
use crate::check::visible::Place;
use crate::check::{changelog, copies, stream, visible};
use crate::reader::Stored;
use crate::segments::Segments;
use crate::topology::STORES;

/// Judges a run whose instances have ended.
pub(super) fn judge(state: &State) -> Result<Judgement> {
    let mut judgement = Judgement { events: state.produced.iter().sum(), ..Judgement::default() };
    let findings = &mut judgement.findings;
    for defect in state.defects.iter().chain(&state.group.moved_back) {
        findings.misfolded += 1;
        findings.examples.push(defect.clone());
    }
    let due = Due::produced(&state.produced);
    let stage = &state.stage;
    let seen = stream::tallied(&due, &read(state, &stage.output), findings);
    if let Some(moved) = &stage.moved {
        let other = stream::moved(&due, &read(state, moved), findings);
        stream::torn(&seen, &other, findings);
    }
    let mut copied = Vec::new();
    for instance in &state.instances {
        copied.extend(copies::scan(stage, &instance.name, &instance.directory)?);
    }
    judgement.stores = copied.len() as u64;
    let logs = STORES.map(|store| read(state, &stage.changelog(store)));
    for (log, store) in logs.iter().zip(STORES) {
        copies::check(store, &copied, log, findings);
    }
    changelog::check(&due, &logs, findings);
    let mut endings = Vec::new();
    for topic in stage.written() {
        endings.extend(look_at_topic(state, &topic, &mut judgement));
    }
    // Without an epoch of its own, a transaction can't be told from the next.
    if state.arm != Arm::SameEpoch {
        visible::endings(endings.iter(), &mut judgement.findings);
    }
    Ok(judgement)
}

fn partitions(state: &State, topic: &str) -> impl Iterator<Item = (i32, TopicPartition)> {
    let topic: Arc<str> = topic.into();
    (0..state.plan.partitions)
        .map(move |number| (number, TopicPartition { topic: Arc::clone(&topic), partition: Partition(number) }))
}

fn read(state: &State, topic: &str) -> Vec<Stored> {
    let stored = |(number, at): (i32, TopicPartition)| state.broker.logs[&at].stored(number, true);
    partitions(state, topic).flat_map(stored).collect()
}

fn look_at_topic(state: &State, topic: &str, judgement: &mut Judgement) -> Vec<Segments> {
    let (mut logs, mut committed, mut all) = (BTreeMap::new(), BTreeSet::<Place>::new(), BTreeSet::<Place>::new());
    for (number, at) in partitions(state, topic) {
        let log = &state.broker.logs[&at];
        logs.insert(number, Segments::parse(&log.bytes()));
        committed.extend(log.records(true).map(|(offset, _)| (number, offset)));
        all.extend(log.records(false).map(|(offset, _)| (number, offset)));
    }
    judgement.records += committed.len() as u64;
    judgement.aborted += visible::check(topic, &committed, &all, &logs, &mut judgement.findings);
    logs.into_values().collect()
}
