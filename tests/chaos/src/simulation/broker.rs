//! The model's partitions and its transaction coordinator: transactions v2 (KIP-890), decided in full before anything is told.
//!
//! ```text
//!  Produce, TxnOffsetCommit ─▶ ongoing ─ EndTxn ─▶ completing: a marker per partition, one after the other ─▶ empty
//!  (epoch e)                     │                  (epoch e + 1: what is late of e is refused)
//!                                └─ InitProducerId, time-out: the same, aborting
//! ```
//!
//! Markers come one at a time, whenever the schedule has it, so that partitions and committed offsets become stable in any
//! order (KIP-447).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headrace::kafka::Member;
use headrace::position::{Offset, TopicPartition};

use super::arm::Arm;
use super::group::Group;
use super::log::{Entry, Log, Producer};
use crate::application::TRANSACTION_TIMEOUT;

/// Why a request is refused, with Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The same request may succeed later: not the leader, coordinator away, a transaction that is completing.
    Again(&'static str),
    /// Another epoch is newer.
    InvalidProducerEpoch,
    /// The membership is not that of the group.
    Membership(&'static str),
    /// Nothing is open that could be ended.
    InvalidTxnState,
}

/// Something that ends a transaction's part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Log(TopicPartition),
    Offsets,
}

#[derive(Debug, Clone)]
enum State {
    Empty,
    Ongoing { parts: BTreeSet<Part>, since: Duration },
    Completing { parts: BTreeSet<Part>, commit: bool },
}

struct Transactional {
    producer: Producer,
    state: State,
}

/// What a retry of a batch is known by.
#[derive(Debug, Clone, Copy)]
struct Last {
    epoch: i16,
    sequence: u64,
    base: i64,
}

/// The brokers.
pub(super) struct Broker {
    arm: Arm,
    pub(super) logs: BTreeMap<TopicPartition, Log>,
    ids: BTreeMap<String, Transactional>,
    last: BTreeMap<(i64, TopicPartition), Last>,
    next_id: i64,
}

impl Broker {
    pub(super) fn new(arm: Arm, partitions: impl Iterator<Item = TopicPartition>) -> Self {
        let logs = partitions.map(|at| (at, Log::default())).collect();
        Broker { arm, logs, ids: BTreeMap::new(), last: BTreeMap::new(), next_id: 1000 }
    }

    /// InitProducerId: aborts what is open, and hands out the next epoch.
    pub(super) fn initialise(&mut self, id: &str) -> Result<Producer, Refusal> {
        let Some(known) = self.ids.get_mut(id) else {
            let producer = Producer { id: self.next_id, epoch: 0 };
            self.next_id += 1;
            self.ids.insert(id.to_owned(), Transactional { producer, state: State::Empty });
            return Ok(producer);
        };
        match std::mem::replace(&mut known.state, State::Empty) {
            State::Empty => {
                known.producer.epoch += 1;
                Ok(known.producer)
            }
            State::Ongoing { parts, .. } => {
                known.producer.epoch += 1;
                known.state = State::Completing { parts, commit: false };
                Err(Refusal::Again("CONCURRENT_TRANSACTIONS"))
            }
            completing @ State::Completing { .. } => {
                known.state = completing;
                Err(Refusal::Again("CONCURRENT_TRANSACTIONS"))
            }
        }
    }

    /// Enlists a part of a producer's transaction.
    fn enlist(&mut self, id: &str, producer: Producer, part: Part, now: Duration) -> Result<(), Refusal> {
        let known = self.ids.get_mut(id).ok_or(Refusal::InvalidProducerEpoch)?;
        if known.producer != producer {
            return Err(Refusal::InvalidProducerEpoch);
        }
        match &mut known.state {
            State::Completing { .. } => return Err(Refusal::Again("CONCURRENT_TRANSACTIONS")),
            State::Ongoing { parts, .. } => _ = parts.insert(part),
            State::Empty => known.state = State::Ongoing { parts: BTreeSet::from([part]), since: now },
        }
        Ok(())
    }

    /// Produce: gives the batch's first offset, also of one that came before.
    pub(super) fn produce(
        &mut self,
        id: &str,
        producer: Producer,
        at: &TopicPartition,
        sequence: u64,
        entries: Vec<Entry>,
        now: Duration,
    ) -> Result<i64, Refusal> {
        let key = (producer.id, at.clone());
        let known = self.last.get(&key).filter(|last| last.epoch == producer.epoch);
        if let Some(last) = known.filter(|last| last.sequence == sequence) {
            return Ok(last.base);
        }
        if known.is_some_and(|last| last.sequence > sequence) {
            // DUPLICATE_SEQUENCE_NUMBER: a retry whose answer nobody needs any more.
            return Ok(-1);
        }
        self.enlist(id, producer, Part::Log(at.clone()), now)?;
        let log = self.logs.get_mut(at).ok_or(Refusal::Again("UNKNOWN_TOPIC_OR_PARTITION"))?;
        let base = log.append(Some(producer), entries);
        self.last.insert(key, Last { epoch: producer.epoch, sequence, base });
        Ok(base)
    }

