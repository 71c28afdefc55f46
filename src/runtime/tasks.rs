//! The tasks that a stream thread owns, and the changelog slots of their stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Instant;
use crate::kafka::Slot;
use crate::position::{Partition, TaskId, TopicPartition};
use crate::store::StoreIndex;
use crate::task::Task;
use crate::topology::Topology;

/// Why a task's input is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rest {
    /// A schema is being fetched.
    Schema(crate::codec::SchemaId),
    /// Too many of its records were set aside.
    Breaker {
        /// When to probe again.
        until: Instant,
    },
}

impl Rest {
    pub(super) fn reason(&self) -> String {
        match self {
            Rest::Schema(id) => format!("schema id {id} is being fetched from the registry"),
            Rest::Breaker { .. } => "too many of its records were set aside".to_owned(),
        }
    }
}

/// A task with what the thread has to know around it.
pub(super) struct OwnedTask {
    pub(super) task: Task,
    /// Its input partitions, as assigned.
    pub(super) inputs: Vec<TopicPartition>,
    /// Its changelog partitions, in the order of the topology's stores.
    pub(super) changelogs: Vec<Changelog>,
    /// Set while its input is paused for a reason of its own.
    pub(super) rest: Option<Rest>,
}

/// A store's changelog partition.
#[derive(Debug, Clone)]
pub(super) struct Changelog {
    pub(super) store: StoreIndex,
    /// Whether it is the topic of a lookup table: written by others, and an input of the task besides.
    pub(super) is_table: bool,
    pub(super) at: TopicPartition,
    pub(super) slot: Slot,
}

struct TopicEntry {
    name: Arc<str>,
    source: usize,
    sub_topology: u32,
    records: u64,
}

/// All tasks of a thread, found by topic and partition for each record.
#[derive(Default)]
pub(super) struct Tasks {
    owned: BTreeMap<TaskId, OwnedTask>,
    topics: Vec<TopicEntry>,
    /// Which of the topics was looked for last.
    last: usize,
    slots: Vec<(TaskId, StoreIndex)>,
    /// Whether a task has come since this was last asked.
    come: bool,
}

impl Tasks {
    /// The task that processes this topic's partition.
    pub(super) fn find(&mut self, topic: &str, partition: Partition) -> Option<&mut OwnedTask> {
        let sub_topology = self.topic(topic)?.sub_topology;
        self.owned.get_mut(&TaskId { sub_topology, partition })
    }

    /// Batches of a partition come in one piece, so the topic is mostly that of the record before.
    fn topic(&mut self, name: &str) -> Option<&mut TopicEntry> {
        if self.topics.get(self.last).is_none_or(|topic| *topic.name != *name) {
            self.last = self.topics.iter().position(|topic| *topic.name == *name)?;
        }
        self.topics.get_mut(self.last)
    }

    pub(super) fn contains(&self, id: TaskId) -> bool {
        self.owned.contains_key(&id)
    }

    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut OwnedTask> {
        self.owned.get_mut(&id)
    }

    pub(super) fn insert(&mut self, task: OwnedTask) {
        self.owned.insert(task.task.id(), task);
        self.come = true;
    }

    /// Whether a task has come, or come back, since the last call.
    pub(super) fn take_come(&mut self) -> bool {
        std::mem::take(&mut self.come)
    }

    pub(super) fn remove(&mut self, id: TaskId) -> Option<OwnedTask> {
        self.owned.remove(&id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut OwnedTask> {
        self.owned.values_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &OwnedTask> {
        self.owned.values()
    }

    pub(super) fn ids(&self) -> Vec<TaskId> {
        self.owned.keys().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    /// Input partitions of all tasks.
    pub(super) fn inputs(&self) -> Vec<TopicPartition> {
        self.owned.values().flat_map(|owned| owned.inputs.iter().cloned()).collect()
    }

    /// Which task an input partition belongs to; remembers the topic.
    pub(super) fn task_of(&mut self, topology: &Topology, at: &TopicPartition) -> Option<TaskId> {
        let mut sources = topology.sources().iter().enumerate();
        let (index, source) = sources.find(|(_, source)| source.topics.matches(&at.topic))?;
        let sub_topology = source.sub_topology;
        if self.topic(&at.topic).is_none() {
            self.topics.push(TopicEntry { name: Arc::clone(&at.topic), source: index, sub_topology, records: 0 });
        }
        Some(TaskId { sub_topology, partition: at.partition })
    }

    /// A record of this topic was processed.
    pub(super) fn count(&mut self, topic: &str) {
        if let Some(entry) = self.topic(topic) {
            entry.records += 1;
        }
    }

    /// Records processed since the last call, by source.
    pub(super) fn take_counts<'a>(&mut self, topology: &'a Topology) -> Vec<(&'a str, u64)> {
        let counted = self.topics.iter_mut().filter(|entry| entry.records > 0);
        counted
            .map(|entry| (topology.sources()[entry.source].name.as_str(), std::mem::take(&mut entry.records)))
            .collect()
    }

    /// The changelog partitions of a task's stores, each with a slot.
    pub(super) fn changelogs(&mut self, topology: &Topology, application: &str, id: TaskId) -> Vec<Changelog> {
        let own = topology.stores_of(id.sub_topology);
        let own = own.filter(|(_, store)| store.spec.changelog || store.table.is_some());
        let changelog = |(store, declaration): (StoreIndex, &crate::topology::StoreDeclaration)| {
            let own = || Topology::changelog_topic(application, &declaration.spec.name).into();
            let topic = declaration.table.clone().unwrap_or_else(own);
            Changelog {
                store,
                is_table: declaration.table.is_some(),
                at: TopicPartition { topic, partition: id.partition },
                slot: self.slot(id, store),
            }
        };
        own.map(changelog).collect()
    }

    fn slot(&mut self, id: TaskId, store: StoreIndex) -> Slot {
        let known = self.slots.iter().position(|slot| *slot == (id, store));
        Slot(known.unwrap_or_else(|| {
            self.slots.push((id, store));
            self.slots.len() - 1
        }))
    }

    /// The task and store of a slot.
    pub(super) fn owner(&self, slot: Slot) -> Option<(TaskId, StoreIndex)> {
        self.slots.get(slot.0).copied()
    }
}
