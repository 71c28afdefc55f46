//! The built graph: everything the runtime, the driver and `describe` need to know of a topology.

use std::fmt;
use std::sync::Arc;

use crate::codec::{Binding, RecordCodec, Shown};
use crate::dead_letter::Policy;
use crate::processor::{Connect, Schedule, SourceEntry};
use crate::store::{StoreIndex, StoreSpec};

use super::builder::Builder;
use super::describe::Description;
use super::repartition::Repartition;
use super::table::GlobalDeclaration;
use super::topics::Topics;
use super::workers::WorkersSpec;

/// Makes one task's source with everything below it.
pub(super) type SourceFactory = Arc<dyn Fn() -> Box<dyn SourceEntry> + Send + Sync>;

/// A source: topics, and how to build its part of a task.
#[derive(Clone)]
pub struct SourceSpec {
    /// The node's name.
    pub name: String,
    /// What it reads.
    pub topics: Topics,
    /// Its sub-topology.
    pub sub_topology: u32,
    /// The store that it keeps, if it is the source of a lookup table.
    pub table: Option<StoreIndex>,
    pub(super) factory: SourceFactory,
}

impl SourceSpec {
    /// A fresh instance for one task.
    pub fn instantiate(&self) -> Box<dyn SourceEntry> {
        (self.factory)()
    }
}

/// A store and the sub-topology that owns it.
#[derive(Debug, Clone)]
pub struct StoreDeclaration {
    /// Name, kind, changelog.
    pub spec: StoreSpec,
    /// The owner.
    pub sub_topology: u32,
    /// How its keys are shown and asked for.
    pub key: Shown,
    /// How its values are shown.
    pub value: Shown,
    /// The topic that it is a copy of, if it is a lookup table.
    pub table: Option<Arc<str>>,
}

/// An external sink, or a call, and how to reach its target.
#[derive(Debug, Clone)]
pub struct ExternalSpec {
    /// The node's name; requests carry the sink's position in [`Topology::externals`].
    pub name: String,
    /// Whether the topology hears the answers.
    pub is_call: bool,
    /// Opens connections.
    pub target: Arc<dyn Connect>,
}

/// The topic of a registry subject (TopicNameStrategy).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A topic by its name.
    Topic(String),
    /// The changelog of the store at this index.
    Changelog(usize),
    /// The repartition topic at this index.
    Repartition(usize),
    /// Only read: ids come with the bytes.
    Read,
}

/// Key or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectPart {
    /// `<topic>-key`
    Key,
    /// `<topic>-value`
    Value,
}

impl fmt::Display for SubjectPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubjectPart::Key => "key",
            SubjectPart::Value => "value",
        })
    }
}

/// A codec in use, to be bound before the first record.
#[derive(Clone)]
pub struct CodecUse {
    /// Where its schema is registered.
    pub subject: Subject,
    /// Key or value.
    pub part: SubjectPart,
    /// The schema to register; `None` for formats without one.
    pub schema: Option<String>,
    /// Binds it.
    pub bind: Arc<dyn Fn(&Binding) + Send + Sync>,
}

impl CodecUse {
    pub(super) fn reading<K: 'static, V: 'static>(codec: &Arc<dyn RecordCodec<K, V>>) -> Self {
        let codec = Arc::clone(codec);
        CodecUse {
            subject: Subject::Read,
            part: SubjectPart::Value,
            schema: None,
            bind: Arc::new(move |binding| codec.bind(binding)),
        }
    }
}

/// A validated graph. Cheap to clone; shared by all stream threads.
#[derive(Clone)]
pub struct Topology {
    pub(super) name: String,
    pub(super) sources: Arc<Vec<SourceSpec>>,
    pub(super) stores: Arc<Vec<StoreDeclaration>>,
    pub(super) schedules: Arc<Vec<(u32, Arc<Schedule>)>>,
    pub(super) sink_topics: Arc<Vec<String>>,
    pub(super) own_topics: Arc<Vec<String>>,
    pub(super) compacted: Arc<Vec<String>>,
    pub(super) repartitions: Arc<Vec<Repartition>>,
    pub(super) globals: Arc<Vec<GlobalDeclaration>>,
    pub(super) workers: Arc<Vec<WorkersSpec>>,
    pub(super) externals: Arc<Vec<ExternalSpec>>,
    pub(super) dead_letters: Option<(usize, Policy)>,
    pub(super) codecs: Arc<Vec<CodecUse>>,
    pub(super) description: Arc<Description>,
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Topology {
    /// Starts a declaration.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder::new(name.into())
    }

