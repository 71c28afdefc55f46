//! What a topology needs around it: topics, partitions, schemas. Checked at start, made by `apply`.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::codec::registry::{Registry, RegistryError};
use crate::codec::{Binding, SchemaId};
use crate::error::{Dependency, FatalError, Retriable};
use crate::kafka::{Admin, KafkaFailure, TopicState, TopicWanted};
use crate::topology::{CodecUse, Subject, Topology};

use super::implementation::Implementations;
use super::memory::tasks;
use super::options::Options;
use super::refused::record_bytes;
use super::topic_settings::{FOR_GROUPS, POLICY, changelog_settings};

/// A topic that was made just now, by `apply` say, is not known to all brokers at once.
const HEARD_OF: Duration = Duration::from_secs(2);
/// Between two looks meanwhile.
const LOOK: Duration = Duration::from_millis(200);

/// Why the environment is not ready.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Try again.
    #[error(transparent)]
    Away(#[from] Retriable),
    /// Somebody has to change something.
    #[error(transparent)]
    Fatal(#[from] FatalError),
}

impl From<KafkaFailure> for Problem {
    fn from(error: KafkaFailure) -> Self {
        Problem::Away(Retriable { dependency: Dependency::Kafka, reason: error.to_string() })
    }
}

/// What `apply` would do, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Create this topic.
    CreateTopic(TopicWanted),
    /// Give this share group a setting of its own.
    SetGroup {
        /// The group.
        group: String,
        /// `name=value`.
        setting: String,
    },
    /// Register this subject's schema.
    RegisterSchema {
        /// `<topic>-key` or `<topic>-value`.
        subject: String,
    },
}

/// What a start has found out.
#[derive(Debug, Clone, Copy)]
pub struct Prepared {
    /// The largest record that all topics take.
    pub max_record_bytes: usize,
    /// Who commits and fetches; neither is [`Implementation::Auto`](super::Implementation::Auto).
    pub clients: Implementations,
}

/// The topology's environment.
#[derive(Clone)]
pub struct Environment {
    pub(super) topology: Topology,
    pub(super) options: Options,
}

impl Environment {
    /// Looks at nothing yet.
    pub fn new(topology: Topology, options: Options) -> Self {
        Environment { topology: topology.of_application(&options.kafka.application_id), options }
    }

    /// Checks topics, resolves schema ids and binds every codec.
    ///
    /// # Errors
    /// What is away, or what is missing with the command that makes it.
    pub async fn prepare(&self) -> Result<Prepared, Problem> {
        self.check_letters().await?;
        let environment = self.clone();
        let checked = tokio::task::spawn_blocking(move || environment.check_topics()).await;
        let max_record_bytes = checked
            .map_err(|error| FatalError::Other { context: "checking topics".into(), source: error.into() })??;
        let groups = self.group_problems().await?;
        if !groups.is_empty() {
            return Err(FatalError::Environment(groups.join("\n")).into());
        }
        self.bind_codecs().await?;
        Ok(Prepared { max_record_bytes, clients: self.options.clients.look_up(&self.options.kafka).await? })
    }

    /// All problems with topics and schemas, for `validate`; empty when `run` would start.
    ///
    /// # Errors
    /// What is away.
    pub async fn problems(&self) -> Result<Vec<String>, Problem> {
        self.check_letters().await?;
        let mut problems = Vec::new();
        let environment = self.clone();
        let topics = tokio::task::spawn_blocking(move || {
            let admin = environment.admin()?;
            let topics = admin.topics()?;
            let mut problems = environment.missing(&topics);
            problems.extend(environment.memory_problem(&topics));
            problems.extend(environment.unfit_settings(&admin, &topics));
            Ok::<_, Problem>(problems)
        });
        problems.extend(
            topics.await.map_err(|error| FatalError::Other { context: "validate".into(), source: error.into() })??,
        );
        problems.extend(self.group_problems().await?);
        for (subject, schema) in self.subjects() {
            let registry = self.registry()?;
            if registry.lookup(&subject, &schema).await.map_err(|error| named(&subject, error))?.is_none() {
                problems.push(format!("subject {subject} has no such schema; run: {} apply", self.topology.name()));
            }
        }
        Ok(problems)
    }

