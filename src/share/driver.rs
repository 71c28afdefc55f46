//! Carries the engine's calls to brokers, and their answers back: one tokio task per member.
//!
//! Each broker's session has a connection of its own, with which it lives and dies (rule R5). Beats go over those that the
//! client shares, so that a fetch that waits for news does not hold them up (rule R2).

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::delivery::{Delivery, Desk, Settlement};
use super::engine::{Call, Engine, Flight, Found};
use super::error::ShareError;
use super::predecessors::show_out;
use crate::position::Partition;
use crate::wire::share::{Beat, Beaten, ShareAcknowledged, ShareFetched, heartbeat, offered};
use crate::wire::{BrokerId, Client, Connection, CoordinatorKind, Leader, Outgoing, TopicId, WireError};

/// How long the task sleeps at most when nothing is to be done.
const IDLE: Duration = Duration::from_secs(60);
/// How long leaving may take.
const LEAVING: Duration = Duration::from_secs(2);

/// How long one broker may take to say who leads, before another one is asked.
const LOOKING: Duration = Duration::from_secs(5);

/// What the consumer wants of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    Run,
    Drain,
    Close,
}

/// What the task tells the consumer.
pub(super) type Told = Result<Vec<Delivery>, ShareError>;

enum Event {
    Beaten(Result<Beaten, WireError>),
    Found(Result<Vec<Found>, WireError>),
    Fetched(Flight, Option<Connection>, Result<ShareFetched, WireError>),
    Acknowledged(Flight, Option<Connection>, Result<ShareAcknowledged, WireError>),
}

type Pending = Pin<Box<dyn Future<Output = Event> + Send>>;

pub(super) struct Driver {
    engine: Engine,
    client: Client,
    sessions: HashMap<BrokerId, Connection>,
    pending: FuturesUnordered<Pending>,
    desk: Arc<Desk>,
    out: Option<mpsc::UnboundedSender<Told>>,
    wishes: watch::Receiver<Wish>,
}

impl Driver {
    pub(super) fn new(
        engine: Engine,
        client: Client,
        out: mpsc::UnboundedSender<Told>,
        wishes: watch::Receiver<Wish>,
    ) -> Self {
        let desk = Arc::clone(&engine.desk);
        let (sessions, pending) = (HashMap::new(), FuturesUnordered::new());
        Driver { engine, client, sessions, pending, desk, out: Some(out), wishes }
    }

    /// Runs until it is to close, or can't go on.
    pub(super) async fn run(mut self) {
        // Ends with it.
        let mut beside = JoinSet::new();
        if let Some(name) = self.engine.settings.name.clone() {
            let (group, own) = (self.engine.settings.group.clone(), self.engine.member().to_owned());
            beside.spawn(show_out(self.client.clone(), group, name, own));
        }
        let mut settled: Vec<Settlement> = Vec::new();
        while !self.engine.is_closed() {
            // Looked at first: what was settled before a close was asked for is on the desk by then.
            let wish = self.wish();
            self.desk.take(&mut settled);
            self.engine.settle(&settled);
            match wish {
                Wish::Run => {}
                Wish::Drain => self.engine.drain(),
                Wish::Close => self.engine.close(),
            }
            let now = Instant::now();
            while let Some(call) = self.engine.next(now) {
                self.dispatch(call);
            }
            if !self.tell() {
                break;
            }
            let wake = self.engine.wakes(now).unwrap_or(now + IDLE).min(now + IDLE);
            let event = tokio::select! {
                biased;
                Some(event) = self.pending.next(), if !self.pending.is_empty() => Some(event),
                () = self.desk.wake.notified() => None,
                Ok(()) = self.wishes.changed() => None,
                () = tokio::time::sleep_until(wake.into()) => None,
            };
            if let Some(event) = event {
                self.event(event, Instant::now());
            }
        }
        self.leave().await;
    }

    fn wish(&mut self) -> Wish {
        let gone = self.wishes.has_changed().is_err();
        if gone { Wish::Close } else { *self.wishes.borrow_and_update() }
    }

    /// Hands over what has come. False if it can't go on.
    fn tell(&mut self) -> bool {
        let deliveries = std::mem::take(&mut self.engine.deliveries);
        if let Some(out) = &self.out {
            // Nobody listens any more: the deliveries give themselves back.
            if !deliveries.is_empty() {
                _ = out.send(Ok(deliveries));
            }
            if let Some(error) = self.engine.failed.take() {
                _ = out.send(Err(error));
                return false;
            }
        }
        if self.engine.is_dry() {
            // Which tells the consumer that there will be no more.
            self.out = None;
        }
        true
    }

