//! Tells the other instances what is here, and hears what they have.
//!
//! ```text
//!  stream threads ─▶ Views ─▶ Announcer (a thread) ─▶ <application-id>-instances ─▶ the Announcers of all instances ─▶ Directory
//! ```
//!
//! It announces when tasks come or go, and every quarter of a minute; a clean end says farewell. Nothing waits for it: where
//! the topic is missing or not allowed, each instance answers for its own tasks.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Queries;
use super::directory::Announcement;
use crate::error::FatalError;
use crate::kafka::{Admin, Bulletin, KafkaFailure};
use crate::position::{Partition, TaskId};
use crate::topology::Topology;

use super::super::options::Options;
use super::super::tasks::Tasks;

/// Between two announcements while nothing changes; a third of a directory entry's life.
const REFRESH: Duration = Duration::from_secs(15);
/// How soon a change is announced, and a stop noticed.
const STEP: Duration = Duration::from_millis(100);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// Patience with one announcement.
const POST: Duration = Duration::from_secs(5);
/// Patience with the farewell.
const FAREWELL: Duration = Duration::from_secs(1);

/// Its thread's end.
pub(in super::super) struct Announcing(Option<oneshot::Receiver<()>>);

impl Announcing {
    /// Waits until the farewell is said, within bounds.
    pub(in super::super) async fn ended(self) {
        if let Some(ended) = self.0 {
            // Neither a time-out nor a panic of it is worth more than this.
            _ = tokio::time::timeout(FAREWELL + STEP * 5, ended).await;
        }
    }
}

/// Starts announcing, where there is something to announce; ends soon after `stop`.
pub(in super::super) fn announce(
    topology: &Topology,
    options: &Options,
    stop: CancellationToken,
) -> Result<Announcing, FatalError> {
    let Some(queries) = options.queries.clone().filter(|_| !topology.stores().is_empty()) else {
        return Ok(Announcing(None));
    };
    let mut announcer = Announcer {
        topic: Topology::instances_topic(&options.kafka.application_id),
        topology: topology.clone(),
        options: options.clone(),
        queries,
        admin: None,
        bulletin: None,
        announced: None,
        held: BTreeSet::new(),
        due: Instant::now(),
        warned: false,
    };
    let (done, ended) = oneshot::channel();
    let work = move || {
        announcer.run(&stop);
        drop(done);
    };
    let spawned = thread::Builder::new().name("announcer".to_owned()).spawn(work);
    spawned.map_err(|error| FatalError::Other { context: "starting a thread".into(), source: error.into() })?;
    Ok(Announcing(Some(ended)))
}

struct Announcer {
    topic: String,
    topology: Topology,
    options: Options,
    queries: Queries,
    /// Kept: a client has threads, and connections that may have to log in.
    admin: Option<Admin>,
    bulletin: Option<Bulletin>,
    announced: Option<BTreeSet<TaskId>>,
    /// Of which copies are held here.
    held: BTreeSet<TaskId>,
    /// When to look at the topics and to announce again, whatever has changed.
    due: Instant,
    /// Whether the log says already that announcing fails.
    warned: bool,
}

impl Announcer {
    fn run(&mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.turn() {
                self.warn(&error.to_string());
                self.due = Instant::now() + AGAIN;
            }
            match &self.bulletin {
                Some(bulletin) => {
                    let mut wait = STEP;
                    while let Some(posting) = bulletin.next(wait) {
                        self.queries.hear(&posting.author, posting.text.as_deref());
                        wait = Duration::ZERO;
                    }
                }
                None => thread::park_timeout(STEP),
            }
            self.hold_standbys();
        }
        if let Some(bulletin) = &self.bulletin {
            // Who is not told notices by the silence.
            _ = bulletin.post(&self.options.kafka.instance_id, None, FAREWELL);
        }
    }

    fn turn(&mut self) -> Result<(), KafkaFailure> {
        let (now, tasks) = (Instant::now(), self.queries.views().tasks());
        let is_due = now >= self.due;
        if is_due {
            self.look_at_topics()?;
            self.queries.forget_silent(now);
        }
        let Some(bulletin) = &self.bulletin else { return Ok(()) };
        let news = self.announced.as_ref() != Some(&tasks) && (is_due || !self.warned);
        if !is_due && !news {
            return Ok(());
        }
        let announcement = Announcement {
            address: self.queries.address().to_owned(),
            tasks: tasks.iter().map(ToString::to_string).collect(),
            stores: self.topology.stores().iter().map(|store| store.spec.name.clone()).collect(),
            standbys: self.options.standbys,
        };
        let text = serde_json::to_vec(&announcement).map_err(|error| KafkaFailure(error.to_string()))?;
        bulletin.post(&self.options.kafka.instance_id, Some(&text), POST)?;
        self.announced = Some(tasks);
        self.warned = false;
        self.due = now + REFRESH;
        Ok(())
    }

    /// Holds copies of those tasks of which this instance is to keep one, by all that was announced (rule R-24).
    fn hold_standbys(&mut self) {
        if self.options.standbys == 0 {
            return;
        }
        let application = &self.options.kafka.application_id;
        let directory = self.queries.directory();
        let parts = 0..self.topology.sub_topologies();
        let with_state = parts.filter(|part| self.topology.stores_of(*part).any(|(_, store)| store.spec.changelog));
        let tasks = with_state.flat_map(|sub_topology| {
            let partitions = directory.partitions(sub_topology).unwrap_or(0);
            (0..partitions).map(move |partition| TaskId { sub_topology, partition: Partition(partition) })
        });
        let keeps = |task: &TaskId| {
            let known = directory.keeps_copy(&self.options.kafka.instance_id, *task);
            known.unwrap_or_else(|| self.held.contains(task))
        };
        let wanted: BTreeSet<TaskId> = tasks.filter(keeps).collect();
        drop(directory);
        // Slots are the producers' business: a standby has none, and a promotion brings its own.
        let changelogs = |task| Tasks::default().changelogs(&self.topology, application, task);
        self.queries.standbys().hold(&wanted, changelogs);
        self.held = wanted;
    }

    /// Looks how many partitions there are, and whether the instances' topic is there.
    fn look_at_topics(&mut self) -> Result<(), KafkaFailure> {
        let admin = match &self.admin {
            Some(admin) => admin,
            None => self.admin.insert(Admin::new(&self.options.kafka)?),
        };
        let topics = admin.topics()?;
        for part in 0..self.topology.sub_topologies() {
            let read = topics.iter().filter(|(topic, _)| self.topology.reads(part, topic));
            if let Some(partitions) = read.map(|(_, topic)| topic.partitions).max() {
                self.queries.has_partitions(part, partitions);
            }
        }
        match (topics.contains_key(&self.topic), &self.bulletin) {
            (true, None) => self.bulletin = Some(Bulletin::open(&self.options.kafka, &self.topic)?),
            (true, Some(_)) => {}
            (false, _) => {
                self.bulletin = None;
                let command = self.topology.name();
                return Err(KafkaFailure(format!("topic {} is missing; run: {command} apply", self.topic)));
            }
        }
        Ok(())
    }

    fn warn(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                target: "headrace::queries", event = "announcing-failed", reason,
                "this instance is not announced to the others: they can't send it requests for its stores, nor it them"
            );
        }
    }
}