    /// Creates missing topics and registers missing schemas; with `dry_run` only says what it would do.
    ///
    /// # Errors
    /// What is away, or what the cluster or registry refuses.
    pub async fn apply(&self, dry_run: bool) -> Result<Vec<Plan>, Problem> {
        self.check_letters().await?;
        let environment = self.clone();
        let topics = tokio::task::spawn_blocking(move || environment.apply_topics(dry_run)).await;
        let mut plans =
            topics.map_err(|error| FatalError::Other { context: "apply".into(), source: error.into() })??;
        plans.extend(self.apply_groups(dry_run).await?);
        for (subject, schema) in self.subjects() {
            let registry = self.registry()?;
            if registry.lookup(&subject, &schema).await.map_err(|error| named(&subject, error))?.is_some() {
                continue;
            }
            if !dry_run {
                self.register(&subject, &schema).await?;
                let set = registry.set_compatibility(&subject, "BACKWARD").await;
                set.map_err(|error| named(&subject, error))?;
            }
            plans.push(Plan::RegisterSchema { subject });
        }
        Ok(plans)
    }

    fn admin(&self) -> Result<Admin, Problem> {
        Admin::new(&self.options.kafka).map_err(|error| FatalError::Config(format!("kafka.properties: {error}")).into())
    }

    fn check_topics(&self) -> Result<usize, Problem> {
        let admin = self.admin()?;
        let topics = self.known_topics(&admin)?;
        let mut problems = self.missing(&topics);
        problems.extend(self.stranded(&admin, &topics)?);
        problems.extend(self.memory_problem(&topics));
        problems.extend(self.unfit_settings(&admin, &topics));
        if !problems.is_empty() {
            return Err(FatalError::Environment(problems.join("\n")).into());
        }
        let mut limit = self.options.kafka.max_record_bytes;
        let changelogs = self.topology.stores().iter().filter(|store| store.spec.changelog);
        let changelogs: Vec<_> = changelogs.map(|store| self.changelog(&store.spec.name)).collect();
        for topic in self.topology.sink_topics().iter().chain(&changelogs) {
            // A cluster that does not let us look keeps the configured limit.
            if let Ok(Some(bytes)) = admin.max_record_bytes(topic) {
                limit = limit.min(record_bytes(bytes));
            }
        }
        Ok(limit)
    }

    /// Checks the topics again, after one of them has changed in mid-run.
    pub(super) fn check_again(&self) -> Result<(), Problem> {
        self.check_topics().map(drop)
    }

    /// State that no task would read, since it was split by more partitions than the sources have now.
    fn stranded(&self, admin: &Admin, topics: &BTreeMap<String, TopicState>) -> Result<Vec<String>, KafkaFailure> {
        let mut problems = Vec::new();
        for store in self.topology.stores().iter().filter(|store| store.spec.changelog) {
            let topic = self.changelog(&store.spec.name);
            let wanted = self.partitions_of(topics, store.sub_topology);
            let (Some(found), Some(wanted)) = (topics.get(&topic), wanted) else { continue };
            for partition in wanted..found.partitions {
                if admin.has_records(&topic, partition)? {
                    problems.push(format!(
                        "changelog topic {topic} has state in partition {partition}, its sources have {wanted} partitions; \
                         a store's state is kept per partition, so delete the topic and the state directory, and run: {} \
                         apply",
                        self.topology.name()
                    ));
                    break;
                }
            }
        }
        Ok(problems)
    }

    /// What is there; if something is missing, after a while in which the broker that is asked could have heard of it.
    fn known_topics(&self, admin: &Admin) -> Result<BTreeMap<String, TopicState>, Problem> {
        let begun = Instant::now();
        loop {
            let topics = admin.topics()?;
            if self.missing(&topics).is_empty() || begun.elapsed() >= HEARD_OF {
                return Ok(topics);
            }
            thread::sleep(LOOK);
        }
    }