    /// The topology's name; by default also the application id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All sources.
    pub fn sources(&self) -> &[SourceSpec] {
        &self.sources
    }

    /// All stores, in the order of their index.
    pub fn stores(&self) -> &[StoreDeclaration] {
        &self.stores
    }

    /// The punctuators of a sub-topology, by processor.
    pub fn schedules(&self, sub_topology: u32) -> impl Iterator<Item = &Arc<Schedule>> {
        self.schedules.iter().filter(move |(owner, _)| *owner == sub_topology).map(|(_, schedule)| schedule)
    }

    /// The stores of a sub-topology, each with its index.
    pub fn stores_of(&self, sub_topology: u32) -> impl Iterator<Item = (StoreIndex, &StoreDeclaration)> {
        let stores = self.stores.iter().enumerate().map(|(index, store)| (StoreIndex(index), store));
        stores.filter(move |(_, store)| store.sub_topology == sub_topology)
    }

    /// Whether a source of the sub-topology reads the topic.
    pub fn reads(&self, sub_topology: u32, topic: &str) -> bool {
        let mut own = self.sources.iter().filter(|source| source.sub_topology == sub_topology);
        own.any(|source| source.topics.matches(topic))
    }

    /// Whether a task can be given partitions of more than one topic: equal partitions have to come to one member then.
    pub fn is_co_partitioned(&self) -> bool {
        (0..self.sub_topologies()).any(|part| {
            let own = self.sources.iter().filter(|source| source.sub_topology == part);
            let topics: Vec<&str> = own.flat_map(|source| source.topics.iter()).collect();
            topics.len() > 1 || topics.iter().any(|topic| topic.starts_with('^'))
        })
    }

    /// Topics that are produced to, in the order of [`TopicIndex`](crate::processor::TopicIndex); changelogs are apart.
    pub fn sink_topics(&self) -> &[String] {
        &self.sink_topics
    }

    /// Topics that the application makes, each once: those that it writes, and those of its own that it reads.
    pub fn made_topics(&self) -> Vec<&String> {
        let mut made: Vec<&String> = self.sink_topics.iter().collect();
        self.own_topics.iter().filter(|own| !self.sink_topics.contains(own)).for_each(|own| made.push(own));
        made
    }

    /// Whether a topic is the application's own: one that it reads, writes or makes, of whatever name its configuration gives it, or
    /// whose name begins as those of its changelogs do.
    pub fn has_topic(&self, application_id: &str, topic: &str) -> bool {
        let internal = topic.strip_prefix(application_id).is_some_and(|rest| rest.starts_with('-'));
        let read = self.sources.iter().any(|source| source.topics.matches(topic));
        let table = self.globals.iter().any(|table| *table.topic == *topic);
        let by_workers = self.workers.iter().any(|workers| workers.topics.iter().any(|(own, _)| own == topic));
        internal || read || table || by_workers || self.made_topics().iter().any(|made| *made == topic)
    }

    /// Whether of a topic that the application makes the newest record by key counts.
    pub fn is_compacted(&self, topic: &str) -> bool {
        self.compacted.iter().any(|own| own == topic) || self.globals.iter().any(|table| *table.topic == *topic)
    }

    /// All external sinks.
    pub fn externals(&self) -> &[ExternalSpec] {
        &self.externals
    }

    /// Index of the dead-letter topic among the sink topics, and the policy.
    pub fn dead_letters(&self) -> Option<(usize, &Policy)> {
        self.dead_letters.as_ref().map(|(topic, policy)| (*topic, policy))
    }

    /// All codecs to bind.
    pub fn codecs(&self) -> &[CodecUse] {
        &self.codecs
    }

    /// Number of sub-topologies.
    pub fn sub_topologies(&self) -> u32 {
        self.sources.iter().map(|source| source.sub_topology + 1).max().unwrap_or(0)
    }

    /// Name of a store's changelog topic.
    pub fn changelog_topic(application_id: &str, store: &str) -> String {
        format!("{application_id}-{store}-changelog")
    }

    /// Name of the topic on which the application's instances say which tasks they have.
    pub fn instances_topic(application_id: &str) -> String {
        format!("{application_id}-instances")
    }

    /// A number that changes when stored state can't be read any more: names, kinds and codecs of the stores.
    pub fn state_id(&self) -> u64 {
        let mut text = String::new();
        for store in self.stores.iter() {
            text.push_str(&format!("{}:{:?}:{};", store.spec.name, store.spec.kind, store.sub_topology));
        }
        // FNV-1a: stable across builds and machines, unlike the standard library's hasher.
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// What it looks like.
    pub fn describe(&self) -> &Description {
        &self.description
    }
}
