//! A cluster as one thing: who leads, who coordinates, and a connection to each.
//!
//! ```text
//!  leader(topic, partition) ─┐                ┌─▶ known: at once
//!  coordinator(kind, key) ───┼─▶ metadata ────┤
//!  partitions(topic) ────────┘   (one copy)   └─▶ unknown, doubted or old: any broker is asked,
//!                                                 bootstrap servers last, each in turn
//!  connection(broker) ───────────▶ one per broker, opened again with back-off
//! ```
//!
//! A call makes *one* round and then says what is wrong; [`WireError::is_retriable`] says whether another may help. After a
//! refusal the caller tells what was wrong ([`Client::forget_leader`], [`Client::forget_coordinator`]) and asks again.
//! Rounds that find nobody are spaced out, so that a loop without a pause of its own does no harm.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::BrokerId;
use super::api::Request;
use super::brokers::{Pace, Slot};
use super::connection::Connection;
use super::error::{Code, WireError};
use super::metadata::{CoordinatorKind, Leader, Metadata};
use super::observer::Peer;
use super::settings::{Address, Settings};
use crate::backoff::Backoff;
use crate::position::Partition;

/// Version 4 is the first that can forbid the making of topics.
const METADATA_VERSIONS: RangeInclusive<i16> = 4..=13;
/// Version 4 is the first with several keys; 6 the first for share groups.
const FIND_COORDINATOR_VERSIONS: RangeInclusive<i16> = 4..=6;
/// Between two refreshes, so that many partitions without a leader don't ask for each of them.
const REFRESH_PAUSE: Duration = Duration::from_millis(50);
/// The topic of coordinators is being made, or has no leader.
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
/// How long the first coordinator of a cluster is waited for.
const FIRST_COORDINATOR: Duration = Duration::from_secs(20);
/// REBOOTSTRAP_REQUIRED (KIP-1102).
const REBOOTSTRAP_REQUIRED: i16 = 129;

/// A cluster. Clones share connections and metadata; the connections close when the last clone is gone. Needs a tokio
/// runtime, which runs the connections that are opened on it.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    metadata: Mutex<Metadata>,
    slots: Mutex<HashMap<BrokerId, Arc<Slot>>>,
    /// Held during a refresh, so that only one asks; when the last one was.
    refreshing: tokio::sync::Mutex<Option<Instant>>,
    /// Of rounds through all brokers.
    pace: tokio::sync::Mutex<Pace>,
}

/// Somebody who may be asked.
enum Candidate {
    Open(Connection),
    Broker(BrokerId, Address),
    Bootstrap(Address),
}

impl Client {
    /// A client that connects when it is first asked.
    pub fn new(settings: Settings) -> Self {
        Client {
            shared: Arc::new(Shared {
                settings,
                metadata: Mutex::default(),
                slots: Mutex::default(),
                refreshing: tokio::sync::Mutex::default(),
                pace: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// The settings that it was made with.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Who leads a partition. What is known is given at once, unless it is older than [`Settings::metadata_max_age`].
    ///
    /// # Errors
    /// [`WireError::UnknownTopic`], [`WireError::UnknownPartition`], [`WireError::NoLeader`],
    /// [`WireError::NotAuthorised`]; [`WireError::Unreachable`] if nobody can be asked.
    pub async fn leader(&self, topic: &str, partition: Partition) -> Result<Leader, WireError> {
        self.known(topic, |metadata| metadata.leader(topic, partition)).await
    }

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// As [`leader`](Self::leader).
    pub async fn partitions(&self, topic: &str) -> Result<usize, WireError> {
        self.known(topic, |metadata| metadata.partitions(topic)).await
    }

    async fn known<T: Send>(
        &self,
        topic: &str,
        look: impl Fn(&Metadata) -> Result<T, WireError> + Send + Sync,
    ) -> Result<T, WireError> {
        let (before, age) = {
            let metadata = self.metadata();
            (look(&metadata), metadata.asked(topic).map(|asked| asked.elapsed()))
        };
        let fresh = age.is_some_and(|age| age < self.shared.settings.metadata_max_age);
        if before.is_ok() && fresh {
            return before;
        }
        match (self.refresh(topic, before.is_err(), &look).await, before) {
            (Ok(()), _) => look(&self.metadata()),
            // Old, but it was right until now.
            (Err(error), Ok(known)) if error.is_retriable() => Ok(known),
            (Err(error), _) => Err(error),
        }
    }

    /// Asks for a topic, and for all that are known, unless somebody else just has.
    async fn refresh<T>(
        &self,
        topic: &str,
        missing: bool,
        look: &(impl Fn(&Metadata) -> Result<T, WireError> + Send + Sync),
    ) -> Result<(), WireError> {
        let waiting_since = Instant::now();
        let mut last = self.shared.refreshing.lock().await;
        let just_now = last.is_some_and(|last| last >= waiting_since);
        if (missing || just_now) && look(&self.metadata()).is_ok() {
            return Ok(());
        }
        pause(&mut last).await;
        let errors = self.ask_for_topics(Some(topic)).await?;
        match errors.into_iter().find(|(name, _)| name == topic) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    async fn ask_for_topics(&self, topic: Option<&str>) -> Result<Vec<(String, WireError)>, WireError> {
        let mut names = self.metadata().topics();
        if let Some(topic) = topic.filter(|topic| !names.iter().any(|name| name == topic)) {
            names.push(topic.to_owned());
        }
        let names = names
            .into_iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name)))));
        let request =
            MetadataRequest::default().with_topics(Some(names.collect())).with_allow_auto_topic_creation(false);
        let mut response: MetadataResponse = self.ask(&request, METADATA_VERSIONS).await?;
        if response.error_code == REBOOTSTRAP_REQUIRED {
            self.metadata().forget_brokers();
            self.slots().clear();
            response = self.ask(&request, METADATA_VERSIONS).await?;
        }
        if let Some(code) = Code::new(response.error_code) {
            return Err(WireError::from_code("metadata", code));
        }
        let mut metadata = self.metadata();
        let errors = metadata.take(response, Instant::now());
        self.slots().retain(|broker, _| metadata.address(*broker).is_some());
        Ok(errors)
    }