    fn missing(&self, topics: &BTreeMap<String, TopicState>) -> Vec<String> {
        let command = format!("run: {} apply", self.topology.name());
        let mut missing = Vec::new();
        for topic in self.topology.made_topics() {
            if !topics.contains_key(topic) {
                missing.push(format!("topic {topic} is missing; {command}"));
            }
        }
        for store in self.topology.stores().iter().filter(|store| store.spec.changelog) {
            let topic = self.changelog(&store.spec.name);
            let wanted = self.partitions_of(topics, store.sub_topology);
            match topics.get(&topic) {
                None => missing.push(format!("changelog topic {topic} is missing; {command}")),
                Some(found) if found.partitions < wanted.unwrap_or(1) => missing.push(format!(
                    "changelog topic {topic} has {} partitions, its sources have {}; a store's state is kept per \
                     partition, so delete the topic and the state directory, and {command}",
                    found.partitions,
                    wanted.unwrap_or(1)
                )),
                Some(_) => {}
            }
        }
        missing.extend(self.repartition_problems(topics));
        missing.extend(self.unequal_sources(&self.planned(topics)));
        missing
    }

    /// Sources of one task must be split alike, or a partition's records would meet in two tasks.
    fn unequal_sources(&self, topics: &BTreeMap<String, TopicState>) -> Vec<String> {
        let mut problems = Vec::new();
        for part in 0..self.topology.sub_topologies() {
            let read = topics.iter().filter(|(topic, _)| self.topology.reads(part, topic));
            let counts: Vec<(&String, i32)> = read.map(|(topic, state)| (topic, state.partitions)).collect();
            if let Some((first, rest)) = counts.split_first()
                && let Some(other) = rest.iter().find(|other| other.1 != first.1)
            {
                problems.push(format!(
                    "topics {} ({} partitions) and {} ({} partitions) are read by the same tasks; give them equal \
                     numbers of partitions, or read them by applications of their own",
                    first.0, first.1, other.0, other.1
                ));
            }
        }
        problems
    }

    fn partitions(&self, topics: &BTreeMap<String, TopicState>) -> Option<i32> {
        let read = topics.iter().filter(|(topic, _)| self.topology.sources().iter().any(|s| s.topics.matches(topic)));
        read.map(|(_, state)| state.partitions).max()
    }

    /// Partitions that the stores of a sub-topology need: those of its sources.
    fn partitions_of(&self, topics: &BTreeMap<String, TopicState>, sub_topology: u32) -> Option<i32> {
        let read = topics.iter().filter(|(topic, _)| self.topology.reads(sub_topology, topic));
        read.map(|(_, state)| state.partitions).max()
    }

    /// Why what an instance has when it is alone does not fit into the budget (rule R-25).
    fn memory_problem(&self, topics: &BTreeMap<String, TopicState>) -> Option<String> {
        self.options.memory.problem(&tasks(&self.topology, topics), self.topology.globals().len())
    }

    pub(super) fn changelog(&self, store: &str) -> String {
        Topology::changelog_topic(&self.options.kafka.application_id, store)
    }

