//! Several parts at once, started in parallel and ended in reverse order of dependency.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread::ScopedJoinHandle;

use crate::cache::Cache;
use crate::connect::Connect;
use crate::dirs::Dirs;
use crate::error::{Error, Result};
use crate::fetch::Part;
use crate::kafka::{Kafka, KafkaBuilder};
use crate::postgres::Postgres;
use crate::prometheus::{Prometheus, ScrapeTarget};
use crate::redis::Redis;
use crate::registry::Registry;
use crate::server::Server;

/// Which parts a [`Testbed`] has.
#[derive(Debug, Default)]
#[must_use]
pub struct TestbedBuilder {
    kafka: Option<Option<KafkaBuilder>>,
    registry: bool,
    redis: bool,
    postgres: bool,
    connect: bool,
    prometheus: Option<(Vec<ScrapeTarget>, Vec<PathBuf>)>,
}

impl TestbedBuilder {
    /// With one Kafka broker, of the settings of [`kafka_with`](Self::kafka_with) if that was called.
    pub fn kafka(mut self) -> Self {
        self.kafka = self.kafka.or(Some(None));
        self
    }

    /// With one Kafka broker of special settings.
    pub fn kafka_with(mut self, kafka: KafkaBuilder) -> Self {
        self.kafka = Some(Some(kafka));
        self
    }

    /// With a schema registry.
    pub fn registry(mut self) -> Self {
        self.registry = true;
        self
    }

    /// With Redis.
    pub fn redis(mut self) -> Self {
        self.redis = true;
        self
    }

    /// With PostgreSQL.
    pub fn postgres(mut self) -> Self {
        self.postgres = true;
        self
    }

    /// With a Connect worker, and with Kafka, which it needs.
    pub fn connect(mut self) -> Self {
        self.connect = true;
        self.kafka = self.kafka.or(Some(None));
        self
    }

    /// With Prometheus, which scrapes `targets` each second.
    pub fn prometheus(self, targets: &[ScrapeTarget]) -> Self {
        self.prometheus_with(targets, &[])
    }

    /// With Prometheus, which also evaluates the rules in these files.
    pub fn prometheus_with(mut self, targets: &[ScrapeTarget], rule_files: &[PathBuf]) -> Self {
        self.prometheus = Some((targets.to_vec(), rule_files.to_vec()));
        self
    }

    /// With these parts; `targets` are for Prometheus.
    pub fn parts(self, parts: &BTreeSet<Part>, targets: &[ScrapeTarget]) -> Self {
        parts.iter().fold(self, |builder, part| match part {
            Part::Kafka => builder.kafka(),
            Part::Registry => builder.registry(),
            Part::Redis => builder.redis(),
            Part::Postgres => builder.postgres(),
            Part::Connect => builder.connect(),
            Part::Prometheus => builder.prometheus(targets),
        })
    }

    /// Starts all parts in parallel and waits until each has answered a request. If one fails, the others are ended.
    ///
    /// # Errors
    /// The failure of the first part that failed, in the order of the parts.
    pub fn start(&self) -> Result<Testbed> {
        let (cache, dirs) = (Cache::open()?, Dirs::new()?);
        let mut parts = self.start_parts(&cache, &dirs)?;
        parts.dirs = Some(dirs);
        Ok(parts)
    }

    fn start_parts(&self, cache: &Cache, dirs: &Dirs) -> Result<Testbed> {
        std::thread::scope(|scope| {
            let streams = self.kafka.is_some().then(|| scope.spawn(|| self.kafka_and_connect(cache, dirs)));
            let registry = self.registry.then(|| scope.spawn(|| Registry::start(cache, dirs)));
            let redis = self.redis.then(|| scope.spawn(|| Redis::start(cache, dirs)));
            let postgres = self.postgres.then(|| scope.spawn(|| Postgres::start(cache, dirs)));
            let prometheus = self.prometheus.as_ref();
            let prometheus =
                prometheus.map(|(targets, rules)| scope.spawn(move || Prometheus::start(cache, dirs, targets, rules)));
            let (kafka, connect) = join(streams)?.unzip();
            Ok(Testbed {
                prometheus: join(prometheus)?,
                connect: connect.flatten(),
                registry: join(registry)?,
                kafka,
                postgres: join(postgres)?,
                redis: join(redis)?,
                cache: cache.clone(),
                dirs: None,
            })
        })
    }

    fn kafka_and_connect(&self, cache: &Cache, dirs: &Dirs) -> Result<(Kafka, Option<Connect>)> {
        let builder = self.kafka.clone().flatten().map_or_else(Kafka::builder, Ok)?;
        let kafka = builder.start(cache, dirs)?;
        if !self.connect {
            return Ok((kafka, None));
        }
        let connect = Connect::start_worker(cache, dirs, kafka.bootstrap_servers())?;
        Ok((kafka, Some(connect)))
    }
}

