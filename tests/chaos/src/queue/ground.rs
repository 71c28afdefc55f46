//! A task queue's names, its topics, and its settings: what a run has for itself on brokers that it may share with others.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headrace::codec::registry::Registry;
use headrace::codec::{Avro, AvroSchema, Binding, Codec as _, DecodeError, Schemas, avro};
use headrace::kafka::{Admin, TopicWanted};
use headrace::wire::share::{ShareLagRequest, set_group_setting};
use headrace::wire::{Client, Connection, CoordinatorKind, Settings};
use rdkafka::config::ClientConfig;
use task_queue::tasks::{Task, TaskResult};
use testbed::wait;

use crate::application::{self, PATIENCE, tokio};
use crate::{Failure, Result};

/// Partitions of every topic.
const PARTITIONS: u32 = 6;
/// Of a schema registry.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(10);
/// What handlers that ask have to show.
pub const TOKEN: &str = "chaos";

/// Milliseconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Bootstrap servers.
    pub servers: String,
    /// The schema registry's URL.
    pub registry: String,
    /// The application's id, and the beginning of every name.
    pub id: String,
    /// Replicas of each topic.
    pub replication: i32,
}

/// How a queue's handlers come to its tasks, as a section of the configuration.
#[derive(Debug, Clone)]
pub struct Queue {
    /// Its name.
    pub name: &'static str,
    /// Keys and values, as TOML.
    pub handled: String,
    /// Calls, or leases, at the same time in each instance.
    pub concurrency: usize,
}

impl Ground {
    /// Names that no other run of this process has.
    pub fn new(servers: &str, registry: &str, name: &str, replication: i32) -> Ground {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Ground { servers: servers.to_owned(), registry: registry.to_owned(), id, replication }
    }

