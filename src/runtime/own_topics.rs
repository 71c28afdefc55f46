//! Answers targets that ask after a topic before records are produced there that name it.
//!
//! The answers of the whole process are kept for a moment, so that a topic is asked for about once a second, however many records name
//! it. A topic at which a transaction has failed is told to be unfit for longer, whatever the brokers say of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Instant;
use crate::kafka::{Avoided, Settings};
use crate::processor::{BoxFuture, OwnTopics, Unfit};
use crate::topology::Topology;
use crate::wire::{Client, WireError};

use super::refused::record_bytes;

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(1);
/// Answers that are kept; then all are forgotten.
const MOST: usize = 1_000;
const LARGEST_BATCH: &str = "max.message.bytes";
const IN_SYNC: &str = "min.insync.replicas";

type Room = Result<usize, Unfit>;

/// The topics of the application's cluster.
#[derive(Debug)]
pub(super) struct ClusterTopics {
    topology: Topology,
    application_id: String,
    /// Connects when something is asked; else why it can't.
    client: Result<Client, String>,
    /// The largest record that the application produces, in bytes.
    largest: usize,
    avoided: Avoided,
    seen: Mutex<BTreeMap<String, (Instant, Room)>>,
}

impl ClusterTopics {
    /// Asks nothing yet.
    pub(super) fn new(topology: &Topology, kafka: &Settings) -> Self {
        ClusterTopics {
            topology: topology.clone(),
            application_id: kafka.application_id.clone(),
            client: kafka.wire("topics").map(Client::new).map_err(|error| format!("kafka.properties: {error}")),
            largest: kafka.max_record_bytes,
            avoided: kafka.avoided.clone(),
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, Room)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, topic: &str) -> Option<Room> {
        let seen = self.seen();
        seen.get(topic).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, room)| room.clone())
    }

    fn note(&self, topic: &str, room: Room) {
        let mut seen = self.seen();
        if seen.len() >= MOST {
            seen.clear();
        }
        seen.insert(topic.to_owned(), (Instant::now(), room));
    }

    async fn look(&self, topic: &str) -> Room {
        if self.topology.has_topic(&self.application_id, topic) {
            return Err(Unfit::Ever(format!("topic {topic} is the application's own")));
        }
        let client = self.client.as_ref().map_err(|reason| Unfit::Now(reason.clone()))?;
        let away = |error: WireError| Unfit::Now(error.to_string());
        let seen = client.look_at(topic).await.map_err(away)?;
        if seen.is_internal {
            return Err(Unfit::Ever(format!("topic {topic} is Kafka's own")));
        }
        if !seen.may_write {
            let way_out = "allow Write on it to the application's user";
            return Err(Unfit::Now(format!("topic {topic} is not ours to write; {way_out}")));
        }
        if let Some(partition) = seen.leaderless {
            return Err(Unfit::Now(format!("{topic}-{partition} has no leader")));
        }
        let settings = match client.topic_settings(topic, &[LARGEST_BATCH, IN_SYNC]).await {
            // Who may write, and not look, is trusted to know.
            Err(WireError::NotAuthorised { .. }) => BTreeMap::new(),
            settings => settings.map_err(away)?,
        };
        let number = |name: &str| settings.get(name).and_then(|value| value.parse::<usize>().ok());
        let (wanted, there) = (number(IN_SYNC).unwrap_or(1), seen.least_in_sync);
        if there < wanted {
            return Err(Unfit::Now(format!("topic {topic} has a partition with {there} of {wanted} replicas in sync")));
        }
        Ok(number(LARGEST_BATCH).map_or(self.largest, |bytes| record_bytes(bytes).min(self.largest)))
    }
}

impl OwnTopics for ClusterTopics {
    fn room<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Room> {
        Box::pin(async move {
            if let Some(reason) = self.avoided.reason(topic) {
                return Err(Unfit::Now(reason));
            }
            if let Some(room) = self.known(topic) {
                return room;
            }
            let room = self.look(topic).await;
            self.note(topic, room.clone());
            room
        })
    }
}
