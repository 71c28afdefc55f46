//! The driver: one task per sub-topology and partition that is used.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{Binding, Codec, DecodeError, SchemaError, Schemas};
use crate::partitioner::partition_of;
use crate::position::{Offset, Origin, Partition, TaskId};
use crate::processor::{Clock, Effects};
use crate::record::{Headers, RawRecord, Timestamp};
use crate::store::{Commit, GlobalState, ReadError, Store, StoreSpec, Table, TaskState};
use crate::task::{Limits, Outcome, Punctuated, Task, TaskFault};
use crate::topology::Topology;

use super::calls::{Calls, record_at};
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
    pub(super) topology: Topology,
    pub(super) schemas: Arc<Schemas>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) globals: Arc<GlobalState>,
    offsets: BTreeMap<(String, i32), i64>,
    outputs: Vec<Driven>,
    requests: Vec<(String, Vec<u8>)>,
    pub(super) calls: Calls,
    /// Whether calls wait for their answers, and transactions stay open, until [`settle`](Self::settle) is called.
    pub holds_answers: bool,
    /// What was counted, by processor, event and of what.
    counts: BTreeMap<(String, &'static str, String), u64>,
    /// What was written to repartition topics and is not processed yet.
    between: VecDeque<(Partition, Driven)>,
    /// Partitions of the repartition topics that do not declare a number of their own.
    pub partitions: i32,
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
        let topology = topology.of_application(topology.name());
        let schemas = Arc::new(Schemas::default());
        bind(&topology, &schemas)?;
        Ok(TopologyDriver {
            topology,
            schemas,
            tasks: BTreeMap::new(),
            globals: Arc::default(),
            offsets: BTreeMap::new(),
            outputs: Vec::new(),
            requests: Vec::new(),
            calls: Calls::default(),
            holds_answers: false,
            counts: BTreeMap::new(),
            between: VecDeque::new(),
            partitions: 1,
            clock: ManualClock::at(Timestamp(0)),
            record_time: None,
        })
    }

    /// Goes on with another topology over the same stores, as after a restart with another configuration. Punctuators of wall-clock time
    /// count from the next look at the clock on.
    ///
    /// # Errors
    /// A schema can't be parsed.
    pub fn restart(&mut self, topology: Topology) -> Result<(), SchemaError> {
        self.topology = topology.of_application(topology.name());
        bind(&self.topology, &self.schemas)?;
        for (id, task) in std::mem::take(&mut self.tasks) {
            let mut task = Task::new(&self.topology, self.topology.name(), id, task.into_state(), LIMITS);
            task.look_up_in(Arc::clone(&self.globals));
            self.tasks.insert(id, task);
        }
        Ok(())
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
            let mut task = new_task(&self.topology, id);
            task.look_up_in(Arc::clone(&self.globals));
            self.tasks.insert(id, task);
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
        self.pass_on()?;
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
            let name = called.as_ref().map_or_else(|| Arc::from(""), |punctuated| Arc::clone(&punctuated.name));
            let at = called.as_ref().map_or(time, |punctuated| punctuated.at);
            self.commit(id, &Origin::Punctuator { task: id, name }, at)?;
            let Some(called) = called else { break };
            calls.push(called);
        }
        Ok(())
    }

    /// Sends a record into a partition of a source topic, at the partition's next offset. Punctuators of stream time that it
    /// brings on are called before it. What goes through repartition topics is processed, too, before this returns.
    ///
    /// # Errors
    /// A [`TaskFault`]: the record has had no effect and can be sent again. If it is of a record in a repartition topic, that one
    /// waits there, and is the first to be processed at the next call.
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
        let mut tables = 0;
        for table in self.topology.globals().iter().filter(|table| *table.topic == *topic) {
            let write = key.map(|key| (key.to_vec(), value.map(<[u8]>::to_vec)));
            self.globals.apply(&table.name, write.as_slice(), &[])?;
            tables += 1;
        }
        let sources = self.topology.sources();
        let Some(source) = sources.iter().find(|source| source.topics.matches(topic)) else {
            return if tables > 0 { Ok(Outcome::Processed) } else { Err(TaskFault::UnknownTopic(topic.to_owned())) };
        };
        let id = TaskId { sub_topology: source.sub_topology, partition: Partition(partition) };
        self.make(id)?;
        let timestamp = self.record_time.unwrap_or(self.clock.now());
        let (partition, offset) = (Partition(partition), Offset(offset));
        self.pass_on()?;
        let outcome = self.process(id, &RawRecord { topic, partition, offset, timestamp, key, value, headers })?;
        self.pass_on()?;
        Ok(outcome)
    }

    fn process(&mut self, id: TaskId, raw: &RawRecord<'_>) -> Result<Outcome, TaskFault> {
        let (now, unknown) = (self.clock.now(), || TaskFault::UnknownTopic(raw.topic.to_owned()));
        if self.tasks.get(&id).ok_or_else(unknown)?.is_due_before(raw) {
            self.punctuate(id, Clock::StreamTime, raw.timestamp, &mut Vec::new())?;
        }
        let outcome = self.tasks.get_mut(&id).ok_or_else(unknown)?.process(raw, now)?;
        self.commit(id, &record_at(raw.topic, id, raw.offset), raw.timestamp)?;
        Ok(outcome)
    }

    /// Has what was written to repartition topics processed, and what that writes, until there is nothing more.
    fn pass_on(&mut self) -> Result<(), TaskFault> {
        while let Some((partition, record)) = self.between.front().cloned() {
            let topic = record.topic.as_str();
            let source = self.topology.sources().iter().find(|source| source.topics.matches(topic));
            let source = source.ok_or_else(|| TaskFault::UnknownTopic(topic.to_owned()))?;
            let id = TaskId { sub_topology: source.sub_topology, partition };
            self.make(id)?;
            let place = (record.topic.clone(), partition.0);
            let offset = self.offsets.get(&place).copied().unwrap_or_default();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let (timestamp, headers) = (record.timestamp, &record.headers);
            let raw = RawRecord { topic, partition, offset: Offset(offset), timestamp, key, value, headers };
            self.process(id, &raw)?;
            self.offsets.insert(place, offset + 1);
            self.between.pop_front();
        }
        Ok(())
    }

    /// What was produced to repartition topics from here on is to be processed next, each record by its key's task.
    fn note_between(&mut self, from: usize) {
        for output in &self.outputs[from..] {
            let own = self.topology.repartitions().iter();
            let mut own = own.filter(|own| self.topology.repartition_name(own) == output.topic);
            if let Some(repartition) = own.next() {
                let count = repartition.partitions.unwrap_or(self.partitions);
                let partition = output.key.as_deref().map_or(Partition(0), |key| partition_of(key, count));
                self.between.push_back((partition, output.clone()));
            }
        }
    }

    /// Takes what a task has asked for, has its calls answered, and commits it; unless answers are held: then that is for later.
    fn commit(&mut self, id: TaskId, origin: &Origin, timestamp: Timestamp) -> Result<(), TaskFault> {
        self.carry_out(id, origin, timestamp)?;
        self.calls.open(id);
        if self.holds_answers { Ok(()) } else { self.settle() }
    }

    /// What is open of a task is committed.
    pub(super) fn finish(&mut self, id: TaskId) -> Result<(), TaskFault> {
        let Some(task) = self.tasks.get_mut(&id) else { return Ok(()) };
        let positions = task.positions();
        let stream_time = Some(task.stream_time());
        task.state().commit(&Commit { changelog_next: &[], positions: &positions, stream_time })?;
        task.committed(&positions);
        Ok(())
    }

    /// Keeps what a task has asked for.
    pub(super) fn carry_out(&mut self, id: TaskId, origin: &Origin, timestamp: Timestamp) -> Result<(), TaskFault> {
        let before = self.outputs.len();
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
        self.outputs.extend(driven(topology, effects));
        let externals = topology.externals();
        let requests = effects.requests().iter();
        self.requests
            .extend(requests.map(|request| (externals[request.sink.0].name.clone(), effects.body(request).to_vec())));
        for (processor, event, of) in effects.counts() {
            *self.counts.entry((processor.to_string(), event, of.to_owned())).or_default() += 1;
        }
        self.calls.take(id, effects, origin, timestamp);
        effects.clear();
        self.note_between(before);
        Ok(())
    }

    /// Keeps what was produced beside the tasks.
    pub(super) fn keep(&mut self, effects: &Effects) {
        self.outputs.extend(driven(&self.topology, effects));
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

    /// How often a processor has counted an event, of all that it was of.
    pub fn counted(&self, processor: &str, event: &str) -> u64 {
        let own = self.counts.iter().filter(|((by, what, _), _)| by == processor && *what == event);
        own.map(|(_, count)| count).sum()
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

    /// What a lookup table has for a key in the task of a partition.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_table<K: 'static, V: 'static>(
        &mut self,
        table: &Table<K, V>,
        partition: i32,
        key: &K,
    ) -> Result<Option<V>, ReadError> {
        self.read(table.store(), partition, key)
    }
}

const LIMITS: Limits = Limits { max_output_bytes: 1 << 20 };

/// Binds the codecs to these schemas, and the schemas to a local registry.
pub(super) fn bind(topology: &Topology, schemas: &Arc<Schemas>) -> Result<(), SchemaError> {
    for codec in topology.codecs() {
        let writer = codec.schema.as_deref().map(|schema| schemas.register_local(schema)).transpose()?;
        (codec.bind)(&Binding { schemas: Arc::clone(schemas), writer });
    }
    Ok(())
}

fn driven<'a>(topology: &'a Topology, effects: &'a Effects) -> impl Iterator<Item = Driven> + 'a {
    effects.outputs().iter().map(|output| Driven {
        topic: output.topic.name(topology.sink_topics()).to_owned(),
        key: effects.key(output).map(<[u8]>::to_vec),
        value: effects.value(output).map(<[u8]>::to_vec),
        headers: output.headers.clone(),
        timestamp: output.timestamp,
    })
}

fn new_task(topology: &Topology, id: TaskId) -> Task {
    let specs: Vec<StoreSpec> = topology.stores().iter().map(|store| store.spec.clone()).collect();
    Task::new(topology, topology.name(), id, TaskState::in_memory(&specs), LIMITS)
}