    /// One of its topics.
    pub fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.id)
    }

    /// The share group of a queue's handlers.
    pub fn group(&self, queue: &str) -> String {
        format!("{}-{queue}", self.id)
    }

    /// Configuration of a client beside the application.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("fetch.queue.backoff.ms", "10");
        config
    }

    /// Makes topics for those that have no application to do it.
    ///
    /// # Errors
    /// The broker refuses one.
    pub fn create(&self, names: &[&str]) -> Result<()> {
        let admin = Admin::new(&application::settings(&self.servers, &self.id, "admin"))?;
        for name in names {
            let (name, partitions) = (self.topic(name), i32::try_from(PARTITIONS)?);
            admin.create(&TopicWanted { name, partitions, replication: self.replication, config: Vec::new() })?;
        }
        Ok(())
    }

    /// Gives a share group a setting of its own.
    ///
    /// # Errors
    /// The broker refuses it, or has no coordinator for the group in time.
    pub fn set_group(&self, group: &str, setting: (&str, &str)) -> Result<()> {
        let set = || {
            tokio().block_on(async {
                let connection = self.coordinator(group).await?;
                Ok::<(), Failure>(set_group_setting(&connection, group, setting.0, setting.1).await?)
            })
        };
        // The first question of all makes the brokers create the coordinators' topic.
        wait::until("the group to have its setting", PATIENCE, || set().map_err(|error| error.to_string()))?;
        Ok(())
    }

    /// How many records a share group has not come to the end of; nothing while a broker does not know.
    ///
    /// # Errors
    /// The broker is away.
    pub fn lag(&self, group: &str) -> Result<Option<i64>> {
        tokio().block_on(async {
            let connection = self.coordinator(group).await?;
            let request = ShareLagRequest { group: group.into(), topics: None };
            let body = connection.send(request.outgoing(PATIENCE)).await?.await?;
            let parts = request.decode(connection.address(), body)?.parts;
            let known = parts.iter().map(|part| part.lag).sum::<Option<i64>>();
            Ok(known.filter(|_| !parts.is_empty()))
        })
    }

    async fn coordinator(&self, group: &str) -> Result<Connection> {
        let client = Client::new(Settings::new(&self.servers, [])?);
        Ok(client.connection(client.coordinator(CoordinatorKind::Group, group).await?).await?)
    }

    /// Writes the configuration of an instance that answers at `http`; the file is in `directory`, and so is its state.
    ///
    /// # Errors
    /// The disk is full.
    pub fn configure(&self, directory: &Path, instance: &str, http: &str, queues: &[Queue]) -> Result<PathBuf> {
        std::fs::create_dir_all(directory)?;
        let token = directory.join("token");
        std::fs::write(&token, TOKEN)?;
        let topics = ["tasks", "commands", "queues", "stops", "crons", "ready", "outcomes", "results", "dead-letters"];
        let topics: String = topics.iter().map(|name| format!("{name} = \"{}\"\n", self.topic(name))).collect();
        let queues: String = queues.iter().map(Queue::section).collect();
        let text = format!(
            "application-id = \"{}\"\ninstance-id = \"{instance}\"\n\
             [kafka]\nbootstrap-servers = \"{}\"\nsession-timeout = \"3s\"\n\
             [kafka.properties]\n\"heartbeat.interval.ms\" = 500\n\
             [schema-registry]\nurl = \"{}\"\n\
             [internal-topics]\npartitions = {PARTITIONS}\nreplication = {}\n\
             [state]\ndirectory = \"{}\"\n\
             [http]\nlisten = \"{http}\"\ntoken-file = \"{}\"\n\
             [topics]\n{topics}{queues}\
             [tasks]\nbackoff = \"200ms\"\nlongest-backoff = \"1s\"\n",
            self.id,
            self.servers,
            self.registry,
            self.replication,
            directory.join("state").display(),
            token.display(),
        );
        let path = directory.join("config.toml");
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Queue {
    fn section(&self) -> String {
        format!("[queues.{}]\n{}\nconcurrency = {}\n", self.name, self.handled, self.concurrency)
    }
}

/// The records of a run, as another team's program writes and reads them.
pub struct Records {
    tasks: Avro<Task>,
    results: Avro<TaskResult>,
    schemas: Arc<Schemas>,
    registry: Registry,
}

impl Records {
    /// Registers the schemas.
    ///
    /// # Errors
    /// The registry is away, or refuses.
    pub fn new(ground: &Ground) -> Result<Records> {
        let registry = Registry::new(&ground.registry, None, REGISTRY_TIMEOUT)?;
        let records = Records { tasks: avro(), results: avro(), schemas: Arc::default(), registry };
        records.tasks.bind(&records.writes(&ground.topic("tasks"), Task::SCHEMA)?);
        records.results.bind(&records.writes(&ground.topic("results"), TaskResult::SCHEMA)?);
        Ok(records)
    }

    fn writes(&self, topic: &str, schema: &str) -> Result<Binding> {
        let id = tokio().block_on(self.registry.register(&format!("{topic}-value"), schema))?;
        self.schemas.insert(id, schema)?;
        Ok(Binding { schemas: Arc::clone(&self.schemas), writer: Some(id) })
    }

    /// A task's bytes.
    ///
    /// # Errors
    /// It does not fit its schema, which does not happen.
    pub fn task(&self, task: &Task) -> Result<Vec<u8>> {
        let mut value = Vec::new();
        self.tasks.encode(task, &mut value)?;
        Ok(value)
    }

    /// What a task's bytes say.
    ///
    /// # Errors
    /// They are none of a task.
    pub fn read_task(&self, value: &[u8]) -> Result<Task> {
        Ok(self.tasks.decode(Some(value))?)
    }

    /// A result's bytes.
    ///
    /// # Errors
    /// As [`task`](Self::task).
    pub fn result(&self, result: &TaskResult) -> Result<Vec<u8>> {
        let mut value = Vec::new();
        self.results.encode(result, &mut value)?;
        Ok(value)
    }

    /// What a result's bytes say. A schema that is not known yet is asked for.
    ///
    /// # Errors
    /// They are none of a result, or the registry is away.
    pub fn read_result(&self, value: Option<&[u8]>) -> Result<TaskResult> {
        match self.results.decode(value) {
            Err(DecodeError::SchemaNotLoaded(id)) => {
                tokio().block_on(self.registry.load(id, &self.schemas))?;
                Ok(self.results.decode(value)?)
            }
            result => Ok(result?),
        }
    }
}
