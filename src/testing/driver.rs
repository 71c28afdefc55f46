//! The driver: one task per sub-topology and partition that is used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{Binding, Codec, DecodeError, SchemaError, Schemas};
use crate::position::{Offset, Partition, TaskId};
use crate::processor::Clock;
use crate::record::{Headers, RawRecord, Timestamp};
use crate::store::{Commit, ReadError, Store, StoreSpec, TaskState};
use crate::task::{Limits, Outcome, Punctuated, Task, TaskFault};
use crate::topology::Topology;

use super::clock::ManualClock;

/// A record that the topology has produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driven {
    /// Topic.
    pub topic: String,
    /// Key bytes.
    pub key: Option<Vec<u8>>,
    /// Value bytes.
    pub value: Option<Vec<u8>>,
    /// Headers.
    pub headers: Headers,
    /// Event time.
    pub timestamp: Timestamp,
}

impl Driven {
    /// The value, decoded.
    ///
    /// # Errors
    /// The bytes are none of the codec's.
    pub fn value<T>(&self, codec: &impl Codec<T>) -> Result<T, DecodeError> {
        codec.decode(self.value.as_deref())
    }
}

/// Drives a topology without a broker.
pub struct TopologyDriver {
    topology: Topology,
    schemas: Arc<Schemas>,
    tasks: BTreeMap<TaskId, Task>,
    offsets: BTreeMap<(String, i32), i64>,
    outputs: Vec<Driven>,
    requests: Vec<(String, Vec<u8>)>,
    /// Wall-clock time. Punctuators see it at the next [`advance_wall_clock`](Self::advance_wall_clock).
    pub clock: ManualClock,
    /// Timestamp of the records that are sent from here on; `None`: the clock's time.
    pub record_time: Option<Timestamp>,
}

impl TopologyDriver {
    /// Binds the codecs to schemas of its own; touches no network.
    ///
    /// # Errors
    /// A schema can't be parsed.
    pub fn new(topology: Topology) -> Result<Self, SchemaError> {
        let schemas = Arc::new(Schemas::default());
        for codec in topology.codecs() {
            let writer = codec.schema.as_deref().map(|schema| schemas.register_local(schema)).transpose()?;
            (codec.bind)(&Binding { schemas: Arc::clone(&schemas), writer });
        }
        Ok(TopologyDriver {
            topology,
            schemas,
            tasks: BTreeMap::new(),
            offsets: BTreeMap::new(),
            outputs: Vec::new(),
            requests: Vec::new(),
            clock: ManualClock::at(Timestamp(0)),
            record_time: None,
        })
    }

    /// The schemas that codecs look into; add what a source needs.
    pub fn schemas(&self) -> &Arc<Schemas> {
        &self.schemas
    }

    /// Makes the tasks of a partition, as an assignment does: their punctuators count from the clock's time on. Tasks that are
    /// not made are made by their first record.
    ///
    /// # Errors
    /// As [`advance_wall_clock`](Self::advance_wall_clock).
    pub fn assign(&mut self, partition: i32) -> Result<(), TaskFault> {
        for sub_topology in 0..self.topology.sub_topologies() {
            self.make(TaskId { sub_topology, partition: Partition(partition) })?;
        }
        Ok(())
    }

    fn make(&mut self, id: TaskId) -> Result<(), TaskFault> {
        if !self.tasks.contains_key(&id) {
            self.tasks.insert(id, new_task(&self.topology, id));
            self.punctuate(id, Clock::WallClock, self.clock.now(), &mut Vec::new())?;
        }
        Ok(())
    }

