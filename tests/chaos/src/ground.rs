//! The topics and names of one run: two stages, each an application of its own, with a topic between them.
//!
//! ```text
//! <id>.events ─▶ <id>-first ─▶ <id>.tallies
//!                       └────▶ <id>.moved ─▶ <id>-second ─▶ <id>.totals
//! ```
//!
//! When the builder can repartition, the two become one application, and this page is where that is written.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headrace::kafka::{Admin, TopicWanted};
use headrace::runtime::{App, Options};
use headrace::telemetry::Telemetry;
use headrace::topology::Topology;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use testbed::wait;
use tokio_util::sync::CancellationToken;

use crate::application::{self, PATIENCE};
use crate::topology::{self, STORES};
use crate::{Failure, Result, pages};

/// One application of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its id.
    pub application: String,
    /// What it reads.
    pub input: String,
    /// Each event with the fold that it made.
    pub output: String,
    /// Each event under its next key, where another stage follows.
    pub moved: Option<String>,
}

impl Stage {
    /// The changelog of a store.
    pub fn changelog(&self, store: &str) -> String {
        Topology::changelog_topic(&self.application, store)
    }

    /// Its topics beside the input.
    pub fn written(&self) -> Vec<String> {
        let logs = STORES.iter().map(|store| self.changelog(store));
        logs.chain([self.output.clone()]).chain(self.moved.clone()).collect()
    }
}

/// The names of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// Bootstrap servers of what the applications see: the broker, or a proxy before it.
    pub servers: String,
    /// Beginning of every name.
    pub id: String,
    /// Partitions of every topic.
    pub partitions: i32,
    /// Copies of each store that other instances follow (rule R-24).
    pub standbys: usize,
}

impl Ground {
    /// Names that no other run of this process has.
    pub fn new(servers: &str, name: &str, partitions: i32) -> Ground {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Ground { servers: servers.to_owned(), id: format!("{name}-{number}"), partitions, standbys: 0 }
    }

    /// The first and the second stage.
    pub fn stages(&self) -> [Stage; 2] {
        let moved = format!("{}.moved", self.id);
        [
            Stage {
                application: format!("{}-first", self.id),
                input: format!("{}.events", self.id),
                output: format!("{}.tallies", self.id),
                moved: Some(moved.clone()),
            },
            Stage {
                application: format!("{}-second", self.id),
                input: moved,
                output: format!("{}.totals", self.id),
                moved: None,
            },
        ]
    }

    fn topics(&self) -> Vec<String> {
        let stages = self.stages();
        let written = stages.iter().flat_map(Stage::written);
        [stages[0].input.clone()].into_iter().chain(written).collect()
    }

    /// Where instances that have copies say who has what.
    fn bulletins(&self) -> Vec<String> {
        let stages = self.stages().into_iter().filter(|_| self.standbys > 0);
        stages.map(|stage| Topology::instances_topic(&stage.application)).collect()
    }

    /// Creates all topics, with so many replicas. Nothing is ever compacted: a store that stands at an older commit is compared with its part of the log.
    ///
    /// # Errors
    /// The broker refuses one, or does not know it in time.
    pub fn create(&self, replication: i32) -> Result<()> {
        let admin = Admin::new(&application::settings(&self.servers, &self.id, "admin"))?;
        let topics = self.topics();
        for name in &topics {
            let kept = ["cleanup.policy=delete", "retention.ms=-1"].into_iter().filter_map(|set| set.split_once('='));
            let config = kept.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            admin.create(&TopicWanted { name: name.clone(), partitions: self.partitions, replication, config })?;
        }
        for name in self.bulletins() {
            admin.create(&TopicWanted { name, partitions: 1, replication, config: Vec::new() })?;
        }
        wait::until("the topics are known", PATIENCE, || {
            let known = admin.topics().map_err(|error| error.to_string())?;
            let missing = topics.iter().find(|topic| !known.contains_key(*topic));
            missing.map_or(Ok(()), |topic| Err(format!("{topic} is not")))
        })?;
        Ok(())
    }

    /// Deletes all topics: a long run would leave thousands of partitions otherwise.
    ///
    /// # Errors
    /// The broker is away.
    pub fn delete(&self) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let topics = [self.topics(), self.bulletins()].concat();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let deleted = application::tokio().block_on(admin.delete_topics(&topics, &AdminOptions::new()))?;
        let refused = deleted.into_iter().find_map(std::result::Result::err);
        refused.map_or(Ok(()), |(topic, code)| Err(Failure::from(format!("deleting {topic}: {code}"))))
    }

    /// Configuration of a client beside the applications.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("fetch.queue.backoff.ms", "10");
        config
    }

    /// How an instance of a stage is run.
    pub fn options(&self, stage: &Stage, instance: &str, directory: &Path) -> Options {
        let settings = application::settings(&self.servers, &stage.application, instance);
        application::options(settings, self.partitions, directory)
    }

    /// Runs an instance of both stages until it is told to stop, or one of them fails.
    ///
    /// # Errors
    /// What a human would have to change.
    pub async fn run(
        &self,
        instance: &str,
        directory: &Path,
        pace: Duration,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let telemetry = [application::telemetry(), application::telemetry()];
        self.run_told(instance, directory, pace, telemetry, shutdown).await
    }

    /// The same, for somebody who looks at what each stage tells of itself.
    ///
    /// # Errors
    /// As [`run`](Ground::run).
    pub async fn run_told(
        &self,
        instance: &str,
        directory: &Path,
        pace: Duration,
        telemetry: [Telemetry; 2],
        shutdown: CancellationToken,
    ) -> Result<()> {
        let (stages, [one, two]) = (self.stages(), telemetry);
        let options = |stage, telemetry| Options { telemetry, ..self.options(stage, instance, directory) };
        let run = |stage, telemetry| self.run_stage(stage, options(stage, telemetry), pace, shutdown.clone());
        tokio::try_join!(run(&stages[0], one), run(&stages[1], two))?;
        Ok(())
    }

    async fn run_stage(
        &self,
        stage: &Stage,
        mut options: Options,
        pace: Duration,
        shutdown: CancellationToken,
    ) -> Result<()> {
        let topology = topology::of(stage, pace)?;
        options.standbys = self.standbys;
        let pages = match self.standbys {
            0 => None,
            _ => Some(pages::serve(&topology, &mut options, 0).await?.1.drop_guard()),
        };
        App::new(topology, options).run(shutdown).await?;
        drop(pages);
        Ok(())
    }
}