    /// TxnOffsetCommit: positions wait in the group until the transaction has ended.
    pub(super) fn offsets(
        &mut self,
        id: &str,
        producer: Producer,
        group: &mut Group,
        (positions, member): (&[(TopicPartition, Offset)], &Member),
        now: Duration,
    ) -> Result<(), Refusal> {
        let refused = if self.arm == Arm::NoFence { Ok(()) } else { group.validate(member) };
        // The epoch first: the coordinator looks at the transaction before the group.
        self.enlist(id, producer, Part::Offsets, now)?;
        refused.map_err(Refusal::Membership)?;
        group.pend(producer.id, positions);
        Ok(())
    }

    /// EndTxn: decides, and hands out the next epoch; the markers follow.
    pub(super) fn end(&mut self, id: &str, producer: Producer, commit: bool) -> Result<Producer, Refusal> {
        let arm = self.arm;
        let known = self.ids.get_mut(id).ok_or(Refusal::InvalidProducerEpoch)?;
        if known.producer != producer {
            return Err(Refusal::InvalidProducerEpoch);
        }
        match std::mem::replace(&mut known.state, State::Empty) {
            // Transactions v1 take it for a retry of the one that has ended.
            State::Empty if arm == Arm::SameEpoch => Ok(known.producer),
            State::Empty => Err(Refusal::InvalidTxnState),
            completing @ State::Completing { .. } => {
                known.state = completing;
                Err(Refusal::Again("CONCURRENT_TRANSACTIONS"))
            }
            State::Ongoing { parts, .. } => {
                known.state = State::Completing { parts, commit };
                if arm != Arm::SameEpoch {
                    known.producer.epoch += 1;
                }
                Ok(known.producer)
            }
        }
    }

    /// Transactional ids with something open in a partition (KIP-664).
    pub(super) fn open_in(&self, at: &TopicPartition) -> Vec<String> {
        let part = Part::Log(at.clone());
        let is_open =
            |known: &Transactional| matches!(&known.state, State::Ongoing { parts, .. } if parts.contains(&part));
        self.ids.iter().filter(|(_, known)| is_open(known)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether this id has a transaction open that nobody is ending.
    pub(super) fn is_ongoing(&self, id: &str) -> bool {
        self.ids.get(id).is_some_and(|known| matches!(known.state, State::Ongoing { .. }))
    }

    /// Aborts what has been open for too long.
    pub(super) fn time_out(&mut self, now: Duration) -> Option<String> {
        let old = |known: &Transactional| matches!(&known.state, State::Ongoing { since, .. } if now > *since + TRANSACTION_TIMEOUT);
        let (id, known) = self.ids.iter_mut().find(|(_, known)| old(known))?;
        if let State::Ongoing { parts, .. } = std::mem::replace(&mut known.state, State::Empty) {
            known.producer.epoch += 1;
            known.state = State::Completing { parts, commit: false };
        }
        Some(id.clone())
    }

    /// Whether nothing is open anywhere.
    pub(super) fn is_settled(&self) -> bool {
        self.ids.values().all(|known| matches!(known.state, State::Empty))
    }

    /// Writes one marker, of one of the transactions that are completing; which one, `choose` says. Tells what it wrote.
    pub(super) fn mark(&mut self, group: &mut Group, mut choose: impl FnMut(usize) -> usize) -> Option<String> {
        let completing = |known: &Transactional| matches!(known.state, State::Completing { .. });
        let count = self.ids.values().filter(|known| completing(known)).count();
        if count == 0 {
            return None;
        }
        let chosen = choose(count);
        let known = self.ids.values_mut().filter(|known| completing(known)).nth(chosen)?;
        let State::Completing { parts, commit } = &mut known.state else { return None };
        let commit = *commit;
        let which = choose(parts.len().max(1));
        let part = parts.iter().nth(which).cloned();
        let mut told = None;
        if let Some(part) = part {
            parts.remove(&part);
            told = Some(format!(
                "{} of producer {}: {}",
                name(&part),
                known.producer.id,
                if commit { "commit" } else { "abort" }
            ));
            match part {
                Part::Log(at) => {
                    if let Some(log) = self.logs.get_mut(&at).filter(|log| log.is_open(known.producer.id)) {
                        log.end(known.producer, commit);
                    }
                }
                Part::Offsets => group.settle(known.producer.id, commit),
            }
        }
        if matches!(&known.state, State::Completing { parts, .. } if parts.is_empty()) {
            known.state = State::Empty;
        }
        told
    }
}

fn name(part: &Part) -> String {
    match part {
        Part::Log(at) => at.to_string(),
        Part::Offsets => "offsets".to_owned(),
    }
}