    /// Who coordinates a group or a transactional id.
    ///
    /// # Errors
    /// [`WireError::NotAuthorised`]; [`WireError::Broker`] while there is none; [`WireError::Unreachable`].
    pub async fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<BrokerId, WireError> {
        if let Some(broker) = self.metadata().coordinator(kind, key) {
            return Ok(broker);
        }
        let request = FindCoordinatorRequest::default()
            .with_key_type(kind.number())
            .with_coordinator_keys(vec![StrBytes::from_string(key.to_owned())]);
        let response = self.ask(&request, FIND_COORDINATOR_VERSIONS).await?;
        let what = || format!("coordinator of {kind} {key}");
        if let Some(code) = Code::new(response.error_code) {
            return Err(WireError::from_code(what(), code));
        }
        let found = response.coordinators.into_iter().find(|found| found.key.as_str() == key);
        let found = found.ok_or(WireError::Protocol { address: what(), reason: "not in the answer".to_owned() })?;
        if let Some(code) = Code::new(found.error_code) {
            return Err(WireError::from_code(what(), code));
        }
        let broker = BrokerId(found.node_id.0);
        let mut metadata = self.metadata();
        metadata.add_broker(broker, found.host.to_string(), found.port);
        metadata.learn_coordinator(kind, key, broker);
        Ok(broker)
    }

    /// A connection to the coordinator. Of a new cluster the first question has the brokers make the topic that coordinators keep
    /// their state in, which takes a moment: it is waited for.
    ///
    /// # Errors
    /// As [`coordinator`](Self::coordinator) and [`connection`](Self::connection).
    pub async fn coordinating(&self, kind: CoordinatorKind, key: &str) -> Result<Connection, WireError> {
        let until = Instant::now() + FIRST_COORDINATOR;
        let mut attempt = 0;
        loop {
            let wait = Backoff::BROKER.delay(attempt, fastrand::f64());
            match self.coordinator(kind, key).await {
                Err(error) if error.code() == Code::new(COORDINATOR_NOT_AVAILABLE) && Instant::now() + wait < until => {
                    attempt += 1;
                    sleep(wait).await;
                }
                broker => return self.connection(broker?).await,
            }
        }
    }

    /// The partition's leader turned out to be wrong; the next [`leader`](Self::leader) asks again.
    pub fn forget_leader(&self, topic: &str, partition: Partition) {
        self.metadata().forget_leader(topic, partition);
    }

    /// The partition's leader as a refusal named it (KIP-951). An older epoch than the known one is not believed.
    pub fn learn_leader(&self, topic: &str, partition: Partition, broker: BrokerId, epoch: i32) {
        self.metadata().learn_leader(topic, partition, broker, epoch);
    }

    /// The coordinator turned out to be wrong; the next [`coordinator`](Self::coordinator) asks again.
    pub fn forget_coordinator(&self, kind: CoordinatorKind, key: &str) {
        self.metadata().forget_coordinator(kind, key);
    }

    /// The connection to a broker that everybody shares; opened if there is none. Cheap while it is open.
    ///
    /// Requests of two connections to one broker have no order between them. Who needs the order keeps a connection until it
    /// ends, and asks for the next one then.
    ///
    /// # Errors
    /// [`WireError::UnknownBroker`], or why it can't be opened; what that broker led is then asked for again.
    pub async fn connection(&self, broker: BrokerId) -> Result<Connection, WireError> {
        let address = self.address(broker).await?;
        self.connect(broker, &address).await
    }