    /// Moves the clock forward, all at once, and calls the punctuators of wall-clock time that have become due, each one once
    /// as the runtime does. Gives the calls, task by task.
    ///
    /// # Errors
    /// A [`TaskFault`]: the punctuator's call has had no effect, and its tick is still due.
    pub fn advance_wall_clock(&mut self, by: Duration) -> Result<Vec<Punctuated>, TaskFault> {
        self.clock.advance(by);
        let mut calls = Vec::new();
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.punctuate(id, Clock::WallClock, self.clock.now(), &mut calls)?;
        }
        Ok(calls)
    }

    fn punctuate(
        &mut self,
        id: TaskId,
        clock: Clock,
        time: Timestamp,
        calls: &mut Vec<Punctuated>,
    ) -> Result<(), TaskFault> {
        let now = self.clock.now();
        while let Some(task) = self.tasks.get_mut(&id) {
            let called = task.punctuate(clock, time, now)?;
            self.commit(id, called.as_ref().map_or(time, |punctuated| punctuated.at))?;
            let Some(called) = called else { break };
            calls.push(called);
        }
        Ok(())
    }

    /// Sends a record into a partition of a source topic, at the partition's next offset. Punctuators of stream time that it
    /// brings on are called before it.
    ///
    /// # Errors
    /// A [`TaskFault`]: the record has had no effect and can be sent again.
    pub fn send(
        &mut self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &Headers,
    ) -> Result<Outcome, TaskFault> {
        let offset = *self.offsets.entry((topic.to_owned(), partition)).or_default();
        let outcome = self.send_at(topic, partition, offset, key, value, headers)?;
        self.offsets.insert((topic.to_owned(), partition), offset + 1);
        Ok(outcome)
    }

    /// The same at an offset of choice, to replay a record.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_at(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &Headers,
    ) -> Result<Outcome, TaskFault> {
        let sources = self.topology.sources();
        let source = sources.iter().find(|source| source.topics.matches(topic));
        let source = source.ok_or_else(|| TaskFault::UnknownTopic(topic.to_owned()))?;
        let id = TaskId { sub_topology: source.sub_topology, partition: Partition(partition) };
        self.make(id)?;
        let (now, timestamp) = (self.clock.now(), self.record_time.unwrap_or(self.clock.now()));
        if self.tasks[&id].is_due(timestamp) {
            self.punctuate(id, Clock::StreamTime, timestamp, &mut Vec::new())?;
        }
        let (partition, offset) = (Partition(partition), Offset(offset));
        let raw = RawRecord { topic, partition, offset, timestamp, key, value, headers };
        let task = self.tasks.get_mut(&id).ok_or_else(|| TaskFault::UnknownTopic(topic.to_owned()))?;
        let outcome = task.process(&raw, now)?;
        self.commit(id, timestamp)?;
        Ok(outcome)
    }

    /// Takes what a task has asked for, and commits it.
    fn commit(&mut self, id: TaskId, timestamp: Timestamp) -> Result<(), TaskFault> {
        let (topology, Some(task)) = (&self.topology, self.tasks.get_mut(&id)) else { return Ok(()) };
        task.state().publish_changelog(|write| {
            let store = &topology.stores()[write.store.0].spec.name;
            self.outputs.push(Driven {
                topic: Topology::changelog_topic(topology.name(), store),
                key: Some(write.key.to_vec()),
                value: write.value.map(<[u8]>::to_vec),
                headers: Headers::new(),
                timestamp,
            });
            Ok::<(), TaskFault>(())
        })?;
        let effects = task.effects();
        let topics = topology.sink_topics();
        self.outputs.extend(effects.outputs().iter().map(|output| Driven {
            topic: topics[output.topic.0].clone(),
            key: effects.key(output).map(<[u8]>::to_vec),
            value: effects.value(output).map(<[u8]>::to_vec),
            headers: output.headers.clone(),
            timestamp: output.timestamp,
        }));
        let externals = topology.externals();
        let requests = effects.requests().iter();
        self.requests
            .extend(requests.map(|request| (externals[request.sink.0].name.clone(), effects.body(request).to_vec())));
        effects.clear();
        let positions = task.positions();
        let stream_time = Some(task.stream_time());
        task.state().commit(&Commit { changelog_next: &[], positions: &positions, stream_time })?;
        task.committed(&positions);
        Ok(())
    }

    /// What was produced to a topic since it was last asked for.
    pub fn take(&mut self, topic: &str) -> Vec<Driven> {
        let (taken, kept) = std::mem::take(&mut self.outputs).into_iter().partition(|output| output.topic == topic);
        self.outputs = kept;
        taken
    }

    /// Bodies of the requests to an external sink since it was last asked for.
    pub fn take_requests(&mut self, sink: &str) -> Vec<Vec<u8>> {
        let all = std::mem::take(&mut self.requests).into_iter();
        let (taken, kept): (Vec<_>, Vec<_>) = all.partition(|(name, _)| name == sink);
        self.requests = kept;
        taken.into_iter().map(|(_, body)| body).collect()
    }

    /// A store's value in the task of a partition.
    ///
    /// # Errors
    /// The stored bytes can't be decoded.
    pub fn read<K: 'static, V: 'static>(
        &mut self,
        store: &Store<K, V>,
        partition: i32,
        key: &K,
    ) -> Result<Option<V>, ReadError> {
        let owner = self.topology.stores()[store.index().0].sub_topology;
        let id = TaskId { sub_topology: owner, partition: Partition(partition) };
        self.tasks.get_mut(&id).map_or(Ok(None), |task| store.read(task.state(), key))
    }
}

fn new_task(topology: &Topology, id: TaskId) -> Task {
    let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
    let limits = Limits { max_output_bytes: 1 << 20 };
    Task::new(topology, topology.name(), id, TaskState::in_memory(&specs), limits)
}
