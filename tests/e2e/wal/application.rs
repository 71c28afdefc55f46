//! The log as a process, with its topics, and whoever writes mutations and reads what has become of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headrace::codec::registry::Registry;
use headrace::codec::{Avro, AvroSchema, Binding, Codec as _, DecodeError, Schemas, avro};
use testbed::Testbed;
use write_ahead_log::entry::{Action, Command, MutationResult, lane};
use write_ahead_log::mutation::Mutation;
use write_ahead_log::namespace::Namespace;

use super::support::TOPICS;
use crate::support::records::Stored;
use crate::support::{App, Spec, Topics, bed, eventually};

const PARTITIONS: u32 = 3;

/// A log under test.
pub(super) struct Log {
    bed: Arc<Testbed>,
    id: String,
    topics: Topics,
    mutations: Avro<Mutation>,
    namespaces: Avro<Namespace>,
    commands: Avro<Command>,
    results: Avro<MutationResult>,
    schemas: Arc<Schemas>,
    registry: Registry,
    runtime: tokio::runtime::Runtime,
}

pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A put in the namespace `shop`; the value is the token.
pub(super) fn put(key: &str, token: &str) -> Mutation {
    Mutation {
        namespace: "shop".to_owned(),
        token: token.to_owned(),
        created_at: now(),
        key: key.to_owned(),
        value: Some(token.as_bytes().to_vec()),
        ..Mutation::default()
    }
}

impl Log {
    pub(super) fn new(id: &str) -> Self {
        let bed = bed();
        let topics = Topics::new(bed.kafka().unwrap().bootstrap_servers());
        let registry = Registry::new(bed.registry().unwrap().url(), None, Duration::from_secs(10)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mutations, namespaces, commands, results) = (avro(), avro(), avro(), avro());
        let (id, schemas) = (id.to_owned(), Arc::default());
        let log = Log { bed, id, topics, mutations, namespaces, commands, results, schemas, registry, runtime };
        log.app("one").apply();
        log.mutations.bind(&log.writes::<Mutation>("mutations"));
        log.namespaces.bind(&log.writes::<Namespace>("namespaces"));
        log.commands.bind(&log.writes::<Command>("commands"));
        log.results.bind(&Binding { schemas: Arc::clone(&log.schemas), writer: None });
        log
    }

    /// The schema, as a producer of another team registers it.
    fn writes<T: AvroSchema>(&self, topic: &str) -> Binding {
        let subject = format!("{}-value", self.topic(topic));
        let id = self.runtime.block_on(self.registry.register(&subject, T::SCHEMA)).unwrap();
        self.schemas.insert(id, T::SCHEMA).unwrap();
        Binding { schemas: Arc::clone(&self.schemas), writer: Some(id) }
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.id)
    }

    /// A process of it, which is not started.
    pub(super) fn app(&self, instance: &str) -> App {
        let topics: String = TOPICS.iter().map(|name| format!("{name} = \"{}\"\n", self.topic(name))).collect();
        let sections = format!("[topics]\n{topics}[internal-topics]\npartitions = {PARTITIONS}\n");
        let set = vec![format!("instance-id={instance}"), format!("application-id={}", self.id)];
        // Of its own: configuration, state and address.
        let id = format!("{}-{instance}", self.id);
        App::prepare(&self.bed, Spec { binary: "write-ahead-log", id, sections, set })
    }

    fn produce(&self, topic: &str, key: Option<&str>, value: Vec<u8>, partition: i32) {
        let key = key.map(|key| key.as_bytes().to_vec());
        let record = Stored { partition, offset: 0, key, value: Some(value), headers: Vec::new() };
        self.topics.produce(&self.topic(topic), &record);
    }

    /// Sets a namespace.
    pub(super) fn set(&self, name: &str, namespace: &Namespace) {
        let mut value = Vec::new();
        self.namespaces.encode(namespace, &mut value).unwrap();
        self.produce("namespaces", Some(name), value, 0);
    }

    /// Writes mutations, those of an ordering key in their order.
    pub(super) fn write(&self, mutations: &[Mutation]) {
        let record = |mutation: &Mutation| {
            let mut value = Vec::new();
            self.mutations.encode(mutation, &mut value).unwrap();
            let sum: u32 = mutation.ordering_key().bytes().map(u32::from).sum();
            let partition = i32::try_from(sum % PARTITIONS).unwrap();
            Stored { partition, offset: 0, key: None, value: Some(value), headers: Vec::new() }
        };
        let records: Vec<Stored> = mutations.iter().map(record).collect();
        self.topics.produce_all(&self.topic("mutations"), &records);
    }

    pub(super) fn command(&self, mutation: &Mutation, target: &str, action: Action) {
        let mutation = Mutation { target: Some(target.to_owned()), ..mutation.clone() };
        let (namespace, token, target) = (mutation.namespace.clone(), mutation.token.clone(), target.to_owned());
        let mut value = Vec::new();
        self.commands.encode(&Command { namespace, token, target, action }, &mut value).unwrap();
        self.produce("commands", Some(&lane(&mutation)), value, 0);
    }

    /// What has become of mutations, by token: each target's word.
    pub(super) fn results(&self) -> BTreeMap<String, Vec<MutationResult>> {
        let mut results: BTreeMap<String, Vec<MutationResult>> = BTreeMap::new();
        for record in self.topics.read(&self.topic("results")) {
            let result = self.result(&record);
            results.entry(result.token.clone()).or_default().push(result);
        }
        results
    }

    fn result(&self, record: &Stored) -> MutationResult {
        match self.results.decode(record.value.as_deref()) {
            Err(DecodeError::SchemaNotLoaded(id)) => {
                self.runtime.block_on(self.registry.load(id, &self.schemas)).unwrap();
                self.results.decode(record.value.as_deref()).unwrap()
            }
            result => result.unwrap(),
        }
    }

    /// Records of mutations that were given up.
    pub(super) fn exhausted(&self) -> Vec<Stored> {
        self.topics.read(&self.topic("exhausted"))
    }

    /// Waits until so many mutations have a result.
    #[track_caller]
    pub(super) fn wait_results(&self, count: usize) -> BTreeMap<String, Vec<MutationResult>> {
        eventually("the results", || {
            let results = self.results();
            if results.len() >= count { Ok(results) } else { Err(format!("{} of {count}", results.len())) }
        })
    }
}