/// The outcome of a part's thread; nothing if the part was not asked for.
fn join<T>(thread: Option<ScopedJoinHandle<'_, Result<T>>>) -> Result<Option<T>> {
    match thread.map(ScopedJoinHandle::join) {
        None => Ok(None),
        Some(Ok(outcome)) => outcome.map(Some),
        Some(Err(panic)) => std::panic::resume_unwind(panic),
    }
}

/// Running parts. Dropping it ends them and removes their data.
#[derive(Debug)]
pub struct Testbed {
    prometheus: Option<Prometheus>,
    connect: Option<Connect>,
    registry: Option<Registry>,
    kafka: Option<Kafka>,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    cache: Cache,
    /// Last: removed once nobody writes there any more.
    dirs: Option<Dirs>,
}

impl Testbed {
    /// A testbed without any part yet.
    pub fn builder() -> TestbedBuilder {
        TestbedBuilder::default()
    }

    /// The broker.
    ///
    /// # Errors
    /// [`Error::NotStarted`] if the builder was not asked for it; so for all parts below.
    pub fn kafka(&self) -> Result<&Kafka> {
        self.kafka.as_ref().ok_or(Error::NotStarted("kafka"))
    }

    /// The schema registry.
    ///
    /// # Errors
    /// [`Error::NotStarted`].
    pub fn registry(&self) -> Result<&Registry> {
        self.registry.as_ref().ok_or(Error::NotStarted("registry"))
    }

    /// Redis.
    ///
    /// # Errors
    /// [`Error::NotStarted`].
    pub fn redis(&self) -> Result<&Redis> {
        self.redis.as_ref().ok_or(Error::NotStarted("redis"))
    }

    /// PostgreSQL.
    ///
    /// # Errors
    /// [`Error::NotStarted`].
    pub fn postgres(&self) -> Result<&Postgres> {
        self.postgres.as_ref().ok_or(Error::NotStarted("postgres"))
    }

    /// The Connect worker.
    ///
    /// # Errors
    /// [`Error::NotStarted`].
    pub fn connect(&self) -> Result<&Connect> {
        self.connect.as_ref().ok_or(Error::NotStarted("connect"))
    }

    /// Prometheus.
    ///
    /// # Errors
    /// [`Error::NotStarted`].
    pub fn prometheus(&self) -> Result<&Prometheus> {
        self.prometheus.as_ref().ok_or(Error::NotStarted("prometheus"))
    }

    /// The addresses of the parts, under the names of the environment variables that Headrace reads.
    pub fn addresses(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("HEADRACE__KAFKA__BOOTSTRAP_SERVERS", self.kafka.as_ref().map(|k| k.bootstrap_servers().to_owned())),
            ("HEADRACE__SCHEMA_REGISTRY__URL", self.registry.as_ref().map(|r| r.url().to_owned())),
            ("HEADRACE__REDIS__URL", self.redis.as_ref().map(|r| r.url().to_owned())),
            ("POSTGRES_URL", self.postgres.as_ref().map(Postgres::url)),
            ("CONNECT_URL", self.connect.as_ref().map(|c| c.rest_url().to_owned())),
            ("PROMETHEUS_URL", self.prometheus.as_ref().map(|p| p.url().to_owned())),
        ];
        all.into_iter().filter_map(|(name, address)| Some((name, address?))).collect()
    }

    /// Name and process id of each part that runs.
    pub fn pids(&self) -> Vec<(&'static str, u32)> {
        let parts = self.clients().into_iter().chain(self.servers()).flatten();
        parts.filter_map(|server| Some((server.part(), server.pid()?))).collect()
    }

    /// The parts that talk to others.
    fn clients(&self) -> [Option<&Server>; 2] {
        [self.prometheus.as_deref(), self.connect.as_deref()]
    }

    fn servers(&self) -> [Option<&Server>; 4] {
        [self.registry.as_deref(), self.kafka.as_deref(), self.postgres.as_deref(), self.redis.as_deref()]
    }

    /// The cache, for a part that a test starts for itself.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The temporary directory, for a part that a test starts for itself.
    ///
    /// # Errors
    /// Never once the testbed has started.
    pub fn dirs(&self) -> Result<&Dirs> {
        self.dirs.as_ref().ok_or(Error::NotStarted("dirs"))
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        // Clients before the servers that they talk to, each group at once.
        let (clients, servers) = (self.clients(), self.servers());
        for group in [clients.as_slice(), servers.as_slice()] {
            std::thread::scope(|scope| {
                for server in group.iter().flatten() {
                    scope.spawn(|| server.tear_down());
                }
            });
        }
    }
}