    fn apply_topics(&self, dry_run: bool) -> Result<Vec<Plan>, Problem> {
        let admin = self.admin()?;
        let topics = admin.topics()?;
        let partitions = self.partitions(&topics).unwrap_or(self.options.topic_partitions);
        let replication = self.options.topic_replication;
        let planned = self.planned(&topics);
        let mut wanted: Vec<TopicWanted> = self.repartition_topics(&planned);
        let own: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
        for topic in self.topology.made_topics().into_iter().filter(|topic| !own.contains(topic)) {
            let compacted = self.topology.is_compacted(topic).then(|| (POLICY.to_owned(), "compact".to_owned()));
            let letters =
                (self.letters_by_brokers() == Some(topic.as_str())).then(|| (FOR_GROUPS.to_owned(), "true".to_owned()));
            let config = compacted.into_iter().chain(letters).collect();
            wanted.push(TopicWanted { name: topic.clone(), partitions, replication, config });
        }
        for store in self.topology.stores().iter().filter(|store| store.spec.changelog) {
            let partitions = self.partitions_of(&planned, store.sub_topology).unwrap_or(partitions);
            let config = changelog_settings();
            wanted.push(TopicWanted { name: self.changelog(&store.spec.name), partitions, replication, config });
        }
        if !self.topology.stores().is_empty() {
            // One partition: all instances read it whole, and in one order.
            let config = vec![(POLICY.to_owned(), "compact".to_owned())];
            let name = Topology::instances_topic(&self.options.kafka.application_id);
            wanted.push(TopicWanted { name, partitions: 1, replication, config });
        }
        wanted.retain(|topic| !topics.contains_key(&topic.name));
        if !dry_run {
            for topic in &wanted {
                let created = admin.create(topic);
                created.map_err(|error| FatalError::Environment(format!("creating a topic failed: {error}")))?;
            }
        }
        Ok(wanted.into_iter().map(Plan::CreateTopic).collect())
    }

    /// Subjects and the schemas that must stand there.
    fn subjects(&self) -> Vec<(String, String)> {
        let uses = self.topology.codecs().iter();
        uses.filter_map(|codec| Some((self.subject(codec)?, codec.schema.clone()?))).collect()
    }

    fn subject(&self, codec: &CodecUse) -> Option<String> {
        let topic = match &codec.subject {
            Subject::Topic(topic) => topic.clone(),
            Subject::Repartition(own) => self.topology.repartition_name(&self.topology.repartitions()[*own]).to_owned(),
            Subject::Changelog(store) => self.changelog(&self.topology.stores()[*store].spec.name),
            Subject::Read => return None,
        };
        Some(format!("{topic}-{}", codec.part))
    }

    fn registry(&self) -> Result<&Registry, FatalError> {
        let missing = || FatalError::Config("schema-registry.url: is not set, but the topology writes Avro".into());
        self.options.registry.as_deref().ok_or_else(missing)
    }

    async fn bind_codecs(&self) -> Result<(), Problem> {
        for codec in self.topology.codecs() {
            let writer = match (self.subject(codec), &codec.schema) {
                (Some(subject), Some(schema)) => Some(self.writer_id(&subject, schema).await?),
                _ => None,
            };
            (codec.bind)(&Binding { schemas: std::sync::Arc::clone(&self.options.schemas), writer });
        }
        Ok(())
    }

    async fn writer_id(&self, subject: &str, schema: &str) -> Result<SchemaId, Problem> {
        let known = self.registry()?.lookup(subject, schema).await;
        let outcome = if known.is_ok() { "answered" } else { "failed" };
        self.options.telemetry.metrics.registry_requests.with([outcome]).inc();
        let known = known.map_err(|error| named(subject, error))?;
        let id = match known {
            Some(id) => id,
            None if self.options.register_schemas => self.register(subject, schema).await?,
            None => {
                let reason = format!("subject {subject} has no such schema; run: {} apply", self.topology.name());
                return Err(FatalError::Environment(reason).into());
            }
        };
        let inserted = self.options.schemas.insert(id, schema);
        inserted.map_err(|error| FatalError::Environment(format!("subject {subject}: {error}")))?;
        Ok(id)
    }

    async fn register(&self, subject: &str, schema: &str) -> Result<SchemaId, Problem> {
        self.registry()?.register(subject, schema).await.map_err(|error| named(subject, error))
    }
}

/// A registry's refusal, with the subject that it is about.
fn named(subject: &str, error: RegistryError) -> Problem {
    match error {
        RegistryError::Retriable(away) => Problem::Away(away),
        RegistryError::Unauthorised(_) => FatalError::Authorisation(format!("subject {subject}: {error}")).into(),
        error => FatalError::Environment(format!("subject {subject}: {error}")).into(),
    }
}