    fn dispatch(&mut self, call: Call) {
        let client = self.client.clone();
        let pending: Pending = match call {
            Call::Beat(beat) => Box::pin(async move { Event::Beaten(beat_once(&client, &beat).await) }),
            Call::Look(doubted) => {
                let topics = self.engine.settings.topics.clone();
                Box::pin(async move { Event::Found(look(&client, &topics, doubted).await) })
            }
            Call::Fetch(request, flight) => {
                let open = self.sessions.remove(&flight.broker).filter(Connection::is_open);
                let fresh = request.epoch == 0;
                Box::pin(async move {
                    let (connection, answer) = match session(&client, flight.broker, open, fresh).await {
                        Ok(connection) => {
                            let answer = send(&connection, request.outgoing(flight.patience)).await;
                            let answer = answer.and_then(|body| ShareFetched::decode(connection.address(), body));
                            (Some(connection), answer)
                        }
                        Err(error) => (None, Err(error)),
                    };
                    Event::Fetched(flight, connection, answer)
                })
            }
            Call::Acknowledge(request, flight) => {
                let open = self.sessions.remove(&flight.broker).filter(Connection::is_open);
                Box::pin(async move {
                    let (connection, answer) = match session(&client, flight.broker, open, false).await {
                        Ok(connection) => {
                            let answer = send(&connection, request.outgoing(flight.patience)).await;
                            let answer = answer.and_then(|body| ShareAcknowledged::decode(connection.address(), body));
                            (Some(connection), answer)
                        }
                        Err(error) => (None, Err(error)),
                    };
                    Event::Acknowledged(flight, connection, answer)
                })
            }
        };
        self.pending.push(pending);
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Beaten(answer) => {
                if self.engine.beaten(answer, now) {
                    self.client.forget_coordinator(CoordinatorKind::Group, &self.engine.settings.group);
                }
            }
            Event::Found(found) => self.engine.found(found, now),
            Event::Fetched(flight, connection, answer) => {
                if let Ok(answer) = &answer {
                    hold_back(connection.as_ref(), answer.throttle);
                    for part in &answer.parts {
                        self.hint(part.topic, part.partition, part.leader);
                    }
                }
                self.keep(flight.broker, connection, answer.as_ref().is_ok_and(|answer| answer.error.is_none()));
                self.engine.fetched(flight, answer, now);
            }
            Event::Acknowledged(flight, connection, answer) => {
                if let Ok(answer) = &answer {
                    hold_back(connection.as_ref(), answer.throttle);
                    for part in &answer.parts {
                        self.hint(part.topic, part.partition, part.leader);
                    }
                }
                self.keep(flight.broker, connection, answer.as_ref().is_ok_and(|answer| answer.error.is_none()));
                self.engine.acknowledged(flight, answer, now);
            }
        }
    }

    /// A session that has failed goes with its connection: the broker lets go of what it held at once.
    fn keep(&mut self, broker: BrokerId, connection: Option<Connection>, fine: bool) {
        if let Some(connection) = connection.filter(|connection| fine && connection.is_open()) {
            self.sessions.insert(broker, connection);
        }
    }

    /// A broker has said who leads a partition now (rule R15).
    fn hint(&self, topic: TopicId, partition: i32, leader: Option<(BrokerId, i32)>) {
        if let Some((broker, epoch)) = leader {
            self.client.learn_leader(&self.engine.name(topic), Partition(partition), broker, epoch);
        }
    }

    async fn leave(self) {
        let Some(beat) = self.engine.membership.leave() else { return };
        let left = tokio::time::timeout(LEAVING, beat_once(&self.client, &beat)).await;
        if !left.is_ok_and(|left| left.is_ok_and(|left| left.error.is_none())) {
            tracing::info!(target: "headrace::share", group = beat.group, "the group was not left; it notices by itself");
        }
    }
}

fn hold_back(connection: Option<&Connection>, throttle: Duration) {
    connection.into_iter().for_each(|connection| connection.hold_back(throttle));
}

async fn beat_once(client: &Client, beat: &Beat) -> Result<Beaten, WireError> {
    let coordinator = client.coordinator(CoordinatorKind::Group, &beat.group).await?;
    heartbeat(&client.connection(coordinator).await?, beat).await
}

/// The connection of a session; without it there is no session, so only the first request may open one.
async fn session(
    client: &Client,
    broker: BrokerId,
    open: Option<Connection>,
    fresh: bool,
) -> Result<Connection, WireError> {
    match open {
        Some(connection) => Ok(connection),
        None if fresh => {
            let connection = client.open(broker).await?;
            offered(&connection).map(|()| connection)
        }
        None => Err(WireError::Closed {
            address: format!("broker {broker}"),
            reason: "and the share session with it".to_owned(),
        }),
    }
}

async fn send(connection: &Connection, request: Outgoing) -> Result<bytes::Bytes, WireError> {
    connection.send(request).await?.await
}

/// Leaders of all partitions of these topics. What is doubted is not answered from what is known. A topic that does not
/// exist holds up no other.
async fn look(client: &Client, topics: &[String], doubted: Vec<(Arc<str>, i32)>) -> Result<Vec<Found>, WireError> {
    for (topic, partition) in &doubted {
        client.forget_leader(topic, Partition(*partition));
    }
    let mut found = Vec::new();
    let unique: HashSet<&String> = topics.iter().collect();
    for topic in unique {
        let name: Arc<str> = topic.as_str().into();
        // Asked for first: how many there are is not known anew before a leader is missing.
        let mut partition = 0;
        loop {
            match leader(client, topic, Partition(partition)).await {
                Ok(leader) => found.push((Arc::clone(&name), leader.topic_id, partition, Some(leader.broker))),
                Err(WireError::NoLeader { .. }) => {}
                Err(WireError::UnknownTopic { .. } | WireError::UnknownPartition { .. }) => break,
                Err(error) => return Err(error),
            }
            partition += 1;
            let count = client.partitions(topic).await.unwrap_or(0);
            if usize::try_from(partition).is_ok_and(|partition| partition >= count) {
                break;
            }
        }
    }
    Ok(found)
}

async fn leader(client: &Client, topic: &str, partition: Partition) -> Result<Leader, WireError> {
    let found = tokio::time::timeout(LOOKING, client.leader(topic, partition)).await;
    let silent = || WireError::Unreachable { tried: format!("nobody has said within {LOOKING:?} who leads {topic}") };
    found.unwrap_or_else(|_| Err(silent()))
}