    /// A further connection to a broker, for requests that wait there for long: a broker answers in order, so they would
    /// hold up all others on a shared one.
    ///
    /// # Errors
    /// As [`connection`](Self::connection), without its back-off.
    pub async fn open(&self, broker: BrokerId) -> Result<Connection, WireError> {
        let address = self.address(broker).await?;
        let peer = Peer { broker: Some(broker), address };
        let opened = Connection::open_to(peer, &self.shared.settings, false).await;
        opened.inspect_err(|_| self.metadata().doubt(broker))
    }

    async fn address(&self, broker: BrokerId) -> Result<Address, WireError> {
        let known = self.metadata().address(broker);
        if let Some(address) = known {
            return Ok(address);
        }
        self.refresh_brokers().await?;
        let known = self.metadata().address(broker);
        known.ok_or(WireError::UnknownBroker(broker)).inspect_err(|_| self.metadata().doubt(broker))
    }

    async fn refresh_brokers(&self) -> Result<(), WireError> {
        let mut last = self.shared.refreshing.lock().await;
        pause(&mut last).await;
        self.ask_for_topics(None).await.map(drop)
    }

    async fn connect(&self, broker: BrokerId, address: &Address) -> Result<Connection, WireError> {
        let slot = Arc::clone(self.slots().entry(broker).or_default());
        let opened = slot.connection(broker, address, &self.shared.settings).await;
        opened.inspect_err(|_| self.metadata().doubt(broker))
    }

    /// The finalized level of the feature `transaction.version`: from 2 on there are transactions v2 (KIP-890). 0 if it is
    /// not finalized.
    ///
    /// # Errors
    /// [`WireError::Unreachable`], or why nobody could be asked.
    pub async fn transaction_version(&self) -> Result<i16, WireError> {
        let any = self.any().await?;
        Ok(any.feature("transaction.version").unwrap_or(0))
    }

    /// The brokers that are known.
    pub fn brokers(&self) -> Vec<(BrokerId, Address)> {
        self.metadata().brokers()
    }

    /// A connection to any broker.
    pub(super) async fn any(&self) -> Result<Connection, WireError> {
        let open = self.slots().values().find_map(|slot| slot.current());
        if let Some(connection) = open {
            return Ok(connection);
        }
        self.refresh_brokers().await?;
        let mut brokers = self.brokers();
        fastrand::shuffle(&mut brokers);
        let mut tried = Vec::new();
        for (broker, address) in brokers {
            match self.connect(broker, &address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => tried.push(error),
            }
        }
        Err(unreachable(tried))
    }

    /// Asks any broker: those with a connection first, the bootstrap servers last.
    pub(super) async fn ask<R: Request>(
        &self,
        request: &R,
        versions: RangeInclusive<i16>,
    ) -> Result<R::Response, WireError> {
        self.shared.pace.lock().await.wait().await;
        let mut tried = Vec::new();
        for candidate in self.candidates() {
            let connection = match &candidate {
                Candidate::Open(connection) => Ok(connection.clone()),
                Candidate::Broker(broker, address) => self.connect(*broker, address).await,
                Candidate::Bootstrap(address) => Connection::open(address, &self.shared.settings).await,
            };
            let answer = match connection {
                Ok(connection) => connection.call(request, versions.clone()).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(response) => {
                    self.shared.pace.lock().await.succeeded();
                    return Ok(response);
                }
                Err(error) => tried.push(error),
            }
        }
        self.shared.pace.lock().await.failed();
        Err(unreachable(tried))
    }

    fn candidates(&self) -> Vec<Candidate> {
        let mut brokers = self.metadata().brokers();
        fastrand::shuffle(&mut brokers);
        let slots = self.slots();
        let current = |broker: &BrokerId| slots.get(broker).and_then(|slot| slot.current());
        let (mut open, mut others) = (Vec::new(), Vec::new());
        for (broker, address) in brokers {
            match current(&broker) {
                Some(connection) => open.push(Candidate::Open(connection)),
                None => others.push(Candidate::Broker(broker, address)),
            }
        }
        open.extend(others);
        open.extend(self.shared.settings.bootstrap_servers.iter().cloned().map(Candidate::Bootstrap));
        open
    }

    fn metadata(&self) -> MutexGuard<'_, Metadata> {
        self.shared.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<BrokerId, Arc<Slot>>> {
        self.shared.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Spaces refreshes out.
async fn pause(last: &mut Option<Instant>) {
    if let Some(last) = *last {
        sleep_until(last + REFRESH_PAUSE).await;
    }
    *last = Some(Instant::now());
}

/// One error for all that were tried: what somebody has to mend comes first.
fn unreachable(tried: Vec<WireError>) -> WireError {
    let tells = tried.iter().find(|error| !error.is_retriable());
    if let Some(error) = tells.or(tried.first().filter(|_| tried.len() == 1)) {
        return error.clone();
    }
    let texts: Vec<String> = tried.iter().map(ToString::to_string).collect();
    WireError::Unreachable { tried: if texts.is_empty() { "none is known".to_owned() } else { texts.join("; ") } }
}
