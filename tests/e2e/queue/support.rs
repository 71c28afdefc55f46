//! A queue with its topics, its process, and whoever submits and waits for results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headrace::codec::registry::Registry;
use headrace::codec::{Avro, AvroSchema, Binding, Codec as _, DecodeError, Schemas, avro};
use task_queue::tasks::{Action, Command, QueueState, Task, TaskResult};
use testbed::Testbed;

use super::handlers::Handlers;
use crate::support::records::Stored;
use crate::support::{App, Spec, Topics, bed, eventually};

const PARTITIONS: u32 = 3;

/// What handlers that ask have to show.
pub(super) const TOKEN: &str = "canary";

/// A queue under test.
pub(super) struct Queue {
    pub(super) handlers: Handlers,
    bed: Arc<Testbed>,
    pub(super) id: String,
    /// How its handlers come to their tasks, as TOML.
    handled: String,
    topics: Topics,
    tasks: Avro<Task>,
    commands: Avro<Command>,
    queues: Avro<QueueState>,
    results: Avro<TaskResult>,
    schemas: Arc<Schemas>,
    registry: Registry,
    runtime: tokio::runtime::Runtime,
}

/// A task of the default queue.
pub(super) fn task(id: &str, kind: &str) -> Task {
    let (id, queue, kind) = (id.to_owned(), "default".to_owned(), kind.to_owned());
    Task { payload: id.clone().into_bytes(), id, queue, kind, ..Task::default() }
}

pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

impl Queue {
    /// Its handlers are called.
    pub(super) fn new(id: &str) -> Self {
        Queue::with(id, "")
    }

    /// They are, and this is said of the queue besides, as TOML.
    pub(super) fn with(id: &str, more: &str) -> Self {
        let handlers = Handlers::start();
        let handled = format!("push = \"http://{}/\"\n{more}", handlers.address);
        Queue::handled(id, handlers, handled)
    }

    /// Its handlers ask, and may say nothing for so long.
    pub(super) fn pulled(id: &str, lease: Duration) -> Self {
        Queue::handled(id, Handlers::start(), format!("pull = true\ntimeout = \"{}s\"", lease.as_secs()))
    }

    fn handled(id: &str, handlers: Handlers, handled: String) -> Self {
        let bed = bed();
        let topics = Topics::new(bed.kafka().unwrap().bootstrap_servers());
        let registry = Registry::new(bed.registry().unwrap().url(), None, Duration::from_secs(10)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (tasks, commands, queues, results) = (avro(), avro(), avro(), avro());
        let schemas = Arc::default();
        let queue = Queue {
            handlers,
            bed,
            id: id.to_owned(),
            handled,
            topics,
            tasks,
            commands,
            queues,
            results,
            schemas,
            registry,
            runtime,
        };
        queue.app("one").apply();
        queue.tasks.bind(&queue.writes::<Task>("tasks"));
        queue.commands.bind(&queue.writes::<Command>("commands"));
        queue.queues.bind(&queue.writes::<QueueState>("queues"));
        queue.results.bind(&Binding { schemas: Arc::clone(&queue.schemas), writer: None });
        queue
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
        let topics = ["tasks", "commands", "queues", "stops", "crons", "ready", "outcomes", "results", "dead-letters"];
        let topics: String = topics.iter().map(|name| format!("{name} = \"{}\"\n", self.topic(name))).collect();
        let handled = &self.handled;
        let token = self.bed.dirs().unwrap().root().join(format!("{}-token", self.id));
        std::fs::write(&token, TOKEN).unwrap();
        let sections = format!(
            "[topics]\n{topics}[queues.default]\n{handled}\nconcurrency = 16\n[tasks]\nbackoff = \"200ms\"\n\
             longest-backoff = \"1s\"\n[internal-topics]\npartitions = {PARTITIONS}\n"
        );
        let set = vec![
            format!("instance-id={instance}"),
            format!("application-id={}", self.id),
            format!("http.token-file={}", token.display()),
        ];
        // Of its own: configuration, state and address.
        let id = format!("{}-{instance}", self.id);
        App::prepare(&self.bed, Spec { binary: "task-queue", id, sections, set })
    }

    pub(super) fn submit(&self, tasks: &[Task]) {
        for (number, task) in (0_u32..).zip(tasks) {
            let mut value = Vec::new();
            self.tasks.encode(task, &mut value).unwrap();
            // Any key and any partition: whoever submits need not know.
            let partition = i32::try_from(number % PARTITIONS).unwrap();
            let key = Some(format!("{number}").into_bytes());
            let record = Stored { partition, offset: 0, key, value: Some(value), headers: Vec::new() };
            self.topics.produce(&self.topic("tasks"), &record);
        }
    }

    pub(super) fn command(&self, lane: &str, id: &str, action: Action) {
        let mut value = Vec::new();
        self.commands.encode(&Command { id: id.to_owned(), action }, &mut value).unwrap();
        let key = Some(lane.as_bytes().to_vec());
        let record = Stored { partition: 0, offset: 0, key, value: Some(value), headers: Vec::new() };
        self.topics.produce(&self.topic("commands"), &record);
    }

    /// Says whether it is to stand still.
    pub(super) fn pause(&self, paused: bool) {
        let mut value = Vec::new();
        self.queues.encode(&QueueState { paused, since: now(), reason: None }, &mut value).unwrap();
        let key = Some(b"default".to_vec());
        let record = Stored { partition: 0, offset: 0, key, value: Some(value), headers: Vec::new() };
        self.topics.produce(&self.topic("queues"), &record);
    }

    /// The results of all tasks, each with how many there are of it.
    pub(super) fn results(&self) -> BTreeMap<String, Vec<TaskResult>> {
        let mut results: BTreeMap<String, Vec<TaskResult>> = BTreeMap::new();
        for record in self.topics.read(&self.topic("results")) {
            let result = self.result(&record);
            results.entry(result.id.clone()).or_default().push(result);
        }
        results
    }

    fn result(&self, record: &Stored) -> TaskResult {
        match self.results.decode(record.value.as_deref()) {
            Err(DecodeError::SchemaNotLoaded(id)) => {
                self.runtime.block_on(self.registry.load(id, &self.schemas)).unwrap();
                self.results.decode(record.value.as_deref()).unwrap()
            }
            result => result.unwrap(),
        }
    }

    /// Waits until so many tasks have a result.
    #[track_caller]
    pub(super) fn wait_results(&self, count: usize) -> BTreeMap<String, Vec<TaskResult>> {
        eventually("the results", || {
            let results = self.results();
            if results.len() >= count { Ok(results) } else { Err(format!("{} of {count}", results.len())) }
        })
    }
}
